"""Tokens as bytes: what may be in a caption, and which sequences are canonical."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.data.encode import Encoder, load_tokenizer
from dcap.model.vocabulary import CaptionPiece, Vocabulary, read_caption, vocabulary_of


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


@pytest.fixture(scope="module")
def vocabulary(encoder: Encoder) -> Vocabulary:
    return vocabulary_of(encoder.tokenizer)


@given(st.data(), st.text(st.characters(codec="utf-8")))
def test_a_caption_is_read_in_any_parts(data: st.DataObject, caption: str) -> None:
    whole = json.dumps(caption, ensure_ascii=False)[1:].encode()
    cuts = sorted(data.draw(st.lists(st.integers(1, len(whole) - 1), max_size=8))) if len(whole) > 1 else []
    pending, chars = b"", 0
    for start, stop in zip([0, *cuts], [*cuts, len(whole) - 1], strict=True):
        piece = read_caption(pending, whole[start:stop])
        assert piece is not None
        assert piece.end is None
        pending, chars = piece.pending, chars + piece.chars
    assert (pending, chars) == (b"", len(caption))
    last = whole[cuts[-1] if cuts else 0 :]
    before = read_caption(b"", whole[: cuts[-1]]) if cuts else None
    found = read_caption(before.pending if before else b"", last + b"}, x")
    assert found is not None
    assert found.end == len(last) - 1


@pytest.mark.parametrize(
    ("pending", "data"),
    [(b"", b"\n"), (b"", b"a\x00"), (b"", b"\\x"), (b"", b"\\u0041"), (b"", b"\\u000a"), (b"\\u00", b"0a"),
     (b"", b"\x80"), (b"\xe7", b"a"), (b"\xe7\x8c", b'"'),
     (b"", b"\xc0\x80"), (b"", b"\xed\xa0\x80"), (b"", b"\xf4\x90"), (b"\\", b"")],
)  # fmt: skip
def test_what_no_caption_holds(pending: bytes, data: bytes) -> None:
    found = read_caption(pending, data)
    assert found is None or (data == b"" and found.pending == pending)


def test_a_quote_that_is_escaped_ends_nothing() -> None:
    assert read_caption(b"\\", b'"') == CaptionPiece(0, b"")
    assert read_caption(b"", b'\\""') == CaptionPiece(1, b"", 2)
    assert read_caption(b"", b'"') == CaptionPiece(0, b"", 0)


@given(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(' "}],[.(a1猫🐈'))))
def test_tokens_of_a_text_are_canonical_neighbours(encoder: Encoder, vocabulary: Vocabulary, text: str) -> None:
    ids = encoder.answer_ids(text)[:-1].tolist()
    for k, (last, token) in enumerate(pairwise(ids), 1):
        written = b"".join([vocabulary.bytes[each] for each in ids[:k]]).decode("utf-8", "replace")
        text_of_token = vocabulary.bytes[token].decode("utf-8", "replace")
        if written[-1] != "\ufffd" and text_of_token.strip() and not text_of_token[0].isalpha():
            assert vocabulary.are_neighbours(last, written[-1], token)


def test_neighbours_that_the_tokenizer_would_join_are_not_canonical(encoder: Encoder, vocabulary: Vocabulary) -> None:
    def neighbours(a: str, b: str) -> bool:
        (last,), (token,) = vocabulary.tokens(a), vocabulary.tokens(b)
        return bool(vocabulary.are_neighbours(last, a[-1], token))

    assert neighbours("cup", '"},')
    assert neighbours("1", '"},')
    assert neighbours('."', "},")
    assert not neighbours(".", '"},')
    assert not neighbours('"', "},")
    assert not neighbours(' "', "(")
    assert neighbours(' "', "cup")


def test_tokens_as_bytes(encoder: Encoder, vocabulary: Vocabulary) -> None:
    rng = random.Random(0)
    text = "".join(rng.choices('ab 1\n"{}[],:é猫🐈.-_', k=300))
    ids = encoder.answer_ids(text)[:-1].tolist()
    assert b"".join([vocabulary.bytes[token] for token in ids]) == text.lstrip("\n").encode()
    assert list(vocabulary.tokens(text.lstrip("\n"))) == ids
    quotes = list(vocabulary.starting_with('Ġ"'))
    assert quotes == sorted(quotes, key=vocabulary.letters.__getitem__)
    assert set(quotes) == {k for k, data in enumerate(vocabulary.bytes) if data.startswith(b' "') and data != b' "'}
