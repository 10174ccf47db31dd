from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import ConfigError
from dcap.data.packing import epoch_rows, ordered_rows, pack_lengths

CAPACITY = 100
LENGTHS = st.lists(st.integers(1, CAPACITY), max_size=200)


@given(LENGTHS, st.sampled_from([None, 1, 7, 64]))
def test_every_sample_has_one_row_and_no_row_overflows(lengths: list[int], window: int | None) -> None:
    packing = pack_lengths(lengths, CAPACITY, window)
    assert packing.row_of_sample.shape == (len(lengths),)
    fill = np.bincount(packing.row_of_sample, weights=lengths, minlength=packing.num_rows)
    assert len(fill) == packing.num_rows
    assert (fill <= CAPACITY).all()
    assert (fill > 0).all()
    assert sorted(i for row in packing.rows() for i in row.tolist()) == list(range(len(lengths)))


@given(LENGTHS)
def test_no_two_rows_could_be_joined(lengths: list[int]) -> None:
    """Best fit opens a row only when no other holds the sample, so at most one row is half empty."""
    packing = pack_lengths(lengths, CAPACITY)
    fill = np.bincount(packing.row_of_sample, weights=lengths, minlength=packing.num_rows)
    assert (fill <= CAPACITY / 2).sum() <= 1


def test_best_fit_takes_the_fullest_row() -> None:
    assert pack_lengths([60, 50, 40, 35, 15], 100).row_of_sample.tolist() == [0, 1, 0, 1, 1]


def test_windows_are_packed_apart() -> None:
    assert pack_lengths([50, 50, 50, 50], 100, window=1).num_rows == 4
    assert pack_lengths([50, 50, 50, 50], 100, window=2).num_rows == 2


@pytest.mark.parametrize("length", [0, -1, 101])
def test_a_length_out_of_range_is_named(length: int) -> None:
    with pytest.raises(ConfigError, match=rf"lengths\[1\] must be within 1..100, not {length}"):
        pack_lengths([5, length], 100)


@given(LENGTHS, st.integers(0, 99), st.integers(0, 9), st.sampled_from([None, 1, 3]))
def test_an_epoch_holds_every_sample_once(lengths: list[int], seed: int, epoch: int, per_row: int | None) -> None:
    sizes = np.array(lengths, np.int64)
    rows = epoch_rows(sizes, seed, epoch, CAPACITY, 16, per_row)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert rows == epoch_rows(sizes, seed, epoch, CAPACITY, 16, per_row)
    assert sorted(i for row in ordered_rows(sizes, CAPACITY, 16, per_row) for i in row) == list(range(len(lengths)))


def test_epochs_and_seeds_differ() -> None:
    sizes = np.full(64, 30)
    orders = [epoch_rows(sizes, seed, epoch, 100, 16, None) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_length_zero_is_left_out() -> None:
    assert epoch_rows(np.array([0, 5, 0]), 0, 0, 10, 8, None) == [[1]]
