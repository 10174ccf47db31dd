from __future__ import annotations

import pytest

from dcap.core.words import counted


@pytest.mark.parametrize(("number", "expected"), [(0, "0 records"), (1, "1 record"), (2, "2 records")])
def test_one_is_singular(number: int, expected: str) -> None:
    assert counted(number, "record") == expected
