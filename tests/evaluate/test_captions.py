"""When two captions say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.evaluate.captions import caption_words, equal_captions, normalize, same_captions, token_f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  A  Red\tCup ", "a red cup"),
        ("Ｃup", "cup"),
        ("ﬁre", "fire"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("e\u0301", "\u00e9"),
        ("杯子\u3000红", "杯子 红"),
    ],
)
def test_normalize(text: str, expected: str) -> None:
    assert normalize(text) == expected


def test_tokens_of_words_numbers_and_ideographs() -> None:
    assert caption_words("Road, paved, 2 lanes") == ["road", "paved", "2", "lanes"]
    assert caption_words("红色cup杯") == ["红", "色", "cup", "杯"]
    assert caption_words("a_b") == ["a", "b"]
    assert caption_words("...") == []


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("cup", "Cup.", 1.0),
        ("a red cup", "cup", 0.5),
        ("cup cup", "cup", 2 / 3),
        ("cup", "plate", 0.0),
        ("红色杯子", "红杯", 2 * 2 / 6),
        ("?", "!", 0.0),
        ("?", "?", 1.0),
        ("cup", "?", 0.0),
    ],
)
def test_token_f1(a: str, b: str, expected: float) -> None:
    assert token_f1(a, b) == pytest.approx(expected)


def test_equal_captions_is_a_table() -> None:
    assert equal_captions(["Cup", "plate"], ["cup", "PLATE ", "x"]).tolist() == [
        [True, False, False],
        [False, True, False],
    ]
    assert equal_captions([], ["x"]).shape == (0, 1)


def test_same_captions_are_groups_of_two_or_more() -> None:
    groups = same_captions(["b", "a", "B ", "c", "A", "b"])
    assert sorted(group.tolist() for group in groups) == [[0, 2, 5], [1, 4]]
    assert list(same_captions([])) == list(same_captions(["a", "b"])) == []


@given(st.text(), st.text())
def test_token_f1_is_symmetric_bounded_and_one_for_itself(a: str, b: str) -> None:
    assert token_f1(a, b) == token_f1(b, a)
    assert 0.0 <= token_f1(a, b) <= 1.0
    assert token_f1(a, a) == 1.0
