from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from dcap.core.words import counted, show


@pytest.mark.parametrize(("number", "expected"), [(0, "0 records"), (1, "1 record"), (2, "2 records")])
def test_one_is_singular(number: int, expected: str) -> None:
    assert counted(number, "record") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([True, None, "ä"], '[true, null, "ä"]'),
        ({1: 0.5}, '{"1": 0.5}'),
        (date(2024, 5, 1), '"2024-05-01"'),
        ({(1, 2): 3}, "a mapping whose keys are no texts"),
        pytest.param(10**5000, "a number with thousands of digits", id="10**5000"),
    ],
)
def test_a_value_is_shown_in_the_words_of_its_file(value: Any, expected: str) -> None:
    assert show(value) == expected


def test_a_shown_value_is_short_even_if_it_has_no_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert show(endless) == "[" * 57 + "..."
    many: list[Any] = [1]
    for _ in range(40):  # 2 ** 40 numbers when written out
        many = [many, many]
    assert show(many).endswith("...")
    assert show("x" * 1000) == '"' + "x" * 56 + "..."
