from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry import Canvas, GeometryKind, ShapeArray
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import rings_without_area
from support.strategies import shape_arrays

XY = np.array([[0.0, 0.0], [4.0, 4.0]])
OFFSETS = np.array([0, 2])
KINDS = np.array([0], np.uint8)


def test_objects_round_trip() -> None:
    objects = [
        {"bbox_2d": [1.0, 2.0, 3.0, 4.0]},
        {"poly": [0.0, 0.0, 4.0, 0.0, 4.0, 4.5]},
        {"line": [0.0, 0.0, 1.0, 1.0]},
    ]
    shapes = ShapeArray.from_objects(objects)
    assert shapes.to_objects() == objects
    assert shapes.kinds.tolist() == [GeometryKind.BOX, GeometryKind.POLYGON, GeometryKind.LINE]
    assert shapes.offsets.tolist() == [0, 2, 5, 7]


def test_repeats_and_the_closing_point_are_removed() -> None:
    shapes = ShapeArray.from_objects([{"poly": [0, 0, 0, 0, 4, 0, 4, 4, 0, 0]}])
    assert shapes.to_objects() == [{"poly": [0, 0, 4, 0, 4, 4]}]


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({}, "exactly one"),
        ({"poly": [0, 0, 1, 1, 2, 0], "line": [0, 0, 1, 1]}, "exactly one"),
        ({"bbox_2d": [4, 0, 1, 3]}, "x1 < x2"),
        ({"bbox_2d": [0, 0, 1]}, "must have 4 numbers"),
        ({"poly": [0, 0, 1, 1]}, "even count of at least 6 numbers, not 4"),
        ({"poly": [0, 0, 1, 1, 2]}, "even count"),
        ({"poly": [0, 0, 1, 1, 0, 0]}, "distinct"),
        ({"line": [2, 2, 2, 2]}, "distinct"),
        ({"line": [0, 0, float("nan"), 2]}, "finite"),
        ({"line": [0, 0, True, 2]}, "number"),
        ({"line": [0, 0, "1", 2]}, "number"),
        ({"line": [0, 0, 10**400, 2]}, "float64"),
        ({"line": 5}, "list"),
    ],
)
def test_objects_that_are_refused(obj: dict[str, Any], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        ShapeArray.from_objects([{"line": [0, 0, 1, 1]}, obj])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((XY.astype(np.float32), OFFSETS, KINDS), "float64"),
        ((XY, OFFSETS.astype(np.int32), KINDS), "int64"),
        ((XY, OFFSETS, KINDS.astype(np.int64)), "uint8"),
        ((XY.T.copy().T, OFFSETS, KINDS), "contiguous"),
        ((XY.ravel(), OFFSETS, KINDS), "dimension"),
        ((XY, OFFSETS[:1], KINDS), "entries"),
        ((XY, np.array([0, 1]), KINDS), "rise"),
        ((XY, np.array([1, 2]), KINDS), "rise"),
        ((XY, OFFSETS, np.array([3], np.uint8)), "kinds"),
        ((XY, OFFSETS, np.array([1], np.uint8)), "at least 3"),
        ((np.zeros((3, 2)), np.array([0, 3]), KINDS), "2 points"),
        ((np.zeros((2, 3)), OFFSETS, KINDS), "columns"),
        ((XY + np.inf, OFFSETS, KINDS), "finite"),
    ],
)
def test_arrays_that_are_refused(arrays: tuple[Any, ...], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        ShapeArray(*arrays)


def test_arrays_cannot_be_written() -> None:
    shapes = ShapeArray(XY, OFFSETS, KINDS)
    with pytest.raises(ValueError, match="read-only"):
        shapes.xy[0] = 1
    assert XY.flags.writeable


@settings(deadline=None, max_examples=50)
@given(shape_arrays())
def test_take_bounds_and_copies(shapes: ShapeArray) -> None:
    assert copy.deepcopy(shapes) == shapes
    index = np.arange(len(shapes))[::-1]
    twice = shapes.take(index).take(index)
    assert twice == shapes
    for (_, points), bounds in zip(shapes, shapes.bounds(), strict=True):
        assert bounds.tolist() == [*points.min(axis=0), *points.max(axis=0)]


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_canvas_sizes(size: Any) -> None:
    with pytest.raises(GeometryError, match="height"):
        Canvas(size, 5)


@given(st.lists(shape_arrays(), max_size=4))
def test_concatenate_keeps_every_shape_in_order(parts: list[ShapeArray]) -> None:
    whole = ShapeArray.concatenate(parts)
    assert whole.to_objects() == [item for part in parts for item in part.to_objects()]
    assert ShapeArray(whole.xy, whole.offsets, whole.kinds) == whole


FLAT = [
    [0, 0, 5, 5, 10, 10],
    [0, 0, 10, 10, 5, 5],
    [3, 0, 3, 8, 3, 4],
    [0.1, 0.3, 0.2, 0.6, 0.7, 2.1],
    [0, 0, 10, 0, 10, 10, 10, 0],  # there and back
    [0, 0, 10, 0, 10, 10, 0, 0, 10, 0, 10, 10],  # twice around
    [0, 0, 10, 0, 5, 0, 20, 0],
]
RINGS = [
    [0, 0, 10, 0, 10, 10],
    [0, 0, 10, 10, 10, 0, 0, 10],  # a bow
    [0, 0, 10, 0, 5, 0, 5, 5],  # with a spike
    [0, 0, 0, 10, 0, 5, 5, 5],  # that turns back at its first corner
    [0, 0, 1e-3, 0, 0, 1e-3],
    [9e8, 9e8, 9e8 + 1, 9e8, 9e8, 9e8 + 1],
    [0, 0, 1000, 0.001, 2000, 0],
]


@pytest.mark.parametrize(("rings", "flat"), [(FLAT, True), (RINGS, False)])
def test_rings_without_area(rings: list[list[float]], flat: bool) -> None:
    shapes = ShapeArray.from_objects([{"poly": ring} for ring in rings])
    assert rings_without_area(shapes.xy, shapes.offsets, shapes.kinds).tolist() == [flat] * len(rings)
    mixed = ShapeArray.from_objects([{"line": [0, 0, 5, 5, 10, 10]}, {"bbox_2d": [0, 0, 1, 1]}, {"poly": rings[0]}])
    assert rings_without_area(mixed.xy, mixed.offsets, mixed.kinds).tolist() == [False, False, flat]
    assert rings_without_area(np.empty((0, 2)), np.zeros(1, np.int64), np.empty(0, np.uint8)).tolist() == []


@given(shape_arrays())
def test_a_ring_has_no_area_where_its_measured_area_is_none(shapes: ShapeArray) -> None:
    areas = area_or_length(shapes)
    flat = rings_without_area(shapes.xy, shapes.offsets, shapes.kinds)
    assert not flat[shapes.kinds != GeometryKind.POLYGON].any()
    assert (areas[flat] < 1e-3).all()
    assert flat[(areas == 0) & (shapes.kinds == GeometryKind.POLYGON)].all()


@given(
    st.floats(0, 2 * np.pi), st.floats(0, 4000), st.floats(0, 4000), st.lists(st.floats(0, 900), min_size=3, max_size=9)
)
def test_points_on_one_line_enclose_nothing_whatever_its_direction(
    angle: float, x: float, y: float, steps: list[float]
) -> None:
    ring = np.array([[x, y]]) + np.array(steps)[:, None] * np.array([[np.cos(angle), np.sin(angle)]])
    assert rings_without_area(ring, np.array([0, len(ring)]), np.array([GeometryKind.POLYGON], np.uint8)).all()


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([30, 2, 1, 40], "not [30, 2, 1, 40]: x1 and x2 are swapped. Write the smaller number first"),
        ([3, 20, 30, 4], "y1 and y2 are swapped"),
        (
            [30, 20, 3, 4],
            "x1 and x2 and y1 and y2 are swapped. Write the smaller number first. [x, y, width, height] is",
        ),
        ([3, 2, 3, 4], "not [3, 2, 3, 4]: it has no width"),
        ([3, 2, 3, 2], "it has no width and no height"),
    ],
)
def test_a_box_that_is_none_says_why(box: list[int], said: str) -> None:
    with pytest.raises(GeometryError) as caught:
        ShapeArray.from_objects([{"bbox_2d": box}])
    assert said in str(caught.value)
