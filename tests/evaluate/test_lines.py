"""How much of a line runs along another one, against Shapely's buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiLineString

from dcap.evaluate.lines import MAX_PAIRS, covered_lengths, line_agreement, line_lengths, run_alongside
from dcap.geometry.shapes import GeometryKind, ShapeArray


def lines(*points: Any) -> ShapeArray:
    return ShapeArray.from_points(points, [GeometryKind.LINE] * len(points))


def coordinates() -> st.SearchStrategy[float]:
    whole = st.integers(0, 100).map(float)
    return st.one_of(whole, st.floats(0, 100, allow_nan=False, width=32))


def polylines() -> st.SearchStrategy[list[tuple[float, float]]]:
    point = st.tuples(coordinates(), coordinates())
    return st.lists(point, min_size=2, max_size=7).filter(lambda p: LineString(p).length > 1e-3)


def line_arrays() -> st.SearchStrategy[ShapeArray]:
    return st.lists(polylines(), min_size=1, max_size=4).map(lambda many: lines(*many))


def test_lengths_add_up_the_segments() -> None:
    assert line_lengths(lines([(0, 0), (3, 4), (3, 10)], [(1, 1), (2, 1)])).tolist() == [11.0, 1.0]
    assert line_lengths(ShapeArray.empty()).tolist() == []


def test_parallel_line_is_covered_when_within_the_tolerance() -> None:
    a, b = lines([(0, 0), (100, 0)]), lines([(0, 5), (100, 5)])
    assert covered_lengths(a, b, 5.0).tolist() == [100.0]
    assert covered_lengths(a, b, 4.9).tolist() == [0.0]


def test_crossing_line_is_covered_by_its_chord() -> None:
    a, b = lines([(0, 50), (100, 50)]), lines([(50, 0), (50, 100)])
    assert covered_lengths(a, b, 10.0) == pytest.approx([20.0])


def test_end_of_a_line_reaches_as_a_disc() -> None:
    a, b = lines([(0, 3), (100, 3)]), lines([(-50, 0), (10, 0)])
    assert covered_lengths(a, b, 5.0) == pytest.approx([14.0])


def test_many_lines_are_measured_in_blocks() -> None:
    rng = np.random.default_rng(0)
    many = lines(*(rng.random((5, 2)) * 100 for _ in range(9)))
    whole = covered_lengths(many, many.take([2, 5]), 4.0), line_agreement(many, many, 4.0)
    np.testing.assert_allclose(covered_lengths(many, many.take([2, 5]), 4.0, max_pairs=20), whole[0])
    np.testing.assert_allclose(line_agreement(many, many, 4.0, max_pairs=20), whole[1])


def test_overlapping_pieces_count_once() -> None:
    whole = lines([(0, 0), (100, 0)])
    pieces = lines([(0, 0), (60, 0)], [(40, 0), (100, 0)], [(0, 0), (60, 0)])
    assert covered_lengths(whole, pieces, 1.0).tolist() == [100.0]


def test_agreement_of_a_short_piece_is_low_from_both_sides() -> None:
    whole, piece = lines([(0, 0), (100, 0)]), lines([(0, 0), (9, 0)])
    expected = 2 * 1.0 * 0.1 / 1.1
    assert line_agreement(whole, piece, 1.0)[0, 0] == pytest.approx(expected)
    assert line_agreement(piece, whole, 1.0)[0, 0] == pytest.approx(expected)


def test_direction_of_a_line_does_not_matter() -> None:
    a, b = lines([(0, 0), (50, 20), (90, 5)]), lines([(90, 5), (50, 20), (0, 0)])
    assert line_agreement(a, b, 1e-3)[0, 0] == pytest.approx(1.0)


def test_no_lines_on_either_side() -> None:
    some = lines([(0, 0), (1, 1)])
    assert covered_lengths(some, ShapeArray.empty(), 5.0).tolist() == [0.0]
    assert covered_lengths(ShapeArray.empty(), some, 5.0).tolist() == []
    assert line_agreement(ShapeArray.empty(), some, 5.0).shape == (0, 1)
    nothing = run_alongside(some, ShapeArray.empty(), 5.0)
    assert (nothing.agreement.shape, nothing.covered_a.tolist(), nothing.covered_b.tolist()) == ((1, 0), [0.0], [])


@settings(max_examples=40, deadline=None)
@given(line_arrays(), line_arrays(), st.floats(0.5, 30), st.sampled_from([7, MAX_PAIRS]))
def test_both_measures_come_from_one_pass(a: ShapeArray, b: ShapeArray, tolerance: float, max_pairs: int) -> None:
    found = run_alongside(a, b, tolerance, max_pairs)
    np.testing.assert_allclose(found.agreement, line_agreement(a, b, tolerance))
    np.testing.assert_allclose(found.covered_a, covered_lengths(a, b, tolerance))
    np.testing.assert_allclose(found.covered_b, covered_lengths(b, a, tolerance))


@settings(max_examples=60, deadline=None)
@given(line_arrays(), line_arrays(), st.floats(0.5, 30))
def test_equals_shapely_buffer(a: ShapeArray, b: ShapeArray, tolerance: float) -> None:
    buffer = MultiLineString([p.tolist() for _, p in b]).buffer(tolerance, quad_segs=128)
    ours = covered_lengths(a, b, tolerance)
    for length, (_, points) in zip(ours, a, strict=True):
        line = LineString(points.tolist())
        # The oracle's arcs are polygons that lie inside the true circle, so near a tangent it is a little short.
        segments = [LineString(points[i : i + 2].tolist()) for i in range(len(points) - 1)]
        theirs = sum(segment.intersection(buffer).length for segment in segments)
        outer = MultiLineString([p.tolist() for _, p in b]).buffer(tolerance * 1.001, quad_segs=128)
        above = sum(segment.intersection(outer).length for segment in segments)
        assert theirs - 1e-6 * line.length <= length <= above + 1e-6 * line.length


@settings(max_examples=50, deadline=None)
@given(line_arrays(), line_arrays(), st.floats(0.5, 30))
def test_agreement_is_symmetric_and_bounded(a: ShapeArray, b: ShapeArray, tolerance: float) -> None:
    ours = line_agreement(a, b, tolerance)
    assert ((ours >= 0) & (ours <= 1)).all()
    np.testing.assert_allclose(ours, line_agreement(b, a, tolerance).T)
    np.testing.assert_allclose(np.diag(line_agreement(a, a, tolerance)), 1.0)
