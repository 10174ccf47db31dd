"""Reasoning in front of an answer: boxes drafted in it are no predictions, and no caption is taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse, write
from dcap.answers.profile import AnswerProfile
from dcap.answers.reasoning import answer_start
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray

DRAFT = '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "draft"}}'
ANSWER = '{"object_1": {"bbox_2d": [10, 20, 30, 40], "desc": "cup"}}'
PROFILE = AnswerProfile()


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        (f"<think>\nPerhaps {DRAFT}?\n</think>\n\n{ANSWER}", False),
        (f"<think>{DRAFT}</think>{ANSWER}", False),
        (f" \n<think>\n\n</think>\n\n{ANSWER}", False),
        (f"Perhaps {DRAFT}?\n</think>\n\n{ANSWER}", False),
        (f"Perhaps {DRAFT}?</think>\n{ANSWER}", False),
        (f"one\n</think>\n{DRAFT}\n</think>\n{ANSWER}", False),
        (f"\n</think>\n\n{ANSWER}", True),
        (f"Perhaps {DRAFT}?</think>{ANSWER}", True),
        (ANSWER, False),
    ],
)
def test_only_what_follows_the_reasoning_counts(text: str, opened: bool) -> None:
    parsed = parse(text, PROFILE, strict=False, reasoning=opened)
    assert (parsed.captions, parsed.problems) == (("cup",), ())


@pytest.mark.parametrize(("text", "opened"), [(f"<think>\n{DRAFT}", False), (f"Perhaps {DRAFT}", True), ("", True)])
def test_reasoning_that_does_not_end_has_no_answer(text: str, opened: bool) -> None:
    parsed = parse(text, PROFILE, strict=False, reasoning=opened)
    assert len(parsed.shapes) == 0
    assert parsed.problems == ("character 0: reasoning must end with </think> before the answer",)


def test_places_of_problems_are_those_of_the_whole_text() -> None:
    text = f"<think>\n{DRAFT}</think>\n{ANSWER[:-1]}"
    assert parse(text, PROFILE, strict=False).problems[0].startswith(f"character {len(text)}: ")


CAPTIONS = st.lists(st.sampled_from(["</think>", "<think>", "\n", " ", "a", '"', "\\", "{", "["]), min_size=1).map(
    "".join
)


@settings(max_examples=200)
@given(CAPTIONS)
def test_a_caption_is_never_taken_for_reasoning(caption: str) -> None:
    shapes = ShapeArray.from_points([np.array([[1.0, 2.0], [30.0, 40.0]])], [0])
    text = write(shapes, [caption], Canvas(64, 64), PROFILE)
    assert answer_start(text) == 0
    assert parse(text, PROFILE, strict=False).captions == (caption,)
