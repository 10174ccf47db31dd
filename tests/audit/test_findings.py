"""Kinds of findings: what differs in numbers, values and paths only is one kind."""

from __future__ import annotations

import time
import timeit

import pytest

from dcap.audit.findings import Finding, Findings


def kind(field: str, text: str) -> str:
    return Finding("a.jsonl", 7, field, text).kind


@pytest.mark.parametrize(
    ("field", "text", "found"),
    [
        ("objects[3].poly", "must have an even count of at least 6 numbers, not 3",
         "objects[#].poly must have an even count of at least # numbers, not #"),
        ("objects[0].bbox_2d", "must have x1 < x2", "objects[#].bbox_2d must have x1 < x2"),
        ("images[0]", "/a b/gone 1.png must be a readable file, not missing",
         "images[#] … must be a readable file, not missing"),
        ("images[0]", "gone 1.png must be a readable file, not missing",
         "images[#] … must be a readable file, not missing"),
        ("images[0]", "must be a path, not 3", "images[#] must be a path, not #"),
        ("images[0]", "has the bytes of the image of b/x.jsonl:7", "images[#] has the bytes of the image of …"),
        ("width, height", "must be the size of /a b/x.png as displayed, 3 x 4, not 4 x 3. Correct",
         "width, height must be the size of … as displayed, # x #, not # x #. Correct"),
        ("objects[1].desc", 'must be a string, not {"a": "x, not y"}', "objects[#].desc must be a string, not …"),
        ("width", "must be a whole number of pixels >= 1, not -6.5e3",
         "width must be a whole number of pixels >= #, not #"),
    ],
)  # fmt: skip
def test_kinds(field: str, text: str, found: str) -> None:
    assert kind(field, text) == found


def test_the_time_of_a_kind_grows_with_the_text_and_not_with_its_square() -> None:
    def seconds(length: int) -> float:
        # Of this process alone, so that what else the machine does is not counted.
        return min(timeit.repeat(lambda: kind("objects[0]", "x" * length), time.process_time, number=20, repeat=5))

    assert seconds(8000) < 30 * seconds(1000)  # 64 times as long where it is the square


def test_all_are_counted_and_the_first_of_a_kind_kept() -> None:
    first, later = Findings(keep=2), Findings(keep=2)
    for line in (5, 1):
        first.add(Finding("a", line, "x", "is 5"))
    for line in (7, 6, 8):
        later.add(Finding("b", line, "x", f"is {line}"))
    later.add(Finding("a", 9, "y", "is 5"))
    first.update(later)
    assert first.kinds == {"x is #": 5, "y is #": 1}
    assert len(first) == 6
    assert [(f.file, f.line) for f in first.in_order(["b", "a"])] == [("a", 1), ("a", 5), ("a", 9)]
