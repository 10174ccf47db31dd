"""Stitching: each stretch of a line once, the ends joined where the cells of tiles meet."""

from __future__ import annotations

import numpy as np
import pytest

from dcap.geometry import Canvas, GeometryKind, ShapeArray, Tiling, area_or_length
from dcap.infer.line_stitch import stitch_lines

PLAN = Tiling(1000, 0.2).plan(Canvas(1000, 2600))
RECTS = np.array([window.rect for window in PLAN.windows])
CELLS = np.array([PLAN.cell(k) for k in range(3)])
"""Of x 0..900.25, 900.25..1700.25, 1700.25..2600."""


def stitch(*parts: tuple[int, list[list[float]]]) -> list[list[list[float]]]:
    lines = ShapeArray.from_points([points for _, points in parts], [GeometryKind.LINE] * len(parts))
    found = stitch_lines(lines, np.array([tile for tile, _ in parts]), RECTS, CELLS, 10.0)
    return [points.tolist() for _, points in found]


def test_each_tile_gives_the_stretch_in_its_cell() -> None:
    found = stitch((0, [[100, 500], [1000, 500]]), (1, [[800, 500], [1800, 500]]), (2, [[1600, 500], [2000, 500]]))
    assert found == [[[100, 500], [900.25, 500], [1700.25, 500], [2000, 500]]]


def test_ends_that_differ_meet_in_the_middle() -> None:
    assert stitch((0, [[100, 500], [1000, 500]]), (1, [[800, 508], [1500, 508]])) == [
        [[100, 500], [900.25, 504], [1500, 508]]
    ]


def test_the_direction_is_that_of_the_longest_stretch() -> None:
    found = stitch((0, [[850, 500], [1000, 500]]), (1, [[1500, 500], [800, 500]]))
    assert found == [[[1500, 500], [900.25, 500], [850, 500]]]


def test_ends_far_from_each_other_stay_apart_and_scraps_go() -> None:
    found = stitch((0, [[100, 500], [1000, 500]]), (1, [[895, 600], [1500, 600]]), (1, [[895, 700], [905, 700]]))
    assert found == [[[100, 500], [900.25, 500]], [[900.25, 600], [1500, 600]]]


def test_in_the_cell_of_a_tile_that_shows_nothing_each_stretch_is_there_once() -> None:
    # Tile 1 has no part of the line, though the line is in its cell too; tiles 0 and 2 show no common stretch.
    assert len(stitch((0, [[100, 500], [1000, 500]]), (2, [[1600, 500], [2000, 500]]))) == 2
    # Where windows share more than with the next, two tiles show what is in the cell of a third.
    plan = Tiling(1000, 0.6).plan(Canvas(1000, 1800))
    rects = np.array([window.rect for window in plan.windows])
    cells = np.array([plan.cell(k) for k in range(len(plan))])
    lines = ShapeArray.from_points([[[100, 500], [1000, 500]], [[800, 500], [1700, 500]]], [GeometryKind.LINE] * 2)
    found = stitch_lines(lines, np.array([0, 2]), rects, cells, 10.0)
    assert len(found) == 1
    assert area_or_length(found)[0] == pytest.approx(1600)


def test_a_ring_stays_open_where_it_begins() -> None:
    ring = [[600.0, 100.0], [1400.0, 100.0], [1400.0, 900.0], [600.0, 900.0], [600.0, 100.0]]
    left = [[1000.0, 900.0], [600.0, 900.0], [600.0, 100.0], [1000.0, 100.0]]
    right = [[800.0, 100.0], [1400.0, 100.0], [1400.0, 900.0], [800.0, 900.0]]
    (found,) = stitch((0, left), (1, right))
    assert found[0] == found[-1]
    assert area_or_length(ShapeArray.from_points([found, ring], [2, 2])).tolist() == pytest.approx([3200, 3200])
