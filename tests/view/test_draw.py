from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dcap.geometry.shapes import ShapeArray
from dcap.view.draw import DROPPED_COLOR, DrawStyle, Pixels, color_of, draw_shapes, painting_order, scaled_to, shorten

PLAIN = DrawStyle(labels="none", line_width_px=2)
OBJECTS: list[dict[str, Any]] = [
    {"bbox_2d": [20, 20, 120, 80]},
    {"poly": [30, 30, 60, 30, 45, 60]},
    {"line": [10, 90, 150, 95]},
]
CAPTIONS = ("cup", "杯子", "road")


def grey(height: int = 100, width: int = 160) -> Pixels:
    return np.full((height, width, 3), 128, np.uint8)


def changed(before: Pixels, after: Pixels) -> npt.NDArray[np.bool_]:
    return (before != after).any(axis=2)


def test_input_is_left_alone_and_the_result_has_its_shape() -> None:
    image = grey()
    out = draw_shapes(image, ShapeArray.from_objects(OBJECTS), CAPTIONS)
    assert (image == 128).all()
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
    assert changed(image, out).any()


def test_same_input_gives_the_same_picture() -> None:
    shapes = ShapeArray.from_objects(OBJECTS)
    assert np.array_equal(draw_shapes(grey(), shapes, CAPTIONS), draw_shapes(grey(), shapes, CAPTIONS))


def test_no_shapes_change_nothing() -> None:
    assert (draw_shapes(grey(), ShapeArray.empty(), ()) == 128).all()


def test_box_is_tinted_inside_outlined_at_its_edge_and_nothing_else() -> None:
    out = draw_shapes(grey(), ShapeArray.from_objects(OBJECTS[:1]), ("cup",), PLAIN)
    where = changed(grey(), out)
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == pytest.approx((19, 80, 19, 120), abs=3)
    assert where[50, 70]
    np.testing.assert_allclose(out[50, 20], color_of("cup"), atol=40)


def test_a_tint_leaves_colours_true() -> None:
    red = np.full((100, 160, 3), (220, 30, 30), np.uint8)
    for caption in ("cup", "plate", "road", "red box"):
        out = draw_shapes(red, ShapeArray.from_objects(OBJECTS[:1]), (caption,), PLAIN)
        assert 0 < np.abs(out[50, 70].astype(int) - red[50, 70]).max() <= 16


def test_polygon_hole_of_the_even_odd_rule_stays_clear() -> None:
    # A pentagram winds twice around its middle.
    angles = np.deg2rad(np.arange(5) * 144 - 90)
    star = {"poly": (np.stack([np.cos(angles), np.sin(angles)], 1) * 45 + (80, 50)).ravel().tolist()}
    out = draw_shapes(grey(), ShapeArray.from_objects([star]), ("star",), PLAIN)
    assert (out[50, 80] == 128).all()
    assert changed(grey(), out)[20, 80]


def test_line_is_not_filled() -> None:
    out = draw_shapes(grey(), ShapeArray.from_objects([{"line": [20, 20, 120, 20, 120, 80]}]), ("road",), PLAIN)
    assert not changed(grey(), out)[40, 90]


def test_shapes_far_outside_are_cut() -> None:
    objects = [{"bbox_2d": [-1e9, -1e9, 1e9, 1e9]}, {"line": [-1e12, 50, 1e12, 50]}, {"bbox_2d": [500, 500, 600, 600]}]
    out = draw_shapes(grey(), ShapeArray.from_objects(objects), ("a", "b", "c"))
    assert out.shape == (100, 160, 3)
    assert changed(grey(), out)[10, 100]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_tiny_images_are_drawn(size: tuple[int, int]) -> None:
    height, width = size
    out = draw_shapes(grey(height, width), ShapeArray.from_objects([{"bbox_2d": [0, 0, width, height]}]), ("thing",))
    assert out.shape == (height, width, 3)


def test_dropped_object_is_crossed_out_in_its_own_colour() -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [20, 20, 120, 80]}])
    out = draw_shapes(grey(), shapes, ("cup",), PLAIN, dropped={0: "outside"})
    kept = draw_shapes(grey(), shapes, ("cup",), PLAIN)
    np.testing.assert_allclose(out[50, 70], DROPPED_COLOR, atol=60)
    assert not np.allclose(kept[50, 70], DROPPED_COLOR, atol=60)


def test_labels_dodge_each_other() -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [20, 40, 120, 80]}] * 2)
    one = draw_shapes(grey(), shapes.take([0]), ("cup",))
    two = draw_shapes(grey(), shapes, ("cup", "cup"))
    assert changed(one, two).sum() > 100


def test_crowd_of_long_captions_is_drawn() -> None:
    boxes = [{"bbox_2d": [x, y, x + 6, y + 6]} for x in range(0, 150, 8) for y in range(0, 90, 8)]
    captions = tuple(f"a rather long caption of object {i} 物体" for i in range(len(boxes)))
    assert draw_shapes(grey(), ShapeArray.from_objects(boxes), captions).shape == (100, 160, 3)


def test_numbers_may_be_given() -> None:
    shapes = ShapeArray.from_objects(OBJECTS[:1])
    style = DrawStyle(labels="number")
    first, same, other = (draw_shapes(grey(), shapes, ("cup",), style, numbers=n) for n in (None, [1], [42]))
    assert np.array_equal(first, same)
    assert changed(first, other).any()


def test_region_that_fills_the_image_is_tinted_weakly() -> None:
    small = draw_shapes(grey(), ShapeArray.from_objects([{"bbox_2d": [70, 40, 90, 60]}]), ("cup",), PLAIN)[50, 80]
    large = draw_shapes(grey(), ShapeArray.from_objects([{"bbox_2d": [0, 0, 160, 100]}]), ("cup",), PLAIN)[50, 80]
    assert 0 < np.abs(large.astype(int) - 128).max() < np.abs(small.astype(int) - 128).max() / 2


@pytest.mark.parametrize("caption", ["", "杯子 🦄 \U0001f9ff", "a\nb\tc", "\x00\x07", "ﷺ", "\ud800"])
def test_strange_captions_are_drawn(caption: str) -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [20, 20, 120, 80]}])
    assert draw_shapes(grey(), shapes, (caption,)).shape == (100, 160, 3)


def test_color_depends_on_the_caption_alone() -> None:
    assert color_of("Cup ") == color_of("cup")
    assert color_of("cup") != color_of("plate")
    assert all(0 <= value <= 255 for word in map(str, range(200)) for value in color_of(word))


def test_small_regions_are_painted_after_large_ones_and_lines_last() -> None:
    shapes = ShapeArray.from_objects([{"line": [0, 0, 99, 99]}, {"bbox_2d": [0, 0, 5, 5]}, {"bbox_2d": [0, 0, 90, 90]}])
    assert painting_order(shapes) == [2, 1, 0]


@pytest.mark.parametrize(("side", "size"), [(80, (50, 80)), (320, (200, 320)), (160, (100, 160))])
def test_image_and_shapes_are_scaled_alike(side: int, size: tuple[int, int]) -> None:
    image, shapes = scaled_to(grey(), ShapeArray.from_objects(OBJECTS), side)
    assert image.shape[:2] == size
    np.testing.assert_allclose(shapes.points(0), np.array([[20, 20], [120, 80]]) * side / 160)


def test_shorten_keeps_one_line() -> None:
    assert shorten("a\n  b", 10) == "a b"
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcdefghi…"
