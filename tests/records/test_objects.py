"""Shape rules of the record contract, and the array path against the one-object reader of the geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray, read_shape, rings_without_area
from dcap.records.json_line import Problem
from dcap.records.objects import ObjectList, read_objects

CANVAS = Canvas(height=48, width=64)


def read(*objects: Any) -> ObjectList:
    problems: list[Problem] = []
    result = read_objects(list(objects), CANVAS, problems)
    assert problems == []
    assert result is not None
    return result


def errors_of(*objects: Any) -> list[str]:
    problems: list[Problem] = []
    assert read_objects(list(objects), CANVAS, problems) is None
    return [str(problem) for problem in problems]


FAR = "must have coordinates within 1e+09 pixels of the image"
ORDER = "objects[1].bbox_2d must have x1 < x2 and y1 < y2, not"
WAY_OUT = "Write the smaller number first. [x, y, width, height] is [x, y, x + width, y + height] here."
FLAT = "must enclose an area, not"
WHY = "its points are on one line, or its edges cancel out. Give a line under the key line."
OUTSIDE = "must have some area or length inside the image (64 x 48)"
COUNT = "must be the number of points as given,"
GOOD = {"desc": "cup", "bbox_2d": [1, 2, 30, 40]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"desc": ...}, "objects[1].desc must be given"),
        ({"desc": None}, "objects[1].desc must be a string, not null"),
        ({"desc": ""}, 'objects[1].desc must not be empty, not ""'),
        ({"desc": " \t\u3000"}, 'objects[1].desc must not be empty, not " \\t\u3000"'),
        ({"desc": 5}, "objects[1].desc must be a string, not 5"),
        ({"desc": "a\0b"}, "objects[1].desc must not hold the NUL character"),
        ({"bbox_2d": ...}, "objects[1] must have exactly one of bbox_2d, poly, line, not none"),
        ({"line": [0, 0, 1, 1]}, "objects[1] must have exactly one of bbox_2d, poly, line, not bbox_2d and line"),
        ({"bbox_2d": [1, 2, 3]}, "objects[1].bbox_2d must have 4 numbers, not 3"),
        ({"bbox_2d": [1, 2, 3, 4, 5, 6]}, "objects[1].bbox_2d must have 4 numbers, not 6"),
        ({"bbox_2d": [30, 2, 1, 40]}, f"{ORDER} [30, 2, 1, 40]: x1 and x2 are swapped. {WAY_OUT}"),
        ({"bbox_2d": [1, 2, 1, 40]}, f"{ORDER} [1, 2, 1, 40]: it has no width"),
        ({"bbox_2d": [1, 2, 1, 2]}, f"{ORDER} [1, 2, 1, 2]: it has no width and no height"),
        ({"bbox_2d": "1 2 3 4"}, "objects[1].bbox_2d must be a list of numbers, not \"1 2 3 4\""),
        ({"bbox_2d": None}, "objects[1].bbox_2d must be a list of numbers, not null"),
        ({"bbox_2d": [1, "2", 3, 4]}, 'objects[1].bbox_2d[1] must be a number, not "2"'),
        ({"bbox_2d": [1, 2, True, 4]}, "objects[1].bbox_2d[2] must be a number, not true"),
        ({"bbox_2d": [1, 2, 3, None]}, "objects[1].bbox_2d[3] must be a number, not null"),
        ({"bbox_2d": [[1, 2], [3, 4]]},
         "objects[1].bbox_2d must be the flat list [x1, y1, x2, y2], not nested points such as [1, 2]"),
        ({"bbox_2d": ..., "poly": [[1, 2], [3, 4], [5, 9]]},
         "objects[1].poly must be the flat list [x1, y1, x2, y2, ...], not nested points such as [1, 2]"),
        ({"bbox_2d": ..., "line": [{"x": 1, "y": 2}]},
         'objects[1].line must be the flat list [x1, y1, x2, y2, ...], not nested points such as {"x": 1, "y": 2}'),
        ({"bbox_2d": ..., "poly": []}, "objects[1].poly must have an even count of at least 6 numbers, not 0"),
        ({"bbox_2d": ..., "bbox": [1, 2, 3, 4]},
         "objects[1] must have exactly one of bbox_2d, poly, line, not none; "
         '"bbox" is given: did you mean bbox_2d, which is [x1, y1, x2, y2]?'),
        ({"desc": ..., "label": "cup"}, 'objects[1].desc must be given; "label" is given: did you mean desc?'),
        ({"desc": None, "label": "cup"}, "objects[1].desc must be a string, not null"),
        ({"bbox_2d": [1, 2, float("inf"), 4]}, f"objects[1].bbox_2d {FAR}"),
        ({"bbox_2d": [1, 2, float("nan"), 4]}, f"objects[1].bbox_2d {FAR}"),
        ({"bbox_2d": [1, 2, 10**400, 4]}, f"objects[1].bbox_2d {FAR}"),
        ({"bbox_2d": [1, 2, 2e9, 4]}, f"objects[1].bbox_2d {FAR}"),
        ({"bbox_2d": [70, 2, 90, 4]}, f"objects[1].bbox_2d {OUTSIDE}"),
        ({"bbox_2d": [64, 2, 90, 4]}, f"objects[1].bbox_2d {OUTSIDE}"),
        ({"line_points": 2}, "objects[1].line_points must be given with line, not alone"),
    ],
)  # fmt: skip
def test_a_wrong_box_or_text_is_named_with_its_index(changes: dict[str, Any], message: str) -> None:
    bad = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    assert errors_of(GOOD, bad) == [message]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"poly": [1, 2, 3, 4, 5]}, "poly must have an even count of at least 6 numbers, not 5"),
        ({"poly": [1, 2, 3, 4]}, "poly must have an even count of at least 6 numbers, not 4"),
        ({"poly": []}, "poly must have an even count of at least 6 numbers, not 0"),
        ({"poly": [1, 1, 5, 5, 1, 1]}, "poly must have at least 3 distinct points, not 2"),
        ({"poly": [1, 1, 1, 1, 1, 1]}, "poly must have at least 3 distinct points, not 1"),
        ({"poly": [1, 2, 3, 4, 5, False]}, "poly[5] must be a number, not false"),
        ({"poly": [1, 1, 5, 5, 9, 9]}, f"poly {FLAT} [1, 1, 5, 5, 9, 9]: {WHY}"),
        ({"poly": [0, 0, 9, 0, 9, 9, 9, 0]}, f"poly {FLAT} [0, 0, 9, 0, 9, 9, 9, 0]: {WHY}"),
        ({"poly": [90, 2, 95, 2, 95, 9]}, f"poly {OUTSIDE}"),
        ({"poly": [1, 1, 9, 1, 9, 9], "poly_points": 4}, f"poly_points {COUNT} 3, not 4"),
        ({"poly": [1, 1, 9, 1, 9, 9], "poly_points": 3.0}, f"poly_points {COUNT} 3, not 3.0"),
        ({"poly": [1, 1, 9, 1, 9, 9], "poly_points": True}, f"poly_points {COUNT} 3, not true"),
        ({"line": [1, 2, 3]}, "line must have an even count of at least 4 numbers, not 3"),
        ({"line": [1, 2]}, "line must have an even count of at least 4 numbers, not 2"),
        ({"line": [1, 2, 1, 2]}, "line must have at least 2 distinct points, not 1"),
        ({"line": [1, 2, 9, 2], "line_points": 3}, f"line_points {COUNT} 2, not 3"),
        ({"line": [1, 2, 9, 2], "line_points": "2"}, f'line_points {COUNT} 2, not "2"'),
        ({"line": [-9, -9, -1, 60]}, f"line {OUTSIDE}"),
    ],
)  # fmt: skip
def test_a_wrong_polygon_or_line_is_named(shape: dict[str, Any], message: str) -> None:
    assert errors_of({"desc": "a", **shape}) == [f"objects[0].{message}"]


@pytest.mark.parametrize("value", [5, "cup", None, [1], True])
def test_an_object_must_be_an_object(value: Any) -> None:
    (message,) = errors_of(value)
    assert message.startswith("objects[0] must be an object, not ")


def test_points_are_counted_as_given_and_then_cleaned() -> None:
    square = [0, 0, 8, 0, 8, 0, 8, 8, 0, 8, 0, 0]
    result = read(
        {"desc": "a", "poly": square, "poly_points": 6},
        {"desc": "b", "line": [1, 1, 1, 1, 5, 5, 1, 1], "line_points": 4},
    )
    assert result.shapes.points(0).tolist() == [[0, 0], [8, 0], [8, 8], [0, 8]]
    assert result.shapes.points(1).tolist() == [[1, 1], [5, 5], [1, 1]]


def test_a_shape_that_begins_where_the_one_before_ends_keeps_its_point() -> None:
    result = read(
        {"desc": "a", "line": [1, 1, 5, 5]},
        {"desc": "b", "line": [5, 5, 9, 9, 9, 9]},
        {"desc": "c", "bbox_2d": [9, 9, 10, 10]},
    )
    assert [points.tolist() for _, points in result.shapes] == [[[1, 1], [5, 5]], [[5, 5], [9, 9]], [[9, 9], [10, 10]]]


def test_both_ends_of_the_image_are_inside() -> None:
    result = read({"desc": "a", "bbox_2d": [0, 0, 64, 48]})
    assert result.shapes.xy.tolist() == [[0, 0], [64, 48]]
    assert result.clipped == ()


def test_what_is_partly_outside_is_cut_exactly_and_counted() -> None:
    result = read(
        {"desc": "box", "bbox_2d": [-10, 2, 30, 60]},
        {"desc": "inside", "bbox_2d": [1, 1, 2, 2]},
        {"desc": "line", "line": [-10, 10, 10, 10, 10, 20]},
        {"desc": "triangle", "poly": [54, 0, 74, 0, 54, 20]},
    )
    assert result.clipped == (0, 2, 3)
    assert result.captions == ("box", "inside", "line", "triangle")
    assert result.shapes.points(0).tolist() == [[0, 2], [30, 48]]
    assert result.shapes.points(1).tolist() == [[1, 1], [2, 2]]
    assert result.shapes.points(2).tolist() == [[0, 10], [10, 10], [10, 20]]
    assert {tuple(p) for p in result.shapes.points(3).tolist()} == {(54, 0), (64, 0), (64, 10), (54, 20)}


def test_of_what_the_border_splits_the_largest_part_stays() -> None:
    u = {"desc": "u", "poly": [10, -5, 20, -5, 20, 10, 30, 10, 30, -5, 50, -5, 50, -2, 40, -2, 40, 20, 10, 20]}
    comb = {"desc": "comb", "poly": [4, -4, 12, -4, 12, 5, 8, 5, 8, -2, 6, -2, 6, 3, 4, 3]}
    zigzag = {"desc": "zigzag", "line": [5, 5, 5, -5, 10, -5, 10, 30]}
    result = read(u, comb, zigzag)
    assert len(result.shapes) == 3
    assert result.shapes.points(1)[:, 0].min() == 8
    assert result.shapes.points(2).tolist() == [[10, 0], [10, 30]]


def test_a_flat_shape_that_leaves_the_image_is_an_error() -> None:
    assert errors_of({"desc": "a", "poly": [-5, 1, 5, 1, 9, 1]})[0].startswith(f"objects[0].poly {FLAT}")
    assert errors_of({"desc": "a", "line": [-5, 0, -5, 9]}) == [f"objects[0].line {OUTSIDE}"]


def test_a_scribble_that_cannot_be_clipped_is_named() -> None:
    scribble = np.random.default_rng(0).uniform(-100, 200, 12_000).tolist()
    good = {"desc": "a", "bbox_2d": [-5, 0, 5, 5]}
    assert errors_of(good, {"desc": "b", "poly": scribble}) == [
        "objects[1].poly must not cross itself millions of times. Simplify or drop it."
    ]


def test_nothing_is_checked_against_a_canvas_that_is_wrong_itself() -> None:
    problems: list[Problem] = []
    assert read_objects([{"desc": "a", "bbox_2d": [900, 900, 901, 901]}], None, problems) is not None
    assert problems == []


coordinate = st.one_of(st.integers(-5, 70), st.sampled_from([0, 0.0, 3, 3.5, 64, 48]))
number = st.one_of(coordinate, st.sampled_from([True, None, "1", [1], 10**400, float("nan")]))
lists = st.one_of(st.lists(coordinate, max_size=12), st.lists(number, max_size=8), number)


@given(st.lists(st.tuples(st.sampled_from(["bbox_2d", "poly", "line"]), lists), min_size=1, max_size=5))
def test_the_array_path_agrees_with_the_one_object_reader(items: list[tuple[str, Any]]) -> None:
    objects = [{"desc": "a", key: value} for key, value in items]
    problems: list[Problem] = []
    result = read_objects(objects, None, problems)
    expected, bad = [], []
    for i, obj in enumerate(objects):
        try:
            kind, xy = read_shape(obj)
        except GeometryError:
            bad.append(i)
            continue
        if rings_without_area(xy, np.array([0, len(xy)]), np.array([kind], np.uint8)).any():
            bad.append(i)  # a shape, but none that a record may hold
        expected.append((kind, xy))
    assert {problem.field.split(".")[0] for problem in problems} == {f"objects[{i}]" for i in bad}
    assert (result is None) == bool(bad)
    if result is not None:
        kinds, points = [kind for kind, _ in expected], [xy for _, xy in expected]
        assert result.shapes == ShapeArray.from_points(points, kinds)
        assert result.shapes.xy.flags.c_contiguous
        assert result.shapes.xy.dtype == np.float64


def test_the_other_parts_of_what_the_border_splits_are_kept_aside() -> None:
    there_and_back = {"desc": "road", "line": [10, 10, 10, -5, 30, -5, 30, 40, 50, 40, 50, -9, 60, -9, 60, 3]}
    result = read({"desc": "box", "bbox_2d": [1, 1, 2, 2]}, there_and_back, {"desc": "cut", "line": [4, 5, -9, 5]})
    assert result.clipped == (1, 2)
    assert result.shapes.points(1).tolist() == [[30, 0], [30, 40], [50, 40], [50, 0]]
    ((index, parts),) = result.other_parts
    assert index == 1
    assert [points.tolist() for _, points in parts] == [[[10, 10], [10, 0]], [[60, 0], [60, 3]]]
