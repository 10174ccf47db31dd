"""The layouts to the letter, each read by all others; and a format from outside, which knows nothing of the grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from dcap.answers.codec import Parsed, parse, to_answer, write
from dcap.answers.formats import ANSWER_FORMATS, OWN_FORMATS, AnswerObject, PartKind, TextPart
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import Notes
from dcap.core.errors import AnswerError, ConfigError, PluginError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import GeometryKind, ShapeArray

BOX = {"bbox_2d": [417, 494, 491, 702]}
POLYGON = {"poly": [10, 600, 30, 600, 20, 800]}
LINE = {"line": [0, 32, 125, 102]}
LAYOUTS = {
    "object_map": (
        '{"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}, '
        '"object_2": {"poly_points": 3, "poly": [[10, 600], [30, 600], [20, 800]], "desc": "ro\\"of"}, '
        '"object_3": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "l"}}'
    ),
    "desc_first": (
        '{"object_1": {"desc": "cup", "bbox_2d": [417, 494, 491, 702]}, '
        '"object_2": {"desc": "ro\\"of", "poly": [[10, 600], [30, 600], [20, 800]]}, '
        '"object_3": {"desc": "l", "line_points": 2, "line": [[0, 32], [125, 102]]}}'
    ),
    "qwen": (
        '[{"bbox_2d": [417, 494, 491, 702], "label": "cup"}, '
        '{"poly_points": 3, "poly": [[10, 600], [30, 600], [20, 800]], "label": "ro\\"of"}, '
        '{"line_points": 2, "line": [[0, 32], [125, 102]], "label": "l"}]'
    ),
    "qwen_compact": (
        '[{"bbox_2d":[417,494,491,702],"label":"cup"},'
        '{"poly_points":3,"poly":[[10,600],[30,600],[20,800]],"label":"ro\\"of"},'
        '{"line_points":2,"line":[[0,32],[125,102]],"label":"l"}]'
    ),
    "rows": '[[417,494,491,702,"cup"],[10,600,30,600,20,800,"ro\\"of"],["l",0,32,125,102,"l"]]',
}
EMPTY = {"object_map": "{}", "desc_first": "{}", "qwen": "[]", "qwen_compact": "[]", "rows": "[]"}
SQUARE = Canvas(height=1000, width=1000)


def test_every_layout_is_shown_here() -> None:
    assert set(LAYOUTS) == set(EMPTY) == set(OWN_FORMATS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_text_of_a_layout(name: str) -> None:
    profile = AnswerProfile(format=name, object_order="record")
    shapes = ShapeArray.from_objects([BOX, POLYGON, LINE])
    assert write(shapes, ["cup", 'ro"of', "l"], SQUARE, profile) == LAYOUTS[name]
    assert parse(LAYOUTS[name], profile) == Parsed(shapes, ("cup", 'ro"of', "l"), ())
    assert write(ShapeArray.empty(), [], SQUARE, profile) == EMPTY[name]
    assert parse(EMPTY[name], profile) == Parsed(ShapeArray.empty(), (), ())


@pytest.mark.parametrize("other", LAYOUTS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_read_by_all_others(name: str, other: str) -> None:
    profile = AnswerProfile(format=name)
    read = parse(LAYOUTS[other], profile, strict=False)
    assert (read.shapes, read.captions) == (ShapeArray.from_objects([BOX, POLYGON, LINE]), ("cup", 'ro"of', "l"))
    same = name == other or {name, other} == {"qwen", "qwen_compact"}  # which differ in blanks only
    assert (read.problems == ()) == same
    if not same:
        with pytest.raises(AnswerError):
            parse(LAYOUTS[other], profile)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ('{"object_1": [1,2,3,4,"a"]}', 0, "answer must be a list of rows"),
        ("[5]", 0, "item 1 must be a row, a list of numbers and a text"),
        ('[[1,2,3,4,"a"],[1,2,3,4]]', 0, "item 2 must be a row"),
        ('[["l",1,2,3,4,"a"],[]]', 0, "item 2 must be a row"),
        ('[{"bbox_2d": [1,2,3,4], "desc": "a"}]', 0, "item 1 must be a row"),
        ('[1,2,3,4,"a"]', 0, "item 1 must be a row"),
        ('[["a"]]', 1, "box must have 4 numbers"),
        ('[["l","a"]]', 1, "line must have at least 2 distinct points"),
        ('[[1,2,"a"]]', 1, "box must have 4 numbers"),
        ('[["l",1,2,"a"]]', 1, "line must have at least 2 distinct points"),
        ('[[1,2,3,4,5,"a"]]', 1, "row must have an even count of numbers, not 5"),
        ('[[1,2,1,2,3,4,"a"]]', 1, "polygon must not repeat a point"),
        ('[[1,2,"x",4,"a"]]', 1, 'row must hold numbers, not "x"'),
        ('[[[1,2],[3,4],"a"]]', 1, "row must be a flat list"),
        ('[["p",1,2,3,4,5,9,"a"]]', 1, 'first item of a row must be a number or "l", not "p"'),
        ('[[1,2,3,1001,"a"]]', 1, "box must have numbers within 0..1000"),
        ('[[3,2,1,4,"a"]]', 1, "box must have x1 < x2 and y1 < y2, not swapped corners"),
        ('[[1,2,3,4,"a"],[1,2', 19, "answer must not end inside an object or list"),
    ],
)
def test_other_rows_are_an_error_with_their_place(text: str, position: int, message: str) -> None:
    profile = AnswerProfile(format="rows")
    with pytest.raises(AnswerError) as caught:
        parse(text, profile)
    assert str(caught.value).startswith(f"answer at character {position}: {message}")
    assert parse(text, profile, strict=False).problems != ()


@pytest.mark.parametrize(
    "text",
    [
        'Here: [[1,2,3,4,"a"]]',
        '[[1,2,3,4,"a"],[5,6,7',
        '[[9,9,"b"],[1,2,3,4,"a"]]',
        '[[9,9}"b"],[1,2,3,4,"a"]]',
        '[["x",9,9,10,10,"b"],[1,2,3,4,"a"]]',
        '[[[1,2],[3,4],"a"]]',
        '[1,2,3,4,"a"]',
        '[[1,2,3,4,"a"],{"bbox_2d": [5,6,7,8], "la',
        '[[1.2,2,3,4,"a"]]',
    ],
)
def test_whole_rows_of_a_damaged_answer_are_found(text: str) -> None:
    read = parse(text, AnswerProfile(format="rows"), strict=False)
    assert (read.captions, read.shapes) == (("a",), ShapeArray.from_objects([{"bbox_2d": [1, 2, 3, 4]}]))
    assert read.problems != ()


def test_a_list_inside_an_object_is_no_row() -> None:
    text = '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "a", "seen": [5, 6, 7, 8, "b"]}}'
    assert parse(text, AnswerProfile(), strict=False).captions == ("a",)


def test_a_count_where_desc_first_writes_none_is_an_error() -> None:
    text = '{"object_1": {"desc": "a", "poly_points": 3, "poly": [[1, 2], [3, 4], [5, 1]]}}'
    with pytest.raises(AnswerError, match="character 27: key 'poly_points' must not be in an object with poly"):
        parse(text, AnswerProfile(format="desc_first"))


class BoxLines:
    """One box and its text per line."""

    def write(self, objects: Sequence[AnswerObject]) -> Iterator[TextPart]:
        for i, obj in enumerate(objects):
            yield "\n" if i else "", PartKind.STRUCTURE
            yield f"{obj.points[0]} {obj.points[1]}", PartKind.NUMBERS
            yield " ", PartKind.STRUCTURE
            yield obj.caption, PartKind.CAPTION

    def parse_objects(self, text: str, notes: Notes) -> list[AnswerObject]:
        found, position = [], 0
        for line in text.splitlines(keepends=True):
            match = re.fullmatch(r"\[(\d+), (\d+)\] \[(\d+), (\d+)\] (.*)\n?", line)
            if match:
                x1, y1, x2, y2 = map(int, match.groups()[:4])
                found.append(AnswerObject(GeometryKind.BOX, [[x1, y1], [x2, y2]], match[5], position))
            else:
                notes.add(position, "line must be a box and a text")
            position += len(line)
        return found


@pytest.fixture
def box_lines() -> Iterator[str]:
    ANSWER_FORMATS.register("box_lines", BoxLines())
    yield "box_lines"
    del ANSWER_FORMATS._items["box_lines"]


SHAPES = ShapeArray.from_objects([{"bbox_2d": [10, 10, 20, 20]}, {"bbox_2d": [1, 1, 5, 5]}])
CANVAS = Canvas(height=100, width=100)


def test_a_format_from_outside(box_lines: str) -> None:
    profile = AnswerProfile(format=box_lines)
    text = write(SHAPES, ["cup", "cat"], CANVAS, profile)
    assert text == "[10, 10] [50, 50] cat\n[100, 100] [200, 200] cup"
    read = parse(text, profile)
    assert (read.shapes, read.captions) == (to_answer(SHAPES, ["cup", "cat"], CANVAS, profile).shapes, ("cat", "cup"))


def test_its_notes_and_the_grid_s_rules_hold_too(box_lines: str) -> None:
    profile = AnswerProfile(format=box_lines)
    text = "[1, 1] [5, 5] cat\nhello\n[9, 9] [9, 9] flat"
    read = parse(text, profile, strict=False)
    assert read.captions == ("cat",)
    assert read.problems == (
        "character 18: line must be a box and a text",
        "character 24: box must have x1 < x2 and y1 < y2, not an empty side",
    )
    with pytest.raises(AnswerError, match="answer at character 18: line must be"):
        parse(text, profile)


def test_a_prefix_is_before_the_text_of_any_format(box_lines: str) -> None:
    profile = AnswerProfile(format=box_lines, prefix="{num_boxes} boxes: ")
    text = write(SHAPES, ["cup", "cat"], CANVAS, profile)
    assert text == "2 boxes: [10, 10] [50, 50] cat\n[100, 100] [200, 200] cup"
    assert parse(text, profile).captions == ("cat", "cup")
    with pytest.raises(AnswerError, match="answer at character 9: line must be a box and a text"):
        parse("2 boxes:  [1, 1] [5, 5] cat", profile)


class OneText(BoxLines):
    """Written before parts of answers had kinds."""

    def write(self, objects: Sequence[AnswerObject]) -> Any:
        return "".join(text for text, _ in super().write(objects))


def test_a_format_that_writes_one_text_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWER_FORMATS._items, "one_text", OneText())
    with pytest.raises(PluginError, match="answer format 'one_text' must write pairs of a text and its PartKind"):
        write(SHAPES, ["cup", "cat"], CANVAS, AnswerProfile(format="one_text"))


def test_a_name_is_given_once() -> None:
    with pytest.raises(ConfigError, match="must be registered once"):
        ANSWER_FORMATS.register("qwen", BoxLines())


def test_no_object_is_made_of_what_is_inside_a_shape() -> None:
    text = '{"object_1": {"poly_points": 3, "poly": [[1, 2, 3, 4, "x"], [5, 6], [7, 9]], "desc": "b"}}'
    notes = Notes(strict=False)
    assert ANSWER_FORMATS.get("object_map").parse_objects(text, notes) == []
    assert notes.problems


def test_a_lost_row_is_named_after_another_problem_too() -> None:
    notes = Notes(strict=False)
    found = ANSWER_FORMATS.get("rows").parse_objects('Sure: [[1,2,3,4,"a"],[5,6,7,8]]', notes)
    assert [obj.caption for obj in found] == ["a"]
    assert [problem.partition(": ")[2] for problem in notes.problems] == [
        "answer must be nothing but JSON, found 'Sure:'",
        "item 2 must be a row, a list of numbers and a text",
    ]
