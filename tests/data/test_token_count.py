from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from dcap.data.encode import Encoder, load_tokenizer
from dcap.data.tokens import TokenCounter

PIECES = st.one_of(
    st.text(max_size=6),
    st.text("0123456789", max_size=5),
    st.text(" \t\n\r\u00a0\u2003\u3000", max_size=4),
    st.text("٣४\u0301\u20e3\u0338½²ⅷ", max_size=3),  # digits of other scripts, marks that join what is before them
    st.sampled_from(
        ['", "bbox_2d": [', "], [", "'s", "'LL", "<|im_end|>", "<think>", "螺丝,显示完整", "ﬁ", "e\u0301", "각"]
    ),
)


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


@pytest.fixture(scope="module", params=["tiny_folder", "micro_folder"])
def any_encoder(request: pytest.FixtureRequest) -> Encoder:
    """With the vocabulary of Qwen3-VL, and with the one of bytes."""
    return Encoder(load_tokenizer(str(request.getfixturevalue(request.param))))


@given(st.lists(PIECES, max_size=12).map("".join))
def test_a_count_is_the_number_of_tokens(any_encoder: Encoder, text: str) -> None:
    assert any_encoder.num_answer_tokens(text) == len(any_encoder.answer_ids(text))


@pytest.mark.parametrize(
    "text", ["", "7", " 7", "  7", "7 ", "7  ", "\n\n 7\n", "a 7 b", "no digit at all", "x" * 5000]
)
def test_spaces_beside_digits(any_encoder: Encoder, text: str) -> None:
    assert any_encoder.num_answer_tokens(text) == len(any_encoder.answer_ids(text))


class Counting:
    """A tokenizer that remembers what it was asked for."""

    def __init__(self, encoder: Encoder, pre_tokenizer: Any) -> None:
        self.backend, self.pre_tokenizer = encoder.tokenizer.backend_tokenizer, pre_tokenizer
        self.texts: list[str] = []

    def encode(self, text: str) -> Any:
        self.texts.append(text)
        return self.backend.encode(text)


def test_segments_are_counted_once(encoder: Encoder) -> None:
    backend = Counting(encoder, pre_tokenizers.Digits())  # which leaves words and signs together
    counter = TokenCounter(backend)
    backend.texts.clear()
    assert counter("box 1; 2; 3 the end") == counter("box 1; 22; 3 the end") - 1 == 11
    assert backend.texts == [" the end", "box 0", "; 0", " the end"]


def test_words_are_counted_once(encoder: Encoder) -> None:
    backend = Counting(encoder, encoder.tokenizer.backend_tokenizer.pre_tokenizer)
    counter = TokenCounter(backend)
    backend.texts.clear()
    for text in ('a "red cup" 1 of the "red cup"', 'the "red cup" of a 2'):
        assert counter(text) == len(encoder.answer_ids(text)) - 1
    assert sorted(backend.texts) == sorted(
        ["a", ' "', "red", " cup", '" 0', '" of', " of", " the", '"', "the", " a", " 0"]
    )


@given(
    st.lists(st.sampled_from(["a", "Z", "猫", "ſ", "é", "'s", "'", " ", "  ", ",", '"', "\u0338", "<", "\n", "5"])).map(
        "".join
    )
)
def test_words_beside_signs(any_encoder: Encoder, text: str) -> None:
    assert any_encoder.num_answer_tokens(text) == len(any_encoder.answer_ids(text))


def test_a_tokenizer_that_joins_digits_is_asked_for_every_text() -> None:
    vocabulary = {"[UNK]": 0, "12": 1, "a": 2}
    joins = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    joins.pre_tokenizer = pre_tokenizers.Whitespace()
    assert TokenCounter(joins)("12 a 12") == 3
