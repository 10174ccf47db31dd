"""Pixels of scenes: the exact share of each pixel, against the painter of the tests and against areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.demo.scene_painting import coverage, paint
from dcap.demo.scene_shapes import Points, draw_shape, polygon, stroke
from dcap.geometry import Canvas
from dcap.geometry.measures import area_or_length
from support.painting import cover

KINDS = ("box", "triangle", "polygon", "star", "arrow", "line")


def a_ring(kind: str, seed: int) -> Points:
    rng = np.random.default_rng(seed)
    return draw_shape(kind, "red", (0, 0, 0), rng.uniform(2, 20), rng).ring + rng.uniform(30, 34, 2)


@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_the_shares_add_up_to_the_area(kind: str, seed: int) -> None:
    ring = a_ring(kind, seed)
    _, _, share = coverage(ring)
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.sum(dtype=float) == pytest.approx(area_or_length(polygon(ring))[0], rel=1e-5)


@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_each_pixel_has_its_share(kind: str, seed: int) -> None:
    ring = a_ring(kind, seed)
    left, top, share = coverage(ring)
    whole = np.zeros((70, 70))
    whole[top : top + share.shape[0], left : left + share.shape[1]] = share
    # The other painter is exact along each of its lines only.
    assert np.abs(whole - cover(Canvas(70, 70), ring, scanlines=32)).max() < 0.06


def test_a_ring_on_the_borders_of_pixels() -> None:
    left, top, share = coverage(np.array([[2.0, 3.0], [5.0, 3.0], [5.0, 7.0], [2.0, 7.0]]))
    assert (left, top) == (2, 3)
    assert (share == np.ones((4, 3))).all()
    _, _, half = coverage(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]))
    assert half.tolist() == [[1.0, 0.5], [0.5, 0.0]]


def test_a_stroke_has_its_width() -> None:
    ring = stroke(np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 40.0]]), 4.0)
    assert area_or_length(polygon(ring))[0] == pytest.approx(4 * 50)
    assert ring.min(axis=0).tolist() == [10, 8]
    assert ring.max(axis=0).tolist() == [32, 40]


@pytest.mark.parametrize("ground", ["plain", "gradient", "texture", "dark"])
def test_grounds(ground: str) -> None:
    image = paint(Canvas(60, 90), (), ground, np.random.default_rng(3))
    assert image.shape == (60, 90, 3)
    spread = float(image.astype(float).std(axis=(0, 1)).max())
    assert (spread == 0) == (ground in ("plain", "dark"))
    assert spread < 40


def test_only_one_ground_is_always_dark() -> None:
    means = {
        ground: [paint(Canvas(48, 48), (), ground, np.random.default_rng(seed)).mean() for seed in range(40)]
        for ground in ("plain", "dark")
    }
    assert max(means["dark"]) < 100
    assert min(means["plain"]) < 100 < 200 < max(means["plain"])
