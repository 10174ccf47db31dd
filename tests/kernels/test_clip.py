from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry import Affine, ShapeArray
from support.kernel_calls import assert_same_bits, clip_convex, clip_rect
from support.strategies import affines, random_rect, random_rings, random_shapes, rects, shape_arrays

U_SHAPE = [[0, 0], [30, 0], [30, 30], [20, 30], [20, 10], [10, 10], [10, 30], [0, 30]]
CANVAS = (0.0, 0.0, 100.0, 100.0)


def polygon(points: object) -> ShapeArray:
    return ShapeArray.from_points([points], [1])


def parts(clipped: tuple[np.ndarray, ...]) -> list[list[list[float]]]:
    xy, offsets = clipped[0], clipped[1]
    return [xy[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def test_a_cut_polygon_splits_without_a_bridge(backend: ModuleType) -> None:
    clipped = clip_rect(backend, polygon(U_SHAPE), (0.0, 15.0, 100.0, 100.0))
    assert sorted(sorted(part) for part in parts(clipped)) == [
        [[0, 15], [0, 30], [10, 15], [10, 30]],
        [[20, 15], [20, 30], [30, 15], [30, 30]],
    ]
    assert clipped[3].tolist() == [0, 0]
    assert clipped[4].tolist() == [300 / 700] * 2


def test_the_largest_part(backend: ModuleType) -> None:
    wide = [[0, 0], [30, 0], [30, 30], [20, 30], [20, 10], [10, 10], [10, 20], [0, 20]]
    clipped = clip_rect(backend, polygon(wide), (0.0, 15.0, 100.0, 100.0), keep_largest=True)
    assert [sorted(part) for part in parts(clipped)] == [[[20, 15], [20, 30], [30, 15], [30, 30]]]
    assert clipped[4].tolist() == [200 / 600]


def test_inside_is_returned_to_the_bit(backend: ModuleType) -> None:
    ring = np.array([[0.1, 0.0], [100.0, 1 / 3], [100.0, 100.0], [-0.0, 100.0]])
    clipped = clip_rect(backend, polygon(ring), CANVAS)
    assert clipped[0].tobytes() == ring.tobytes()
    assert clipped[4].tolist() == [1.0]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_outside_and_touching_are_absent(backend: ModuleType, kind: int) -> None:
    for low, high in (([100, 10], [120, 20]), ([-5, -5], [0, 0]), ([10, 100.5], [20, 110])):
        corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]], float)
        points = {0: corners[[0, 2]], 1: corners, 2: corners[[0, 2]]}[kind]
        assert parts(clip_rect(backend, ShapeArray.from_points([points], [kind]), CANVAS)) == []


def test_a_line_is_never_joined_along_the_border(backend: ModuleType) -> None:
    zigzag = ShapeArray.from_points([[[10, 50], [10, -50], [30, -50], [30, 50]]], [2])
    clipped = clip_rect(backend, zigzag, CANVAS)
    assert parts(clipped) == [[[10, 50], [10, 0]], [[30, 0], [30, 50]]]
    assert clipped[4].tolist() == [100 / 220] * 2
    longest = clip_rect(backend, zigzag, (0.0, 0.0, 100.0, 20.0), keep_largest=True)
    assert parts(longest) == [[[10, 20], [10, 0]]]


def test_a_line_that_touches_the_border_from_inside_stays_whole(backend: ModuleType) -> None:
    line = ShapeArray.from_points([[[10, 50], [20, 0], [30, 50], [120, 50]]], [2])
    assert parts(clip_rect(backend, line, CANVAS)) == [[[10, 50], [20, 0], [30, 50], [100, 50]]]


def test_a_line_along_the_border_is_visible(backend: ModuleType) -> None:
    line = ShapeArray.from_points([[[-20, -20], [20, 0], [60, 0], [70, -20]]], [2])
    assert parts(clip_rect(backend, line, CANVAS)) == [[[20, 0], [60, 0]]]


def test_shapes_without_area_or_length(backend: ModuleType) -> None:
    flat = [[10, 10], [60, 60], [30, 30]]
    shapes = ShapeArray.from_points([flat, [[-10, -10], *flat[1:]], [[5, 5], [5, 5]], [[-5, 5], [-5, 5]]], [1, 1, 2, 2])
    clipped = clip_rect(backend, shapes, CANVAS)
    assert (clipped[3].tolist(), clipped[4].tolist()) == ([0, 2], [1.0, 1.0])


def test_boxes_stay_boxes_where_only_upright_sides_cut(backend: ModuleType) -> None:
    box = ShapeArray.from_points([[[-10, 20], [30, 60]]], [0])
    clipped = clip_rect(backend, box, (0.0, 30.0, 100.0, 100.0))
    assert (parts(clipped), clipped[4].tolist()) == ([[[0, 30], [30, 60]]], [900 / 1600])
    diamond = np.array([[50.0, 0.0], [100.0, 50.0], [50.0, 100.0], [0.0, 50.0]])
    corner = ShapeArray.from_points([[[0, 0], [50, 50]]], [0])
    assert clip_convex(backend, corner, diamond)[2].tolist() == [1]
    bounds = clip_convex(backend, corner, diamond, keep_boxes=True)
    assert (parts(bounds), bounds[4].tolist()) == ([[[0, 0], [50, 50]]], [0.5])


def test_a_convex_region_in_either_direction(backend: ModuleType) -> None:
    square = polygon([[0, 0], [100, 0], [100, 100], [0, 100]])
    triangle = np.array([[-50.0, 0.0], [50.0, 0.0], [50.0, 100.0]])
    for region in (triangle, triangle[::-1].copy()):
        clipped = clip_convex(backend, square, region)
        assert clipped[4] == pytest.approx([0.375], abs=1e-15)


@pytest.mark.parametrize(
    "region",
    [
        [[0, 0], [1, 1]],
        [[0, 0], [5, 5], [9, 9]],
        [[0, 0], [9, 0], [4, 1], [0, 9]],
        [[0, 0], [np.nan, 0], [4, 4]],
        [[0, 0], [9, 9], [9, 0], [0, 9]],
    ],
)
def test_regions_that_are_not_convex_are_refused(backend: ModuleType, region: list[list[float]]) -> None:
    with pytest.raises(GeometryError, match="region"):
        clip_convex(backend, polygon(U_SHAPE), np.array(region, np.float64))


@pytest.mark.parametrize("rect", [(0.0, 0.0, 0.0, 5.0), (5.0, 0.0, 1.0, 5.0), (0.0, 0.0, np.inf, 1.0), (np.nan,) * 4])
def test_rectangles_without_area_are_refused(backend: ModuleType, rect: tuple[float, float, float, float]) -> None:
    with pytest.raises(GeometryError, match="region"):
        clip_rect(backend, polygon(U_SHAPE), rect)


def test_more_parts_than_expected(backend: ModuleType) -> None:
    x = np.repeat(np.arange(2000.0), 2)
    comb = np.stack([x, np.tile([0.0, 10.0, 10.0, 0.0], 1000)], axis=1)
    clipped = clip_rect(backend, polygon([*comb.tolist(), [2000, -5], [0, -5]]), (-1.0, 5.0, 3000.0, 20.0))
    assert len(clipped[4]) == 1000


def test_results_are_read_only(backend: ModuleType) -> None:
    assert not any(array.flags.writeable for array in clip_rect(backend, polygon(U_SHAPE), CANVAS))


@settings(deadline=None, max_examples=150)
@given(shape_arrays(), affines, rects(), st.booleans(), st.booleans())
def test_twins_agree(
    shapes: ShapeArray, affine: Affine, rect: tuple[float, float, float, float], keep_boxes: bool, largest: bool
) -> None:
    import dcap.kernels._numba as twin

    core = pytest.importorskip("dcap._core")
    first = clip_rect(core, shapes, rect, affine, keep_boxes, largest)
    assert_same_bits(first, clip_rect(twin, shapes, rect, affine, keep_boxes, largest))


zeros = st.sampled_from([-0.0, 0.0, -0.0, 0.0, 5.0, -5.0, 9.0, -3.0])


@st.composite
def shapes_with_signed_zeros(draw: st.DrawFn) -> ShapeArray:
    kinds = draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))
    point = st.tuples(zeros, zeros)
    items = [draw(st.lists(point, min_size=(2, 3, 2)[k], max_size=2 if k == 0 else 7)) for k in kinds]
    return ShapeArray.from_points(items, kinds)


@settings(deadline=None, max_examples=300)
@given(
    shapes_with_signed_zeros(),
    st.lists(st.tuples(zeros, zeros), min_size=3, max_size=4, unique=True),
    st.booleans(),
    st.booleans(),
)
def test_twins_agree_on_signed_zeros(
    shapes: ShapeArray, corners: list[tuple[float, float]], keep_boxes: bool, largest: bool
) -> None:
    """0.0 == -0.0, and what was cut has only one of them."""
    import dcap.kernels._numba as twin

    core = pytest.importorskip("dcap._core")
    region = np.array(corners)
    try:
        first = clip_convex(core, shapes, region, keep_boxes=keep_boxes, keep_largest=largest)
    except GeometryError:
        return
    assert_same_bits(first, clip_convex(twin, shapes, region, keep_boxes=keep_boxes, keep_largest=largest))
    x1, y1, x2, y2 = *region.min(axis=0).tolist(), *region.max(axis=0).tolist()
    first = clip_rect(core, shapes, (x1, y1, x2, y2), keep_boxes=keep_boxes, keep_largest=largest)
    assert_same_bits(first, clip_rect(twin, shapes, (x1, y1, x2, y2), keep_boxes=keep_boxes, keep_largest=largest))


def test_twins_agree_on_random_shapes(twins: tuple[ModuleType, ModuleType]) -> None:
    rng = np.random.default_rng(5)
    for round_ in range(60):
        shapes = random_shapes(rng, 20, round_ % 4)
        rect = random_rect(rng, round_ % 2 == 0)
        affine = Affine.rotation(float(rng.uniform(0, 360)), (50, 50)) if round_ % 3 else Affine.identity()
        assert_same_bits(clip_rect(twins[0], shapes, rect, affine), clip_rect(twins[1], shapes, rect, affine))
        x1, y1, x2, y2 = rect
        hexagon = Affine.rotation(float(rng.uniform(0, 90)), (x1, y1)).apply([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        assert_same_bits(clip_convex(twins[0], shapes, hexagon), clip_convex(twins[1], shapes, hexagon))


def test_twins_agree_on_simple_rings(twins: tuple[ModuleType, ModuleType]) -> None:
    rng = np.random.default_rng(6)
    rings = [ring for ring, _ in random_rings(rng, 300)]
    shapes = ShapeArray.from_points(rings, [1] * len(rings))
    for whole in (True, False):
        rect = random_rect(rng, whole)
        assert_same_bits(clip_rect(twins[0], shapes, rect), clip_rect(twins[1], shapes, rect))
