"""Constrained answers: the tokens of training, and nothing that is no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
from dcap.data.encode import Encoder, load_tokenizer
from dcap.data.tokens import TokenKind, byte_kinds
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.model.constraint import TokenGrammar
from dcap.model.vocabulary import Vocabulary, vocabulary_of
from support.answer_cases import profiles, scenes

BOUNDS = AnswerBounds(objects=4, points=5, caption=12)
CANVAS = Canvas(64, 96)


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


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
    encoder: Encoder, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile
) -> None:
    ids = encoder.answer_ids(text_of(scene, profile)).tolist()
    follow(TokenGrammar(AnswerGrammar(profile, scene[2]), encoder), ids)


CAPTIONS = [
    "cup", "a dog.", '"hi"', "(x)", "road, paved!", "猫", "x -", "…", 'a "b".', "100", "3)", "end\\", " a", "it's",
    "?!", ".", "#1 (left)", "e.g.)", "a\nb\x00\x1f", "🐈", "é!", "  x  ", "\\", '"', '""', "a:", "—", "}", '"}}', "],[",
]  # fmt: skip


@pytest.mark.parametrize("name", OWN_FORMATS)
def test_borders_of_captions(encoder: Encoder, name: str) -> None:
    """A token may hold the end of a caption and signs behind it, and a caption may begin in a token of signs."""
    profile = AnswerProfile(format=name, object_order="record")
    shapes = ShapeArray.from_objects([{"bbox_2d": [1, 2, 30, 40]}, {"line": [0, 0, 5, 9, 7, 7]}])
    grammar = TokenGrammar(AnswerGrammar(profile), encoder)
    for caption in CAPTIONS:
        for captions in ([caption, "a"], ["a", caption]):
            follow(grammar, encoder.answer_ids(text_of((shapes, captions, Canvas(64, 64)), profile)).tolist())


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
    encoder: Encoder, name: str, prefix: str | None
) -> None:
    profile = AnswerProfile(format=name, prefix=prefix, emit_norm="none")
    bounds = AnswerBounds(objects=4, points=5, caption=200)
    grammar = TokenGrammar(AnswerGrammar(profile, CANVAS, bounds), encoder)
    vocabulary = vocabulary_of(encoder.tokenizer)
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
            wanted = encoder.answer_ids(text)[:-1].tolist()
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
    constraint.advance(encoder.answer_ids('{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "c')[:-1].tolist())
    backend = encoder.tokenizer.backend_tokenizer
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
