"""How sure a model was of each object: where objects are in an answer, and what their tokens say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.answers.codec import Answer, parse, to_answer, write_answer
from dcap.answers.formats import ANSWER_FORMATS
from dcap.answers.object_scores import ObjectScore, _read_spans, object_spans, score_objects
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import Notes
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from support.answer_cases import profiles, scenes

OBJECT_MAP = AnswerProfile()
CUP = '{"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}'


def texts(text: str, profile: AnswerProfile = OBJECT_MAP, reasoning: bool = False) -> list[tuple[str, str]]:
    """Return the digits and the caption that each object is said to have."""
    return [
        (" ".join(text[a:b] for a, b in each.numbers), text[slice(*each.caption)])
        for each in object_spans(text, profile, reasoning)
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("object_map", '{"object_1": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "road 3"}}'),
        ("desc_first", '{"object_1": {"desc": "road 3", "line_points": 2, "line": [[0, 32], [125, 102]]}}'),
        ("qwen", '[{"line_points": 2, "line": [[0, 32], [125, 102]], "label": "road 3"}]'),
        ("qwen_compact", '[{"line_points":2,"line":[[0,32],[125,102]],"label":"road 3"}]'),
        ("rows", '[["l",0,32,125,102,"road 3"]]'),
    ],
)
def test_numbers_and_caption_without_counts_and_keys(name: str, text: str) -> None:
    profile = AnswerProfile(format=name)
    assert texts(text, profile) == [("0 32 125 102", "road 3")]
    assert texts(f"Sure: {text} There are 2.", profile) == [("0 32 125 102", "road 3")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nothing", []),
        ('{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "a"}, "object_2": {"bbox_2d": [5, 6,', [("1 2 3 4", "a")]),
        ('[{"bbox_2d": [1, 2, 1, 4], "desc": "flat"}, {"bbox_2d": [1, 2, 3, 4], "desc": "a"}]', [("1 2 3 4", "a")]),
        ('{"bbox_2d": [1, 2, 3, 4], "desc": "desc", "note": "9 lives"}', [("1 2 3 4", "desc")]),
        ('{"desc": "say \\"7\\" ]", "bbox_2d": [1, 2, 3, 4]}', [("1 2 3 4", 'say \\"7\\" ]')]),
        ('{"bbox_2d": [1, 2, 3, 4], "desc": "bad \\x escape"}', [("1 2 3 4", "bad \\x escape")]),
        ('{"bbox_2d": [1, 2, 3, 4], "desc": ""}', [("1 2 3 4", "")]),
    ],
)
def test_answers_that_dcap_would_not_write(text: str, found: list[tuple[str, str]]) -> None:
    assert texts(text) == found


def test_reasoning_and_prefix_are_no_objects() -> None:
    draft = 'The cup is at {"bbox_2d": [1, 2, 3, 4], "desc": "draft"}.</think>\n'
    assert texts(draft + CUP, reasoning=True) == [("417 494 491 702", "cup")]
    assert texts(draft, reasoning=True) == []
    profile = AnswerProfile(prefix="{num_objects} objects\n")
    assert texts("1 objects\n" + CUP, profile) == [("417 494 491 702", "cup")]
    assert texts("2 objects\n" + CUP, profile) == [("417 494 491 702", "cup")]
    assert texts(CUP, profile) == [("417 494 491 702", "cup")]


def split(text: str, *pieces: str) -> tuple[list[bytes], list[float]]:
    """Cut a text into tokens of one character; those of each piece get log-probability -1, -2, ..., others 0."""
    scores = [0.0] * len(text)
    for k, piece in enumerate(pieces, 1):
        start = text.index(piece)
        scores[start : start + len(piece)] = [-float(k)] * len(piece)
    return [char.encode() for char in text], scores


def scores_of(
    text: str, tokens: Sequence[bytes], logprobs: Sequence[float], profile: AnswerProfile = OBJECT_MAP
) -> list[ObjectScore]:
    found = score_objects(text, tokens, logprobs, profile)
    assert found is not None
    return found


def test_only_the_tokens_of_an_object_count() -> None:
    tokens, logprobs = split(CUP, "417", "cup")
    (found,) = scores_of(CUP, tokens, logprobs)
    assert (found.numbers, found.caption) == (pytest.approx(math.exp(-3 / 12)), pytest.approx(math.exp(-2)))
    assert found.combined == pytest.approx(math.exp(-(0.25 + 2) / 2))


def test_structure_does_not_count() -> None:
    tokens, logprobs = split(CUP, '{"object_1": {"bbox_2d": [', '], "desc": "', '"}}')
    assert scores_of(CUP, tokens, logprobs) == [ObjectScore(1.0, 1.0)]


def test_a_token_counts_once_where_it_reaches_over_a_border() -> None:
    tokens = [b'{"object_1": {"bbox_2d": [', b"417, 494, 491, 70", b'2], "desc": "', b'cup"}', b"}"]
    (found,) = scores_of(CUP, tokens, [-9.0, -1.0, -3.0, -0.5, -9.0])
    assert found == ObjectScore(pytest.approx(math.exp(-2)), pytest.approx(math.exp(-0.5)))


def test_tokens_may_be_parts_of_characters() -> None:
    text = CUP.replace("cup", "猫")
    cat = "猫".encode()
    before, after = (part.encode() for part in text.split("猫"))
    tokens = [before, cat[:1], cat[1:2], cat[2:], after]
    (found,) = scores_of(text, tokens, [0.0, -1.0, -2.0, -3.0, 0.0])
    assert found.caption == pytest.approx(math.exp(-2))


def test_an_empty_caption_leaves_the_numbers_alone() -> None:
    text = CUP.replace("cup", "")
    (found,) = scores_of(text, [text.encode()], [-1.0])
    assert found == ObjectScore(pytest.approx(math.exp(-1)), None)
    assert found.combined == found.numbers
    assert ObjectScore(None, None).combined is None


def test_tokens_behind_the_text_are_ignored() -> None:
    tokens, logprobs = split(CUP + " stop", " stop")
    assert scores_of(CUP, tokens, logprobs) == [ObjectScore(1.0, 1.0)]


def test_rounding_makes_no_score_above_one() -> None:
    assert scores_of(CUP, [CUP.encode()], [1e-7]) == [ObjectScore(1.0, 1.0)]


def test_tokens_that_do_not_spell_the_text_give_no_scores() -> None:
    assert score_objects(CUP, [CUP.encode()], [], OBJECT_MAP) is None
    assert score_objects(CUP, [b"{"], [0.0], OBJECT_MAP) is None


@settings(max_examples=150, deadline=None)
@given(scenes(), profiles)
def test_both_ways_to_find_objects_agree(scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile) -> None:
    shapes, captions, canvas = scene
    answer: Answer = to_answer(shapes, captions, canvas, profile)
    text = write_answer(answer, profile)
    spans = object_spans(text, profile)
    assert len(spans) == len(answer.captions)
    for k, each in enumerate(spans):
        digits = [int(text[a:b]) for a, b in each.numbers]
        first, last = answer.shapes.offsets[k : k + 2]
        assert digits == answer.shapes.xy[first:last].ravel().tolist()
    read = ANSWER_FORMATS.get(profile.format, "").parse_objects(text, Notes(strict=False))
    if profile.prefix is None:
        assert [_read_spans(text, obj.position, obj) for obj in read] == spans


@settings(max_examples=100, deadline=None)
@given(scenes(), profiles, st.integers(0, 400), st.sampled_from(["", "x", '"', "]", "{", ", 3"]))
def test_there_is_a_score_for_each_object_that_is_read(
    scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile, cut: int, noise: str
) -> None:
    text = write_answer(to_answer(*scene, profile), profile)
    text = text[:cut] + noise + text[cut + 1 :]
    parsed = parse(text, profile, strict=False)
    found = scores_of(text, [text.encode()], [-1.0], profile)
    assert len(found) == len(parsed.captions)
    assert all(score.numbers == pytest.approx(math.exp(-1)) for score in found)
