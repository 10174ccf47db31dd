"""The objects of an answer, in pixels of the image file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dcap.answers.codec import write
from dcap.answers.profile import AnswerProfile
from dcap.data.found_objects import find_objects
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray

FILE, SEEN = Canvas(height=300, width=640), Canvas(height=288, width=608)
PROFILE = AnswerProfile()
OBJECTS = [
    {"bbox_2d": [10.0, 20.0, 608.0, 288.0]},
    {"poly": [100.0, 50.0, 200.0, 60.0, 150.0, 200.0]},
    {"line": [0.0, 30.0, 304.0, 144.0]},
]


def test_written_objects_come_back_in_file_pixels() -> None:
    shapes = ShapeArray.from_objects(OBJECTS)
    text = write(shapes, ["cup", "roof", "road"], SEEN, PROFILE)
    found = find_objects(text, PROFILE, SEEN, FILE, reasoning=False)
    assert found.captions == ("cup", "road", "roof"), "in reading order"
    assert found.problems == ()
    wanted = shapes.take(np.array([0, 2, 1])).xy * [640 / 608, 300 / 288]
    # Half a step of the grid of 1000.
    assert (abs(found.shapes.xy - wanted) <= [0.321, 0.151]).all()
    assert found.shapes.xy.max(axis=0).tolist() == [640.0, 300.0]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 1999), (4000, 3)])
def test_smallest_shape_of_the_grid_stays_a_shape_in_the_file(height: int, width: int) -> None:
    corners = ([999, 999, 1000, 1000], [0, 0, 1, 1])
    boxes = {f"object_{k}": {"bbox_2d": box, "desc": "dot"} for k, box in enumerate(corners, 1)}
    found = find_objects(json.dumps(boxes), PROFILE, Canvas(320, 320), Canvas(height, width), reasoning=False)
    assert ShapeArray.from_objects(found.shapes.to_objects()) == found.shapes
    assert found.shapes.xy.max(axis=0).tolist() == [width, height]
    assert len(found.shapes) == 2


def test_torn_answer_gives_what_is_whole() -> None:
    text = write(ShapeArray.from_objects(OBJECTS), ["cup", "roof", "road"], SEEN, PROFILE)
    found = find_objects(text[:-30], PROFILE, SEEN, FILE, reasoning=False)
    assert found.captions == ("cup", "road")
    assert len(found.problems) == 1


def test_polygon_without_area_is_left_out() -> None:
    text = '{"object_1": {"poly_points": 3, "poly": [[0, 0], [5, 5], [9, 9]], "desc": "roof"}}'
    found = find_objects(text, PROFILE, SEEN, FILE, reasoning=False)
    assert (len(found.shapes), found.captions) == (0, ())
    assert found.problems == ("object 1 must enclose an area, and is left out",)


def test_objects_in_reasoning_do_not_count() -> None:
    text = '{"object_1": {"bbox_2d": [0, 0, 9, 9], "desc": "draft"}}\n</think>\n\n{}'
    assert find_objects(text, PROFILE, SEEN, FILE, reasoning=True).captions == ()
