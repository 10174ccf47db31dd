"""A format from outside: registered by name, it goes through the codec without knowing the grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from dcap.answers.codec import parse, to_answer, write
from dcap.answers.formats import ANSWER_FORMATS, AnswerFormat, AnswerObject, PartKind, TextPart
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import Notes
from dcap.core.errors import AnswerError, ConfigError, PluginError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import GeometryKind, ShapeArray


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


class OneText(BoxLines):
    """Written before parts of answers had kinds."""

    def write(self, objects: Sequence[AnswerObject]) -> Any:
        return "".join(text for text, _ in super().write(objects))


def test_a_format_that_writes_one_text_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWER_FORMATS._items, "one_text", OneText())
    with pytest.raises(PluginError, match="answer format 'one_text' must write pairs of a text and its PartKind"):
        write(SHAPES, ["cup", "cat"], CANVAS, AnswerProfile(format="one_text"))


def test_names() -> None:
    assert {"object_map", "qwen"} <= set(ANSWER_FORMATS)
    written: AnswerFormat = ANSWER_FORMATS.get("qwen")
    assert [text for text, _ in written.write([])] == ["[]"]
    with pytest.raises(ConfigError, match="must be registered once"):
        ANSWER_FORMATS.register("qwen", BoxLines())
