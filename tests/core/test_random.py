from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.random import generator, keyed_hash

KEYS = st.tuples(st.integers(0, 2**32), st.integers(0, 1000), st.integers(0, 2**40))


@given(KEYS)
def test_same_key_same_numbers(key: tuple[int, int, int]) -> None:
    assert (generator(*key).random(8) == generator(*key).random(8)).all()


@given(KEYS, KEYS)
def test_other_key_other_numbers(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    if a != b:
        assert (generator(*a).random(4) != generator(*b).random(4)).any()


def test_values_do_not_change_between_releases() -> None:
    assert generator(0, 1, 2).integers(0, 1000, 4).tolist() == [836, 790, 884, 917]


@pytest.mark.parametrize("key", [(), (-1,), (0, -3)])
def test_keys_must_be_natural(key: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=">= 0"):
        generator(*key)


def test_hashes_are_even_and_do_not_change_between_releases() -> None:
    hashes = [keyed_hash(b"%d" % k, 3) for k in range(4000)]
    assert len(set(hashes)) == 4000
    assert abs(sum(hashes) / 4000 / 2**64 - 0.5) < 0.03
    assert keyed_hash(b"images/a.jpg", 0) != keyed_hash(b"images/a.jpg", 1)
    assert keyed_hash(b"images/a.jpg", 2**90) < 2**64
    assert keyed_hash(b"images/a.jpg", 0) == 10746362795589802257
