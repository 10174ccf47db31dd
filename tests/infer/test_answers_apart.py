"""How far the answers of two models are apart: objects, coordinates and F1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.codec import parse
from dcap.answers.profile import AnswerProfile
from dcap.data.config import DataConfig, resolve_profile
from dcap.data.encode import Encoder
from dcap.infer.answers_apart import AnswersApart, ReadAnswers, are_equal, coordinate_shifts
from dcap.infer.asked_record import ask_record, first_records
from dcap.infer.engine import Reply
from dcap.infer.predictor import Predictor
from dcap.infer.scripted_engine import ScriptedEngine


def answer(*objects: tuple[str, list[int]]) -> Any:
    parts = ", ".join(
        f'"object_{k + 1}": {{"bbox_2d": {box}, "desc": "{name}"}}' for k, (name, box) in enumerate(objects)
    )
    return parse(f"{{{parts}}}", AnswerProfile(), strict=True)


def test_coordinates_of_the_same_objects_are_compared() -> None:
    one = answer(("cup", [1, 2, 30, 40]), ("dog", [5, 5, 50, 60]), ("cup", [100, 100, 130, 140]))
    two = answer(("cup", [1, 3, 30, 44]), ("cat", [5, 5, 50, 60]), ("cup", [100, 100, 130, 140]), ("sky", [0, 0, 9, 9]))
    count, moved = coordinate_shifts(one, two)
    assert (count, moved.tolist()) == (2, [0, 1, 0, 4, 0, 0, 0, 0])
    assert coordinate_shifts(one, answer())[0] == 0
    count, moved = coordinate_shifts(answer(), answer())
    assert (count, len(moved)) == (0, 0)


@pytest.mark.parametrize(
    ("one", "two", "equal"),
    [
        (Reply("a", "stop", (1, 2)), Reply("a", "stop", (1, 2)), True),
        (Reply("a", "stop", (1, 2)), Reply("a", "stop", (3,)), False),
        (Reply("a", "stop", (1, 2)), Reply("a", "length", (1, 2)), False),
        (Reply("a", "stop", (1, 2)), Reply("a", "stop"), True),
        (Reply("a", "stop"), Reply("b", "stop", (1, 2)), False),
    ],
)
def test_tokens_tell_whether_answers_are_equal_or_texts_without_them(one: Reply, two: Reply, equal: bool) -> None:
    assert are_equal(one, two) is equal


def scripted(generator: Any) -> Predictor:
    return Predictor(ScriptedEngine({}), Encoder(generator.tokenizer), resolve_profile(DataConfig()), "dense")


def test_f1_goes_from_the_first_model_to_the_second(generator: Any, photos: Path) -> None:
    predictor = scripted(generator)
    records = first_records([photos], 1)
    asked = [ask_record(predictor, record) for record in records]
    box = [30, 57, 950, 914]  # 3, 4, 95, 64 of 100 x 70 pixels
    right = Reply(f'{{"object_1": {{"bbox_2d": {box}, "desc": "cup"}}}}', "stop")
    wrong = Reply('{"object_1": {"bbox_2d": [0, 0, 9, 9], "desc": "cup"}}', "stop")
    one, two = (ReadAnswers.of(predictor, asked, [reply]) for reply in (right, wrong))
    found = AnswersApart.between(records, one, two)
    assert found.f1_change == pytest.approx(-2 / 3)  # of one prediction and two objects, 1 is right: 2 x 1 / (1 + 2)
    assert AnswersApart.between(records, two, one).f1_change == pytest.approx(2 / 3)
    assert AnswersApart.between(records, one, one).f1_change == 0.0
    assert found.largest_shift == max(abs(a - b) for a, b in zip(box, [0, 0, 9, 9], strict=True))


def test_summaries_have_no_objects_and_no_f1(generator: Any, photos: Path) -> None:
    predictor = replace(scripted(generator), mode="summary")
    records = first_records([photos], 2)
    asked = [ask_record(predictor, record) for record in records]
    replies = [Reply('{"object_1": {"bbox_2d": [0, 0, 9, 9], "desc": "cup"}}', "stop"), Reply("a street", "stop")]
    answers = ReadAnswers.of(predictor, asked, replies)
    found = AnswersApart.between(records, answers, answers)
    assert found == AnswersApart(2, 2, 0, 0, None, None, None, None)
    assert str(found) == "2 of 2 answers equal; 0 objects in both, 0 in one; no object in common"
