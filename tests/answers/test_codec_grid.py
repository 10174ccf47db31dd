"""Legal and canonical shapes on the grid: widening, start vertex, direction."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.answers.codec import canonical_shapes, legal_points
from dcap.answers.formats import AnswerObject
from dcap.answers.reader import Notes
from dcap.geometry.shapes import GeometryKind, ShapeArray

SPAN = (10, 10)
BOX, POLYGON, LINE = GeometryKind.BOX, GeometryKind.POLYGON, GeometryKind.LINE

Points = list[list[int]]


def canonical_points(kind: GeometryKind, points: Points, span: tuple[int, int]) -> Points:
    grid = np.array(points)
    shapes = ShapeArray.from_points([grid], [kind])
    return canonical_shapes(grid, shapes, np.zeros(1, np.int64), span).points(0).astype(int).tolist()


def test_all_shapes_in_the_order_asked_for() -> None:
    points = [[[1, 1], [5, 5], [1, 5]], [[3, 3], [3, 3]], [[7, 8], [9, 9]]]
    shapes = ShapeArray.from_points(points, [POLYGON, LINE, BOX])
    written = canonical_shapes(shapes.xy.astype(np.int64), shapes, np.array([2, 0, 1]), SPAN)
    assert written == ShapeArray.from_points([points[2], points[0], [[3, 3], [4, 3]]], [BOX, POLYGON, LINE])
    assert written.xy.dtype == np.float64
    none = canonical_shapes(np.empty((0, 2), np.int64), ShapeArray.empty(), np.empty(0, np.int64), SPAN)
    assert none == ShapeArray.empty()


@pytest.mark.parametrize(
    ("kind", "points", "written"),
    [
        (BOX, [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (BOX, [[1, 2], [1, 4]], [[1, 2], [2, 4]]),
        (BOX, [[1, 2], [3, 2]], [[1, 2], [3, 3]]),
        (BOX, [[10, 10], [10, 10]], [[9, 9], [10, 10]]),
        (BOX, [[0, 10], [0, 10]], [[0, 9], [1, 10]]),
        (LINE, [[1, 2], [1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (LINE, [[3, 4], [1, 2], [3, 4]], [[3, 4], [1, 2], [3, 4]]),
        (LINE, [[3, 4], [3, 4]], [[3, 4], [4, 4]]),
        (LINE, [[10, 4], [10, 4]], [[10, 4], [9, 4]]),
        (POLYGON, [[5, 5], [5, 5], [5, 5]], [[5, 5], [6, 5], [6, 6]]),
        (POLYGON, [[10, 10], [10, 10], [10, 10]], [[9, 9], [10, 10], [9, 10]]),
        (POLYGON, [[2, 2], [7, 3], [2, 2]], [[2, 2], [7, 3], [7, 4]]),
        (POLYGON, [[2, 2], [3, 7], [2, 2], [3, 7]], [[2, 2], [4, 7], [3, 7]]),
    ],
)
def test_nothing_becomes_flat(kind: GeometryKind, points: Points, written: Points) -> None:
    assert canonical_points(kind, points, SPAN) == written


@pytest.mark.parametrize(
    "points", [[[1, 1], [5, 1], [5, 5], [1, 5]], [[1, 1], [9, 3], [4, 9]], [[5, 0], [9, 9], [0, 9]]]
)
def test_a_ring_has_one_text_whatever_its_start_and_direction(points: Points) -> None:
    texts = set()
    for ring in (points, points[::-1]):
        for i in range(len(ring)):
            texts.add(str(canonical_points(POLYGON, ring[i:] + ring[:i], SPAN)))
    assert len(texts) == 1


def test_clockwise_on_screen_from_the_top_left() -> None:
    counterclockwise = [[1, 1], [1, 5], [5, 5], [5, 1]]
    assert canonical_points(POLYGON, counterclockwise, SPAN) == [[1, 1], [5, 1], [5, 5], [1, 5]]
    top_most_before_left_most = [[0, 5], [6, 0], [9, 9]]
    assert canonical_points(POLYGON, top_most_before_left_most, SPAN)[0] == [6, 0]


def test_a_ring_that_meets_its_start_twice_has_one_text_too() -> None:
    bow = [[3, 0], [6, 4], [4, 4], [3, 0], [2, 6], [0, 6]]
    texts = {str(canonical_points(POLYGON, bow[i:] + bow[:i], SPAN)) for i in range(len(bow))}
    assert len(texts) == 1


def test_a_ring_that_meets_its_start_very_often_takes_no_quadratic_time() -> None:
    ring = [[0, 0], [1, 1]] * 50_000 + [[3, 3]]
    start = time.process_time()
    written = canonical_points(POLYGON, ring, SPAN)
    assert time.process_time() - start < 5
    assert canonical_points(POLYGON, written, SPAN) == written


points = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)).map(list), min_size=3, max_size=7)


@given(st.sampled_from([LINE, POLYGON]), points)
def test_what_is_written_is_legal_and_stays_as_it_is(kind: GeometryKind, ring: Points) -> None:
    written = canonical_points(kind, ring, SPAN)
    assert legal_points(AnswerObject(kind, written, "a"), SPAN[0], Notes(strict=True)) == written
    assert canonical_points(kind, written, SPAN) == written


@given(points)
def test_a_polygon_with_three_points_keeps_all_of_them(ring: Points) -> None:
    if len({tuple(point) for point in ring}) >= 3:
        written = canonical_points(POLYGON, ring, SPAN)
        assert {tuple(point) for point in written} == {tuple(point) for point in ring}


@given(st.lists(st.integers(0, 10), min_size=4, max_size=4))
def test_a_box_grows_by_at_most_one_unit(numbers: list[int]) -> None:
    x1, x2 = sorted(numbers[:2])
    y1, y2 = sorted(numbers[2:])
    (a1, b1), (a2, b2) = canonical_points(BOX, [[x1, y1], [x2, y2]], SPAN)
    assert a1 < a2
    assert b1 < b2
    assert (a2 - a1, b2 - b1) == (max(x2 - x1, 1), max(y2 - y1, 1))
    assert a1 >= 0
    assert max(a2, b2) <= 10
