from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from dcap.geometry import ShapeArray
from support.kernel_calls import assert_same_bits, simplify
from support.oracle import even_odd
from support.strategies import random_shapes, star_ring


def test_points_of_least_area_go_first(backend: ModuleType) -> None:
    ring = ShapeArray.from_points([[[0, 0], [5, 0.1], [10, 0], [10, 10], [0, 10]]], [1])
    keep, score = simplify(backend, ring, 4)
    assert keep.tolist() == [1, 0, 1, 1, 1]
    assert score == pytest.approx([1 - 0.5 / 100], abs=1e-12)


def test_a_line_keeps_its_ends(backend: ModuleType) -> None:
    line = ShapeArray.from_points([[[0, 0], [5, 5], [10, 0]]], [2])
    keep, score = simplify(backend, line, 2)
    assert keep.tolist() == [1, 0, 1]
    assert score == pytest.approx([10 / 200**0.5])


def test_what_is_short_enough_is_untouched(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points([[[0, 0], [4, 4]], [[0, 0], [4, 0], [4, 4]], [[0, 0], [9, 9]]], [0, 1, 2])
    keep, score = simplify(backend, shapes, 3)
    assert keep.all()
    assert score.tolist() == [1, 1, 1]


def test_never_below_three_points(backend: ModuleType) -> None:
    keep, _ = simplify(backend, ShapeArray.from_points([np.random.default_rng(0).uniform(0, 9, (20, 2))], [1]), -5)
    assert keep.sum() == 3


def test_iou_against_shapely(backend: ModuleType) -> None:
    rng = np.random.default_rng(13)
    rings = [star_ring(rng, int(rng.integers(10, 60))) for _ in range(40)]
    shapes = ShapeArray.from_points(rings, [1] * 40)
    keep, score = simplify(backend, shapes, 9)
    for i, ring in enumerate(rings):
        kept = ring[keep[shapes.offsets[i] : shapes.offsets[i + 1]].astype(bool)]
        a, b = even_odd(ring), even_odd(kept)
        assert len(kept) == 9
        assert score[i] == pytest.approx(a.intersection(b).area / a.union(b).area, abs=1e-9)


def test_a_long_ring_takes_n_log_n(backend: ModuleType) -> None:
    angles = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1000
    keep, score = simplify(backend, ShapeArray.from_points([ring], [1]), 64)
    assert keep.sum() == 64
    assert score[0] > 0.99


def test_twins_agree(twins: tuple[ModuleType, ModuleType]) -> None:
    for style in range(4):
        shapes = random_shapes(np.random.default_rng(style), 200, style)
        assert_same_bits(simplify(twins[0], shapes, 7), simplify(twins[1], shapes, 7))
