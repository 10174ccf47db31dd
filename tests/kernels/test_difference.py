from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry import Affine, ShapeArray
from support.kernel_calls import area_or_length, arrays_of, assert_same_bits, difference
from support.oracle import even_odd
from support.rational import area_where, exact_ring
from support.strategies import random_rings, random_shapes, shape_arrays, star_ring

Points = npt.NDArray[np.float64]
SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]


def polygons(*rings: object) -> ShapeArray:
    return ShapeArray.from_points(rings, [1] * len(rings))


def boxes(*corners: object) -> ShapeArray:
    return ShapeArray.from_points(corners, [0] * len(corners))


def parts(cut: tuple[np.ndarray, ...]) -> list[list[list[float]]]:
    return [cut[0][a:b].tolist() for a, b in itertools.pairwise(cut[1])]


def region(cut: tuple[np.ndarray, ...]) -> shapely.Geometry:
    return shapely.union_all([even_odd(np.array(part)) for part in parts(cut)])


def same_ring(a: list[list[float]], b: list[list[float]]) -> bool:
    """The same vertices in the same order, from any first one, in either direction."""
    turns = [b[k:] + b[:k] for k in range(len(b))]
    return a in turns or a[::-1] in turns


def test_a_notch_has_no_seam(backend: ModuleType) -> None:
    cut = difference(backend, polygons(SQUARE), polygons([[1, 0], [3, 0], [3, 2], [1, 2]]))
    [part] = parts(cut)
    assert same_ring(part, [[0, 0], [1, 0], [1, 2], [3, 2], [3, 0], [4, 0], [4, 4], [0, 4]])
    assert cut[4].tolist() == [0.75]


def test_a_cover_inside_leaves_a_hole_with_a_seam(backend: ModuleType) -> None:
    cut = difference(backend, polygons(SQUARE), polygons([[1, 1], [2, 1], [2, 2], [1, 2]]))
    [part] = parts(cut)
    assert len(part) <= 4 + 4 + 3
    assert region(cut).equals(shapely.box(0, 0, 4, 4) - shapely.box(1, 1, 2, 2))
    assert cut[4].tolist() == [15 / 16]


def test_a_band_splits(backend: ModuleType) -> None:
    cut = difference(backend, polygons(SQUARE), polygons([[-1, 1], [6, 1], [6, 2], [-1, 2]]))
    low, high = sorted(parts(cut))
    assert same_ring(low, [[0, 0], [4, 0], [4, 1], [0, 1]])
    assert same_ring(high, [[0, 2], [4, 2], [4, 4], [0, 4]])
    assert (cut[3].tolist(), cut[4].tolist()) == ([0, 0], [0.75, 0.75])
    largest = difference(backend, polygons(SQUARE), polygons([[-1, 1], [6, 1], [6, 2], [-1, 2]]), keep_largest=True)
    assert parts(largest) == [high]


@pytest.mark.parametrize(
    "cover",
    [
        [[4, 0], [8, 0], [8, 4], [4, 4]],  # beside it, with a common edge
        [[4, 1], [8, 1], [8, 9], [4, 9]],
        [[4, 4], [5, 4], [5, 5]],  # at a corner
        [[9, 9], [10, 9], [10, 10]],
        [[2, 4], [3, 6], [1, 6]],  # a corner on an edge
        [[0, 0], [4, 0], [0, 0]],  # nothing, along an edge
        [[1, 1], [3, 3], [2, 2]],
    ],
)
def test_what_only_touches_hides_nothing(backend: ModuleType, cover: list[list[float]]) -> None:
    shapes = polygons(SQUARE)
    cut = difference(backend, shapes, polygons(cover))
    assert_same_bits(cut[:3], arrays_of(shapes))
    assert cut[4].tolist() == [1.0]


def test_what_is_covered_is_absent(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points(
        [SQUARE, [[0, 0], [4, 4]], [[1, 1], [3, 2]], [[2, 2], [2, 2], [2, 2]]], [1, 0, 2, 1]
    )
    for cover in (polygons(SQUARE), polygons([[-1, -1], [9, -1], [9, 9], [-1, 9]])):
        assert parts(difference(backend, shapes, cover)) == []
    halves = boxes([[-1, -1], [2, 5]], [[2, -1], [5, 5]])
    assert parts(difference(backend, shapes, halves)) == []


def test_covers_act_together(backend: ModuleType) -> None:
    one = boxes([[-1, -1], [2, 2]])
    twice = boxes([[-1, -1], [2, 2]], [[-1, -1], [2, 2]], [[0, 0], [1, 1]])
    first, second = (difference(backend, polygons(SQUARE), covers) for covers in (one, twice))
    assert first[4].tolist() == second[4].tolist() == [0.75]
    assert same_ring(parts(first)[0], parts(second)[0])


def test_a_box_of_which_a_rectangle_shows_stays_a_box(backend: ModuleType) -> None:
    box = boxes([[0, 0], [4, 4]])
    cut = difference(backend, box, boxes([[3, -1], [9, 9]]))
    assert (parts(cut), cut[2].tolist(), cut[4].tolist()) == ([[[0, 0], [3, 4]]], [0], [0.75])
    corner = boxes([[3, 3], [9, 9]])
    assert difference(backend, box, corner)[2].tolist() == [1]
    bounds = difference(backend, box, corner, keep_boxes=True)
    assert (parts(bounds), bounds[4].tolist()) == ([[[0, 0], [4, 4]]], [15 / 16])


def test_lines_keep_what_shows(backend: ModuleType) -> None:
    line = ShapeArray.from_points([[[0, 1], [10, 1], [10, 8]]], [2])
    cut = difference(backend, line, boxes([[2, 0], [4, 2]], [[3, 0], [5, 2]], [[9, 5], [12, 9]]))
    assert parts(cut) == [[[0, 1], [2, 1]], [[5, 1], [10, 1], [10, 5]]]
    assert cut[4] == pytest.approx([11 / 17] * 2)
    longest = difference(backend, line, boxes([[2, 0], [4, 2]]), keep_largest=True)
    assert parts(longest) == [[[4, 1], [10, 1], [10, 8]]]


def test_lines_hide_nothing(backend: ModuleType) -> None:
    shapes = polygons(SQUARE)
    cut = difference(backend, shapes, ShapeArray.from_points([[[0, 0], [4, 4], [0, 4]]], [2]))
    assert_same_bits(cut[:3], arrays_of(shapes))


def test_holes_and_islands(backend: ModuleType) -> None:
    """A cover that is itself a frame: an island shows in the middle."""
    frame = [[1, 1], [9, 1], [9, 9], [1, 9], [1, 1], [3, 3], [3, 7], [7, 7], [7, 3], [3, 3]]
    cut = difference(backend, polygons([[0, 0], [10, 0], [10, 10], [0, 10]]), polygons(frame))
    assert sorted(area_or_length(backend, polygons(*parts(cut)))) == [16.0, 36.0]
    assert cut[4] == pytest.approx([0.52, 0.52])


def check(backend: ModuleType, ring: Points, covers: list[Points]) -> None:
    """Region, area and share are those of shapely."""
    whole = even_odd(ring)
    if whole.area < 1e-6:
        return
    cut = difference(backend, polygons(ring), polygons(*covers))
    expected = whole - shapely.union_all([even_odd(cover) for cover in covers])
    share = cut[4][0] if len(cut[4]) else 0.0
    assert share == pytest.approx(expected.area / whole.area, abs=1e-9)
    assert area_or_length(backend, polygons(*parts(cut))).sum() == pytest.approx(expected.area, abs=1e-9 * whole.area)
    assert region(cut).symmetric_difference(expected).area < 1e-7 * whole.area


@pytest.mark.parametrize("grid", [0.0, 4.0])
def test_stars_against_shapely(backend: ModuleType, grid: float) -> None:
    rng = np.random.default_rng(30)
    for _ in range(120):
        covers = [star_ring(rng, int(rng.integers(3, 25)), grid) for _ in range(int(rng.integers(1, 4)))]
        check(backend, star_ring(rng, int(rng.integers(3, 25)), grid), covers)


@pytest.mark.parametrize("whole", [True, False])
def test_self_crossing_rings_against_shapely(backend: ModuleType, whole: bool) -> None:
    rng = np.random.default_rng(31)

    def ring() -> Points:
        size = (int(rng.integers(3, 9)), 2)
        return rng.integers(0, 7, size).astype(float) if whole else rng.uniform(0, 7, size)

    for _ in range(120):
        check(backend, ring(), [ring() for _ in range(int(rng.integers(1, 4)))])


def test_common_edges_under_every_turn(backend: ModuleType) -> None:
    """Edges of shape and covers coincide but for the rounding of a turn."""
    square, notch = np.array(SQUARE, float), np.array([[1, 0], [3, 0], [3, 2], [1, 2]], float)
    for angle in np.arange(0, 360, 5.0):
        turn = Affine.rotation(float(angle), (2, 2))
        cut = difference(backend, polygons(turn.apply(square)), polygons(turn.apply(notch), turn.apply(square[:3])))
        assert cut[4] == pytest.approx([7.5 / 16] * len(cut[4]), abs=1e-12)
        assert area_or_length(backend, polygons(*parts(cut))).sum() == pytest.approx(7.5, abs=1e-12)


@settings(deadline=None, max_examples=150)
@given(shape_arrays(), shape_arrays())
def test_shares_against_rational_arithmetic(shapes: ShapeArray, covers: ShapeArray) -> None:
    core = pytest.importorskip("dcap._core")
    shapes, covers = shapes.take(shapes.kinds == 1), covers.take(covers.kinds == 1)
    cut = difference(core, shapes, covers)
    for i in range(len(shapes)):
        rings = [exact_ring(shapes.points(i)), *(exact_ring(points) for _, points in covers)]
        whole = float(area_where(rings[:1], all))
        left = float(area_where(rings, lambda inside: inside[0] and not any(inside[1:])))
        size = float(np.ptp(shapes.points(i), axis=0).max() * np.abs(shapes.points(i)).max())
        shares = cut[4][cut[3] == i]
        share = shares[0] if len(shares) else 0.0
        if whole > 1e-9 * size:
            assert share * whole == pytest.approx(left, abs=1e-12 * size)


@settings(deadline=None, max_examples=60)
@given(shape_arrays(), shape_arrays(), st.booleans(), st.booleans())
def test_twins_agree(shapes: ShapeArray, covers: ShapeArray, keep_boxes: bool, keep_largest: bool) -> None:
    import dcap.kernels._numba as twin

    core = pytest.importorskip("dcap._core")
    first = difference(core, shapes, covers, keep_boxes, keep_largest)
    assert_same_bits(first, difference(twin, shapes, covers, keep_boxes, keep_largest))


def test_twins_agree_on_random_shapes(twins: tuple[ModuleType, ModuleType]) -> None:
    rng = np.random.default_rng(32)
    for round_ in range(24):
        shapes, covers = random_shapes(rng, 12, round_ % 4), random_shapes(rng, 4, round_ % 4)
        assert_same_bits(difference(twins[0], shapes, covers), difference(twins[1], shapes, covers))
    rings = [ring for ring, _ in random_rings(rng, 60)]
    shapes, covers = polygons(*rings), boxes([[0, 0], [40, 40]], [[30, 20], [70, 90]])
    assert_same_bits(difference(twins[0], shapes, covers), difference(twins[1], shapes, covers))


def test_more_parts_than_expected(backend: ModuleType) -> None:
    fence = boxes(*[[[2 * k, -1], [2 * k + 1, 9]] for k in range(400)])
    cut = difference(backend, boxes([[0, 0], [1000, 1]]), fence)
    assert len(cut[4]) == 400
    assert cut[4] == pytest.approx([0.6] * 400)


def test_nothing(backend: ModuleType) -> None:
    assert parts(difference(backend, ShapeArray.empty(), polygons(SQUARE))) == []
    shapes = polygons(SQUARE)
    assert_same_bits(difference(backend, shapes, ShapeArray.empty())[:3], arrays_of(shapes))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e151])
def test_what_is_not_finite_is_an_error(backend: ModuleType, value: float) -> None:
    good, bad = (
        arrays_of(polygons(SQUARE)),
        (np.array([[0, 0], [1, 0], [1, value]]), np.array([0, 3]), np.ones(1, "u1")),
    )
    for first, second in ((good, bad), (bad, good)):
        with pytest.raises(GeometryError, match="finite"):
            backend.difference(*first, *second, False, False)
