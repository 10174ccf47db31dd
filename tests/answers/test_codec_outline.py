"""Counting an answer by its outline against tokenising its text: the same for any shapes, captions and layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.answers.codec import Answer, Outline, to_answer, write_answer
from dcap.answers.formats import ANSWER_FORMATS, JsonFormat
from dcap.answers.profile import AnswerProfile
from dcap.data.encode import Encoder, load_tokenizer
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import GeometryKind, ShapeArray
from support.answer_cases import CAPTIONS, profiles, scenes, shapes_of


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


@given(scene=scenes(), beside=st.lists(CAPTIONS, min_size=5, max_size=5), profile=profiles)
def test_a_count_is_the_number_of_tokens(
    encoder: Encoder, scene: tuple[ShapeArray, list[str], Canvas], beside: list[str], profile: AnswerProfile
) -> None:
    shapes, captions, canvas = scene
    answer = to_answer(shapes, [a + b + a for a, b in zip(beside, captions, strict=False)], canvas, profile)
    brief = Outline.of(answer, profile)
    assert brief is not None
    assert encoder.num_answer_tokens(brief) == len(encoder.answer_ids(write_answer(answer, profile)))


@given(st.lists(st.integers(0, 2**31 - 1) | st.sampled_from([0, 9, 10, 99, 100, 999, 1000]), min_size=6, max_size=6))
def test_every_digit_counts(encoder: Encoder, numbers: list[int]) -> None:
    shapes = ShapeArray.from_points([np.array(numbers, np.float64).reshape(3, 2)], [GeometryKind.LINE])
    answer = Answer(shapes, ("7 of 9",), np.zeros(1, np.int64), np.ones(1))
    for name in ANSWER_FORMATS:
        profile = AnswerProfile(format=name)
        brief = Outline.of(answer, profile)
        assert brief is not None
        assert brief.digits == len("".join(map(str, numbers))) - 1
        assert encoder.num_answer_tokens(brief) == len(encoder.answer_ids(write_answer(answer, profile)))


def test_an_outline_has_one_digit_per_object() -> None:
    profile = AnswerProfile(emit_norm="none")
    shapes = shapes_of({"bbox_2d": [10, 20, 300, 40]}, {"poly": [0, 30, 50, 30, 50, 100]})
    brief = Outline.of(to_answer(shapes, ["a", 'b"'], Canvas(100, 1000), profile), profile)
    assert brief is not None
    assert brief.text == (
        '{"object_1": {"bbox_2d": [0], "desc": "a"}, "object_2": {"poly_points": 3, "poly": [[0]], "desc": "b\\""}}'
    )
    assert (brief.between, brief.digits) == ({", ": 6, "], [": 2}, 9 + 12 - 2)


class Spaced(JsonFormat):
    """A layout of a plugin, which writes numbers in its own way."""


@pytest.fixture
def spaced() -> Iterator[str]:
    ANSWER_FORMATS.register("spaced", Spaced("label", numbered=False))
    yield "spaced"
    del ANSWER_FORMATS._items["spaced"]


def test_a_format_of_a_plugin_is_written_and_counted(spaced: str) -> None:
    answer = to_answer(shapes_of({"bbox_2d": [10, 20, 300, 40]}), ["a"], Canvas(100, 1000), AnswerProfile())
    assert Outline.of(answer, AnswerProfile(format="qwen")) is not None
    assert Outline.of(answer, AnswerProfile(format=spaced)) is None
