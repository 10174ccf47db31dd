from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from dcap.core.errors import GeometryError
from dcap.geometry import (
    Affine,
    Canvas,
    Clipped,
    ShapeArray,
    area_or_length,
    clip,
    clip_convex,
    difference,
    transform,
    transform_and_clip,
    transform_geometry,
    visible_fraction,
)
from support.strategies import affines, rects, shape_arrays

OBJECTS = [
    {"bbox_2d": [-10.0, 0.0, 10.0, 20.0]},
    {"poly": [200.0, 0.0, 220.0, 0.0, 220.0, 20.0]},
    {"line": [10.0, 10.0, 50.0, 10.0, 50.0, -10.0, 60.0, -10.0, 60.0, 10.0]},
]


def same(a: Clipped, b: Clipped) -> bool:
    return a.shapes == b.shapes and all(np.array_equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def test_sources_and_shares() -> None:
    clipped = clip(ShapeArray.from_objects(OBJECTS), Canvas(height=100, width=100))
    assert clipped.source_index.tolist() == [0, 2, 2]
    assert clipped.visible_fraction == pytest.approx([0.5, 60 / 90, 60 / 90])
    assert clipped.shapes.to_objects()[0] == {"bbox_2d": [0.0, 0.0, 10.0, 20.0]}
    assert visible_fraction(ShapeArray.from_objects(OBJECTS), Canvas(100, 100)) == pytest.approx([0.5, 0, 60 / 90])


def test_a_canvas_is_its_rectangle() -> None:
    shapes = ShapeArray.from_objects(OBJECTS)
    assert same(clip(shapes, Canvas(30, 40)), clip(shapes, (0, 0, 40, 30)))


@settings(deadline=None, max_examples=100)
@given(shape_arrays(), affines, rects())
def test_one_call_equals_two(shapes: ShapeArray, affine: Affine, rect: tuple[float, float, float, float]) -> None:
    assert same(transform_and_clip(shapes, affine, rect), clip(transform(shapes, affine), rect))


@settings(deadline=None, max_examples=100)
@given(shape_arrays(), rects())
def test_clipping_twice_changes_nothing(shapes: ShapeArray, rect: tuple[float, float, float, float]) -> None:
    once = clip(shapes, rect)
    again = clip(once.shapes, rect)
    assert again.shapes == once.shapes
    assert (again.visible_fraction == 1).all()
    assert ((once.visible_fraction > 0) & (once.visible_fraction <= 1)).all()


@settings(deadline=None, max_examples=100)
@given(shape_arrays(), rects())
def test_the_largest_part_is_one_of_all(shapes: ShapeArray, rect: tuple[float, float, float, float]) -> None:
    every, largest = clip(shapes, rect), clip(shapes, rect, "largest")
    assert largest.source_index.tolist() == np.unique(every.source_index).tolist()
    parts = {points.tobytes() for _, points in every.shapes}
    assert all(points.tobytes() in parts for _, points in largest.shapes)


def test_no_shapes() -> None:
    clipped = clip(ShapeArray.empty(), (0, 0, 1, 1))
    assert len(clipped.shapes) == len(clipped.source_index) == len(clipped.visible_fraction) == 0


def test_clip_convex_maps_first() -> None:
    shapes = ShapeArray.from_objects(OBJECTS)
    region = [[0, 0], [90, 10], [40, 90]]
    affine = Affine.rotation(30, (20, 20))
    both = clip_convex(shapes, region, affine=affine)
    assert same(both, clip_convex(transform(shapes, affine), region))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 0, 1),), "rect"),
        (((0, 0, 0, 1),), "region"),
        (((0, 0, float("nan"), 1),), "region"),
        (((0, 0, 1, 1), "most"), "split_policy"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        clip(ShapeArray.from_objects(OBJECTS), *arguments)


def test_box_policy_and_region_are_checked() -> None:
    with pytest.raises(GeometryError, match="box_policy"):
        transform_and_clip(ShapeArray.empty(), Affine.identity(), (0, 0, 1, 1), box_policy="hull")
    with pytest.raises(GeometryError, match="region_xy"):
        clip_convex(ShapeArray.empty(), [1.0, 2.0])


class TestTransformGeometry:
    def test_parts_keep_the_other_keys(self) -> None:
        obj = {"desc": "road", "line": [10, 50, 10, -50, 30, -50, 30, 50]}
        assert transform_geometry(obj, np.eye(3), width=100, height=100) == [
            {"line": [10.0, 50.0, 10.0, 0.0], "desc": "road"},
            {"line": [30.0, 0.0, 30.0, 50.0], "desc": "road"},
        ]

    def test_invisible_is_empty(self) -> None:
        assert transform_geometry({"bbox_2d": [0, 0, 5, 5]}, Affine.translation(100, 0), 100, 100) == []

    def test_a_flip_loses_no_column(self) -> None:
        canvas = Canvas(height=50, width=100)
        [part] = transform_geometry({"bbox_2d": [0, 0, 100, 50]}, Affine.hflip(canvas), 100, 50)
        assert part["bbox_2d"] == [0, 0, 100, 50]

    @pytest.mark.parametrize("matrix", [np.ones((2, 2)), np.full((2, 3), np.nan)])
    def test_bad_matrices(self, matrix: np.ndarray) -> None:
        with pytest.raises(GeometryError):
            transform_geometry({"bbox_2d": [0, 0, 5, 5]}, matrix, 100, 100)


class TestDifference:
    def test_sources_and_shares(self) -> None:
        shapes = ShapeArray.from_objects(OBJECTS)
        left = difference(shapes, ShapeArray.from_objects([{"bbox_2d": [0, 0, 45, 50]}, {"bbox_2d": [0, 5, 5, 30]}]))
        assert left.source_index.tolist() == [0, 1, 2]
        assert left.visible_fraction == pytest.approx([0.5, 1.0, 55 / 90])
        assert left.shapes.to_objects()[0] == {"bbox_2d": [-10.0, 0.0, 0.0, 20.0]}

    @settings(deadline=None, max_examples=100)
    @given(shape_arrays(), rects())
    def test_the_rest_and_the_cut_make_a_whole(
        self, shapes: ShapeArray, rect: tuple[float, float, float, float]
    ) -> None:
        solid = shapes.take((shapes.kinds < 2) & (area_or_length(shapes) > 1e-3))
        cover = ShapeArray.from_objects([{"bbox_2d": list(rect)}])
        shown = np.zeros(len(solid))
        left = difference(solid, cover)
        shown[left.source_index] = left.visible_fraction
        assert shown + visible_fraction(solid, rect) == pytest.approx(np.ones(len(solid)), abs=1e-6)

    @settings(deadline=None, max_examples=100)
    @given(shape_arrays(), shape_arrays())
    def test_what_is_left_is_left_again(self, shapes: ShapeArray, covers: ShapeArray) -> None:
        solid = shapes.take(shapes.kinds < 2)
        once = difference(solid, covers)
        scale = max(1.0, float(np.abs(solid.bounds()).max(initial=1.0)) ** 2)
        again = difference(once.shapes, covers)
        areas = [area_or_length(left.shapes).sum() for left in (once, again)]
        assert areas[0] == pytest.approx(areas[1], abs=1e-9 * scale)

    def test_the_largest_part(self) -> None:
        shapes = ShapeArray.from_objects([{"poly": [0, 0, 10, 0, 10, 4, 0, 4]}])
        cover = ShapeArray.from_objects([{"bbox_2d": [6, -1, 7, 9]}])
        assert len(difference(shapes, cover).shapes) == 2
        assert area_or_length(difference(shapes, cover, "largest").shapes).tolist() == [24.0]

    def test_policies_are_checked(self) -> None:
        with pytest.raises(GeometryError, match="split_policy"):
            difference(ShapeArray.empty(), ShapeArray.empty(), "most")
        with pytest.raises(GeometryError, match="box_policy"):
            difference(ShapeArray.empty(), ShapeArray.empty(), box_policy="hull")
