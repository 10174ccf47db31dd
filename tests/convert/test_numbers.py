"""Numbers of foreign files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.convert.foreign_files import checked_numbers
from dcap.core.errors import RecordError

values = st.lists(st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), True, None, "4", []])))


@given(values)
def test_what_is_accepted_is_finite_and_within_the_limit(given_values: list[Any]) -> None:
    bad = [k for k, v in enumerate(given_values) if type(v) not in (int, float) or not -9 <= v <= 9]
    if not bad:
        assert checked_numbers(given_values, "box", 9).tolist() == given_values
        return
    with pytest.raises(RecordError, match=rf"^box\[{bad[0]}\] must be a finite number within 9, not "):
        checked_numbers(given_values, "box", 9)


def test_what_is_no_list() -> None:
    with pytest.raises(RecordError, match="box must be a list of numbers, not an object of 1"):
        checked_numbers({"x": 1}, "box", 9)
