"""Tile plans: they cover the image with the overlap that was asked for, and with no window too many."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry import Canvas, TilePlan, TileWindow, Tiling
from dcap.geometry.tiling import MAX_TILES

canvases = st.builds(Canvas, st.integers(1, 3000), st.integers(1, 3000))
overlaps = st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.9]), st.floats(0.0, 0.9))
tilings = st.builds(Tiling, st.integers(500, 2000), overlaps)


def starts_and_sizes(plan: TilePlan) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    windows = plan.windows
    return sorted({(w.x, w.width) for w in windows}), sorted({(w.y, w.height) for w in windows})


@settings(deadline=None)
@given(canvases, tilings)
def test_windows_cover_the_image_with_the_overlap(canvas: Canvas, tiling: Tiling) -> None:
    plan = tiling.plan(canvas)
    for side, spans in zip((canvas.width, canvas.height), starts_and_sizes(plan), strict=True):
        assert spans[0][0] == 0
        assert spans[-1][0] + spans[-1][1] == side
        assert {size for _, size in spans} == {min(side, tiling.size)}
        shared = [a + size - b for (a, size), (b, _) in pairwise(spans)]
        assert all(each >= tiling.size * tiling.overlap - 1e-6 for each in shared)
        assert not shared or max(shared) - min(shared) <= 1  # evenly spread


@settings(deadline=None)
@given(canvases, tilings)
def test_one_window_less_would_not_do(canvas: Canvas, tiling: Tiling) -> None:
    plan = tiling.plan(canvas)
    stride = math.floor(tiling.size * (1 - tiling.overlap) + 1e-6)
    for side, spans in zip((canvas.width, canvas.height), starts_and_sizes(plan), strict=True):
        if len(spans) > 1:
            assert tiling.size + (len(spans) - 2) * stride < side


@settings(deadline=None, max_examples=50)
@given(canvases, tilings, st.integers(0, 2**32 - 1))
def test_each_point_is_in_one_cell_inside_its_window(canvas: Canvas, tiling: Tiling, seed: int) -> None:
    plan = tiling.plan(canvas)
    cells = np.array([plan.cell(k) for k in range(len(plan))])
    rects = np.array([window.rect for window in plan.windows])
    assert (cells[:, :2] >= rects[:, :2]).all()
    assert (cells[:, 2:] <= rects[:, 2:]).all() or tiling.overlap == 0.0
    points = np.random.default_rng(seed).uniform(0, [canvas.width, canvas.height], (64, 2))[:, None]
    assert (((points >= cells[:, :2]) & (points < cells[:, 2:])).all(-1).sum(1) == 1).all()


def test_an_image_that_is_no_larger_is_one_tile() -> None:
    plan = Tiling(1024).plan(Canvas(600, 1024))
    assert plan.windows == (TileWindow(x=0, y=0, height=600, width=1024),)
    assert plan.inner_sides(0) == (False, False, False, False)


def test_the_plan_of_a_known_image() -> None:
    plan = Tiling(1024, 0.2).plan(Canvas(1024, 2600))
    assert [str(window) for window in plan.windows] == ["1024x1024 at (0, 0)", "1024x1024 at (788, 0)",
                                                        "1024x1024 at (1576, 0)"]  # fmt: skip
    assert [plan.cell(k) for k in range(3)] == [
        (0.0, 0.0, 906.25, 1024.0), (906.25, 0.0, 1694.25, 1024.0), (1694.25, 0.0, 2600.0, 1024.0)
    ]  # fmt: skip
    assert plan.inner_sides(0) == (False, False, True, False)
    assert plan.inner_sides(1) == (True, False, True, False)
    assert plan.window(1).rect == (788.0, 0.0, 1812.0, 1024.0)
    assert plan.window(1).canvas == Canvas(1024, 1024)


def test_float_noise_asks_for_no_further_pixel() -> None:
    # 0.07 * 100 is 7.000000000000001: an overlap of 7 pixels, so 93 from one window to the next.
    assert len(Tiling(100, 0.07).plan(Canvas(50, 100 + 93))) == 2


@pytest.mark.parametrize(
    ("size", "overlap", "text"),
    [
        (63, 0.2, "size must be a whole number of at least 64 pixels, not 63"),
        (100.5, 0.2, "size must be a whole number"),
        (True, 0.2, "size must be a whole number"),
        (1024, -0.1, "overlap must be a share within 0..0.9, not -0.1"),
        (1024, 0.95, "overlap must be a share within 0..0.9, not 0.95"),
        (1024, math.nan, "overlap must be a share within 0..0.9, not nan"),
    ],
)
def test_numbers_out_of_range(size: int, overlap: float, text: str) -> None:
    with pytest.raises(GeometryError, match=re.escape(text)):
        Tiling(size, overlap)


def test_too_many_tiles_name_the_way_out() -> None:
    assert len(Tiling(64, 0.0).plan(Canvas(64 * 64, 64 * 64))) == MAX_TILES
    with pytest.raises(GeometryError, match=r"at most 4096 tiles, not 4160 for 4160 x 4096\. Make the tiles larger"):
        Tiling(64, 0.0).plan(Canvas(64 * 64, 64 * 65))
