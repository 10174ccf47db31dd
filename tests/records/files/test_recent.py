"""What is kept: the things used last, within the bound, and closed when they go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dcap.records.files.recent import Recent


def not_again() -> int:
    raise AssertionError("it is kept")


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 25))
def test_the_last_used_are_kept_within_the_bound(keys: list[int], bound: int) -> None:
    """Things are their keys and cost as much; a list is the model."""
    closed: list[int] = []
    recent: Recent[int] = Recent(bound, cost=int, close=closed.append)
    model: list[int] = []
    for key in keys:
        assert recent.get(key, lambda key=key: key) == key
        model = [each for each in model if each != key] + [key]
        while sum(model) > bound and len(model) > 1:
            del model[0]
        assert len(recent) == len(model)
        for each in model:
            assert recent.get(each, not_again) == each
    for key in model:
        recent.drop(key)
        recent.drop(key)
    assert len(recent) == 0
    assert closed[len(closed) - len(model) :] == model
