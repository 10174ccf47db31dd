"""Constrained answers: the tokens of training, and nothing that is no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from dcap.answers.codec import Answer, parse, to_answer, write_answer, write_parts
from dcap.answers.formats import OWN_FORMATS
from dcap.answers.grammar import AnswerBounds, AnswerGrammar
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import AnswerError, ConfigError
from dcap.data.encode import Encoder, grid_thw, load_tokenizer, patchify
from dcap.data.tokens import TokenKind, byte_kinds
from dcap.geometry.canvas import Canvas
from dcap.geometry.grid import Norm
from dcap.geometry.shapes import ShapeArray
from dcap.model.constraint import TokenGrammar, constraint_of
from dcap.model.decoding import Decoding
from dcap.model.generation import Prompt
from dcap.model.vocabulary import Vocabulary, vocabulary_of
from support.answer_cases import profiles, scenes

BOUNDS = AnswerBounds(objects=4, points=5, caption=12)
CANVAS = Canvas(64, 96)


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


@pytest.fixture(scope="module", params=["tiny_folder", "micro_folder"])
def any_encoder(request: pytest.FixtureRequest) -> Encoder:
    """With the vocabulary of Qwen3-VL, and with the one of bytes."""
    return Encoder(load_tokenizer(str(request.getfixturevalue(request.param))))


def text_of(scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile) -> str:
    shapes, captions, canvas = scene
    return write_answer(to_answer(shapes, [caption or "-" for caption in captions], canvas, profile), profile)


def follow(grammar: TokenGrammar, ids: Sequence[int]) -> int:
    """Write the tokens of an answer, forced ones at once; return how often there was a choice."""
    constraint, k, choices = grammar.constraint(), 0, 0
    while k < len(ids):
        if forced := constraint.forced():
            assert list(forced) == ids[k : k + len(forced)]
            constraint.advance(forced)
            k += len(forced)
        else:
            assert constraint.allowed()[ids[k]], k
            constraint.advance(ids[k : k + 1])
            k, choices = k + 1, choices + 1
    assert not constraint.forced()
    assert not constraint.allowed().any(), "the answer is over"
    return choices


@settings(max_examples=30)
@given(scene=scenes(), profile=profiles)
def test_forced_tokens_are_those_of_training(
    any_encoder: Encoder, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile
) -> None:
    ids = any_encoder.answer_ids(text_of(scene, profile)).tolist()
    follow(TokenGrammar(AnswerGrammar(profile, scene[2]), any_encoder), ids)


CAPTIONS = [
    "cup", "a dog.", '"hi"', "(x)", "road, paved!", "猫", "x -", "…", 'a "b".', "100", "3)", "end\\", " a", "it's",
    "?!", ".", "#1 (left)", "e.g.)", "a\nb\x00\x1f", "🐈", "é!", "  x  ", "\\", '"', '""', "a:", "—", "}", '"}}', "],[",
]  # fmt: skip


@pytest.mark.parametrize("name", OWN_FORMATS)
def test_borders_of_captions(any_encoder: Encoder, name: str) -> None:
    """A token may hold the end of a caption and signs behind it, and a caption may begin in a token of signs."""
    profile = AnswerProfile(format=name, object_order="record")
    shapes = ShapeArray.from_objects([{"bbox_2d": [1, 2, 30, 40]}, {"line": [0, 0, 5, 9, 7, 7]}])
    grammar = TokenGrammar(AnswerGrammar(profile), any_encoder)
    for caption in CAPTIONS:
        for captions in ([caption, "a"], ["a", caption]):
            follow(grammar, any_encoder.answer_ids(text_of((shapes, captions, Canvas(64, 64)), profile)).tolist())


def drawn(grammar: TokenGrammar, rng: np.random.Generator, liked: npt.NDArray[np.bool_]) -> list[int]:
    """Write an answer of a model that knows nothing, and likes some tokens."""
    constraint, tokens = grammar.constraint(), list[int]()
    while True:
        new = list(constraint.forced())
        if not new:
            allowed = constraint.allowed()
            if not allowed.any():
                return tokens[:-1]
            best = allowed & liked
            new = [int(rng.choice(np.flatnonzero(best if best.any() and rng.random() < 0.5 else allowed)))]
        constraint.advance(new)
        tokens += new


def borders(vocabulary: Vocabulary, tokens: Sequence[int], kinds: npt.NDArray[np.uint8]) -> set[int]:
    """The bytes outside of captions at which tokens begin."""
    starts = np.cumsum([len(vocabulary.bytes[token]) for token in tokens])[:-1]
    outside = kinds != TokenKind.CAPTION
    return {int(k) for k in starts if outside[k] and outside[k - 1]}


@pytest.mark.parametrize("prefix", [None, "{num_objects} objects, {num_lines} lines\n"])
@pytest.mark.parametrize("name", OWN_FORMATS)
def test_an_answer_of_noise_has_no_problem_and_its_structure_the_tokens_of_training(
    any_encoder: Encoder, name: str, prefix: str | None
) -> None:
    profile = AnswerProfile(format=name, prefix=prefix, emit_norm="none")
    bounds = AnswerBounds(objects=4, points=5, caption=200)
    grammar = TokenGrammar(AnswerGrammar(profile, CANVAS, bounds), any_encoder)
    vocabulary = vocabulary_of(any_encoder.tokenizer)
    liked = np.array([b'"' in data for data in vocabulary.bytes] + [False] * (vocabulary.size - len(vocabulary.bytes)))
    rng = np.random.default_rng(0)
    total = 0
    for _ in range(16):
        tokens = drawn(grammar, rng, liked)
        text = b"".join([vocabulary.bytes[token] for token in tokens]).decode()
        read = parse(text, profile)
        total += len(read.captions)
        answer = Answer(read.shapes, read.captions, np.arange(len(read.captions)), np.ones(len(read.captions)))
        parts = write_parts(answer, profile)
        assert "".join([part for part, _ in parts]) == text
        if is_normalized("NFC", text):
            kinds = byte_kinds(parts)
            wanted = any_encoder.answer_ids(text)[:-1].tolist()
            assert borders(vocabulary, tokens, kinds) == borders(vocabulary, wanted, kinds)
    assert total >= 8


def test_without_fast_forward_there_is_one_token_to_choose(encoder: Encoder) -> None:
    grammar = TokenGrammar(AnswerGrammar(AnswerProfile(), bounds=BOUNDS), encoder)
    ids = encoder.answer_ids('{"object_1": {"bbox_2d": [1, 20, 1000, 40], "desc": "cup"}}').tolist()
    slow, fast = grammar.constraint(fast_forward=False), grammar.constraint()
    singles = 0
    for token in ids:
        forced = list(fast.forced())[:1]
        assert slow.forced() == []
        allowed = np.flatnonzero(slow.allowed()).tolist()
        assert token in allowed
        assert (allowed == forced) == bool(forced)
        singles += bool(forced)
        slow.advance([token])
        fast.advance([token])
    assert singles == 18


def test_structure_is_written_in_the_tokens_of_training(encoder: Encoder) -> None:
    grammar = TokenGrammar(AnswerGrammar(AnswerProfile()), encoder)

    def allowed(text: str) -> list[str]:
        constraint = grammar.constraint()
        constraint.advance(encoder.answer_ids(text)[:-1].tolist())
        return [encoder.tokenizer.backend_tokenizer.decode([token]) for token in np.flatnonzero(constraint.allowed())]

    assert allowed("") == ['{"', "{}"]
    assert sorted(allowed('{"object_1": {"')) == ["bbox", "line", "poly"]
    assert allowed('{"object_1": {"bbox_2d": [0, 0, 1000') == [","]
    closing = [text for text in allowed('{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "cup') if text[0] == '"']
    assert sorted(closing) == ['"},', '"}}']
    opening = allowed('{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc":')
    assert ' "' in opening
    assert ' "(' in opening
    assert " " not in opening
    assert ' ""' not in opening, "a caption has a character"


@pytest.mark.parametrize("most", [2, 3])
def test_a_caption_ends_at_its_bound(encoder: Encoder, most: int) -> None:
    grammar = TokenGrammar(AnswerGrammar(AnswerProfile(), bounds=AnswerBounds(caption=most)), encoder)
    constraint = grammar.constraint()
    backend = encoder.tokenizer.backend_tokenizer
    constraint.advance(encoder.answer_ids('{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc":')[:-1].tolist())
    opening = [backend.decode([token]) for token in np.flatnonzero(constraint.allowed())]
    assert (' "../' in opening) == (most == 3)
    constraint.advance(encoder.answer_ids(' "c')[:-1].tolist())
    constraint.advance([backend.token_to_id(".")])
    left = [backend.decode([token]) for token in np.flatnonzero(constraint.allowed())]
    # Training has c ." }, and never c . "}, but here nothing else is left.
    assert left
    assert all(text.startswith('"') for text in left) == (most == 2)
    assert ('"},' in left) == (most == 2)


def test_a_token_that_may_not_come_is_refused(encoder: Encoder) -> None:
    constraint = TokenGrammar(AnswerGrammar(AnswerProfile()), encoder).constraint()
    with pytest.raises(AnswerError, match=r"^token must be one that the grammar of answers allows, not 5$"):
        constraint.advance([5])


def test_a_tokenizer_that_joins_digits_is_refused(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "counts_outlines", False)
    with pytest.raises(ConfigError, match="the tokenizer must make a token of each digit"):
        TokenGrammar(AnswerGrammar(AnswerProfile()), encoder)


def test_an_answer_behind_open_reasoning_begins_with_its_end(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "reasoning_end", np.array([11, 12, 13]))
    constraint = TokenGrammar(AnswerGrammar(AnswerProfile()), encoder).constraint()
    assert list(constraint.forced()) == [11, 12, 13]


# The loop.


def prompts_of(encoder: Encoder, number: int = 4) -> list[Prompt]:
    found = []
    for k in range(number):
        canvas = Canvas(32 * (1 + k % 2), 64)
        image = np.random.default_rng(k).integers(0, 256, (canvas.height, canvas.width, 3), np.uint8)
        ids = encoder.prompt_ids(None, "List every object. " * (k + 1), canvas)
        found.append(Prompt(ids, patchify(image), grid_thw(canvas)))
    return found


@pytest.mark.parametrize(
    ("name", "temperature"), [*[(name, 0.0) for name in OWN_FORMATS], ("object_map", 1.5), ("rows", 1.5)]
)
def test_every_answer_of_an_untrained_model_can_be_read(
    tiny_generator: Any, encoder: Encoder, name: str, temperature: float
) -> None:
    profile = AnswerProfile(format=name)
    grammar = TokenGrammar(AnswerGrammar(profile, bounds=AnswerBounds(objects=2, points=4, caption=8)), encoder)
    decoding = Decoding(max_new_tokens=300, temperature=temperature)
    constraints = [grammar.constraint() for _ in range(4)]
    answers = tiny_generator.generate(prompts_of(encoder), decoding, constraints=constraints)
    assert [answer.finish for answer in answers] == ["stop"] * 4
    assert [parse(answer.text, profile, strict=False).problems for answer in answers] == [()] * 4
    assert len({answer.text for answer in answers}) > 1


def test_fast_forward_writes_the_same_in_fewer_passes(tiny_generator: Any, encoder: Encoder) -> None:
    grammar = TokenGrammar(AnswerGrammar(AnswerProfile(), bounds=BOUNDS), encoder)
    decoding = Decoding(max_new_tokens=300, logprobs=True)
    found, passes = [], []
    for fast in (True, False):
        before = tiny_generator.counts
        constraints = [grammar.constraint(fast) for _ in range(2)]
        found.append(tiny_generator.generate(prompts_of(encoder, 2), decoding, constraints=constraints))
        passes.append((tiny_generator.counts - before).row_passes)
    for fast_answer, slow_answer in zip(*found, strict=True):
        assert fast_answer.token_ids == slow_answer.token_ids
        np.testing.assert_allclose(fast_answer.logprobs, slow_answer.logprobs, atol=1e-4)
    assert passes[1] == sum(answer.num_tokens + 1 for answer in found[1]), "one for each token, and for the end"
    assert passes[1] >= 1.8 * passes[0]


@pytest.mark.parametrize(
    ("name", "norm", "ratio"),
    [
        ("object_map", "norm1000", 2.15),
        ("object_map", "norm100", 2.6),
        ("qwen", "norm1000", 1.9),
        ("rows", "norm1000", 1.15),
    ],
)
def test_passes_of_the_answers_of_training(encoder: Encoder, name: str, norm: Norm, ratio: float) -> None:
    """A digit and a word are free; what is around them is not."""
    profile = AnswerProfile(format=name, emit_norm=norm)
    boxes = [[37, 120, 301, 422], [411, 3, 987, 250], [5, 640, 93, 991], [620, 550, 777, 705]]
    shapes = ShapeArray.from_objects([{"bbox_2d": box} for box in boxes])
    text = text_of((shapes, ["cup", "dining table", "cat", "potted plant"], Canvas(1000, 1000)), profile)
    ids = encoder.answer_ids(text).tolist()
    assert len(ids) / follow(TokenGrammar(AnswerGrammar(profile), encoder), ids) >= ratio


def test_what_decoding_makes_of_an_answer(encoder: Encoder) -> None:
    profile = AnswerProfile()
    assert constraint_of(Decoding(), profile, CANVAS, encoder) is None
    fast = constraint_of(Decoding(grammar=True), profile, CANVAS, encoder)
    slow = constraint_of(Decoding(grammar=True, fast_forward=False), profile, CANVAS, encoder)
    free = constraint_of(Decoding(stop_repeats=1), profile, CANVAS, encoder)
    both = constraint_of(Decoding(grammar=True, stop_repeats=1), profile, CANVAS, encoder)
    text = '{"object_1": {"'
    for constraint in (fast, slow, free, both):
        assert constraint is not None
        constraint.advance(encoder.answer_ids(text)[:-1].tolist() + encoder.answer_ids("line")[:-1].tolist())
    assert fast is not None
    assert slow is not None
    assert free is not None
    assert both is not None
    assert (len(fast.forced()), len(slow.forced()), len(free.forced()), len(both.forced())) == (3, 0, 0, 3)
    assert free.allowed() is None
    assert both.allowed() is not None
