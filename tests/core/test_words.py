from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.words import counted, printable, printable_lines, show, to_json

HALVES = "\ud800\udc00\udcff"
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@pytest.mark.parametrize(("number", "expected"), [(0, "0 records"), (1, "1 record"), (2, "2 records")])
def test_one_is_singular(number: int, expected: str) -> None:
    assert counted(number, "record") == expected


DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": None, "b": [True, 1.5, "x"]}, '{"a": null, "b": [true, 1.5, "x"]}'),
        ("x" * 100, '"' + "x" * 56 + "..."),
        (DEEP, "[" * 57 + "..."),
        (10**5000, "a number with thousands of digits"),
        ({(1, 2): 3}, "a mapping whose keys are no texts"),
        ("\x1b[31m\u202e\ud800", r'"\u001b[31m\u202e\ud800"'),
    ],
    ids=["JSON", "long", "deep", "number", "keys", "escapes"],
)
def test_a_value_is_shown_short_and_in_the_words_of_json(value: Any, expected: str) -> None:
    assert show(value) == expected


@given(TREES)
def test_what_is_shown_is_one_short_line(value: Any) -> None:
    assert len(show(value)) <= 60
    assert show(value) == printable(show(value))


@given(st.text(st.characters() | st.sampled_from(HALVES)))
def test_what_is_printable_steers_no_terminal(text: str) -> None:
    for made, kept in ((printable(text), ""), (printable_lines(text), "\n\t")):
        assert not [c for c in made if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in kept]
        assert not [
            c for c in made if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI")
        ]
        made.encode("utf-8")


@pytest.mark.parametrize("text", ["plain", "杯子 é", "👩\u200d🚀", "مرحبا", "\u00a0"])
def test_texts_of_all_scripts_stay(text: str) -> None:
    assert printable(text) == text


def test_escapes_are_those_of_python() -> None:
    assert printable("\x1b[31m\r\n\x9b\u202e\udcff") == r"\x1b[31m\r\n\x9b\u202e\udcff"
    assert printable_lines("a\n\tb\r") == "a\n\tb\\r"


@given(TREES)
def test_json_that_is_printed_is_the_same_data(tree: Any) -> None:
    text = to_json(tree)
    assert printable_lines(text) == text
    assert repr(json.loads(text)) == repr(tree)
