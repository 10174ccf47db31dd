"""Areas, rectangles, simplification and overlap through the public functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from dcap.core.errors import GeometryError
from dcap.geometry import (
    Affine,
    Canvas,
    ShapeArray,
    area_or_length,
    min_area_rect,
    polygon_iou,
    simplify,
    transform,
)
from support.strategies import affines, shape_arrays


@settings(deadline=None, max_examples=100)
@given(shape_arrays(), affines)
def test_areas_scale_with_the_determinant(shapes: ShapeArray, affine: Affine) -> None:
    shapes = shapes.take(shapes.kinds < 2)
    expected = area_or_length(shapes) * abs(affine.determinant)
    scale = max(1.0, np.abs(shapes.bounds()).max(initial=1.0) ** 2)
    assert area_or_length(transform(shapes, affine)) == pytest.approx(expected, rel=1e-9, abs=1e-9 * scale)


@settings(deadline=None, max_examples=100)
@given(shape_arrays())
def test_iou_of_a_shape_with_itself(shapes: ShapeArray) -> None:
    iou = polygon_iou(shapes, shapes)
    assert iou == pytest.approx(iou.T, abs=1e-9)
    assert ((iou >= 0) & (iou <= 1)).all()
    solid = (shapes.kinds < 2) & (area_or_length(shapes) > 1e-3)
    assert np.diag(iou)[solid] == pytest.approx(1, abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(shape_arrays())
def test_simplified_shapes_are_shapes(shapes: ShapeArray) -> None:
    less, score = simplify(shapes, 4)
    ShapeArray(np.array(less.xy), np.array(less.offsets), np.array(less.kinds))
    assert (np.diff(less.offsets) <= np.maximum(np.diff(shapes.offsets), 4)).all()
    assert (np.diff(less.offsets)[shapes.kinds > 0] <= 4).all()
    assert ((score >= 0) & (score <= 1)).all()


@pytest.mark.parametrize("max_points", [2, 0, -1, 3.5, True, None])
def test_simplify_needs_three_points(max_points: object) -> None:
    with pytest.raises(GeometryError, match="max_points"):
        simplify(ShapeArray.empty(), max_points)


def test_rectangles_are_rectangles() -> None:
    box = ShapeArray.from_objects([{"bbox_2d": [10, 20, 50, 40]}])
    for angle in (0, 17, 45, 90):
        rect = min_area_rect(transform(box, Affine.rotation(angle, (30, 30))))[0]
        sides = np.linalg.norm(np.roll(rect, -1, axis=0) - rect, axis=1)
        assert sorted(sides) == pytest.approx([20, 20, 40, 40])


def test_transform_keeps_order_and_kinds() -> None:
    objects = [{"line": [0, 0, 5, 5]}, {"bbox_2d": [1, 1, 3, 4]}]
    flipped = transform(ShapeArray.from_objects(objects), Affine.hflip(Canvas(10, 10)))
    assert flipped.to_objects() == [{"line": [10, 0, 5, 5]}, {"bbox_2d": [7, 1, 9, 4]}]
    turned = transform(ShapeArray.from_objects(objects), Affine.rotation(45), box_policy="aabb")
    assert turned.kinds.tolist() == [2, 0]
    with pytest.raises(GeometryError, match="box_policy"):
        transform(ShapeArray.empty(), Affine.identity(), "best")


def test_results_do_not_alias_writable_memory() -> None:
    shapes = transform(ShapeArray.from_objects([{"bbox_2d": [1, 1, 3, 4]}]), Affine.identity())
    assert not shapes.xy.flags.writeable
