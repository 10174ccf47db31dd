from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import ConfigError
from dcap.data.packing import RowRules, epoch_rows, epoch_rows_by_step, ordered_rows, pack_lengths

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


def test_a_negative_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="window must be at least 1, not -1"):
        pack_lengths([5], 100, window=-1)


def test_windows_fill_rows_nearly_as_well_as_all_at_once() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(np.round(rng.lognormal(np.log(900), 1.0, 100_000)), 100, 12_000).astype(np.int64)
    best = -(-int(lengths.sum()) // 12_000)
    assert best / pack_lengths(lengths, 12_000).num_rows >= 0.9995
    assert best / pack_lengths(lengths, 12_000, window=8192).num_rows >= 0.998


@given(LENGTHS, st.integers(0, 99), st.integers(0, 9), st.sampled_from([None, 1, 3]))
def test_an_epoch_holds_every_sample_once(lengths: list[int], seed: int, epoch: int, per_row: int | None) -> None:
    sizes = np.array(lengths, np.int64)
    rows = epoch_rows(sizes, seed, epoch, RowRules(CAPACITY, 16, per_row))
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert rows == epoch_rows(sizes, seed, epoch, RowRules(CAPACITY, 16, per_row))
    assert sorted(i for row in ordered_rows(sizes, RowRules(CAPACITY, 16, per_row)) for i in row) == list(
        range(len(lengths))
    )


def test_epochs_and_seeds_differ() -> None:
    sizes = np.full(64, 30)
    orders = [epoch_rows(sizes, seed, epoch, RowRules(100, 16)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_length_zero_is_left_out() -> None:
    assert epoch_rows(np.array([0, 5, 0]), 0, 0, RowRules(10, 8)) == [[1]]


@given(st.integers(0, 700), st.integers(0, 3), st.sampled_from([None, 3]), st.integers(1, 5), st.integers(0, 40))
def test_rows_by_step_hold_every_sample_once_at_the_length_it_has_then(
    count: int, seed: int, per_row: int | None, rows_per_step: int, first_step: int
) -> None:
    def length_at(i: int, step: int) -> int:
        """Grows and falls with the step, another way for each sample; some do not fit now and then."""
        length = 5 + (i * 7919 + step * (i % 13)) % (CAPACITY + 4)
        return length if length <= CAPACITY else 0

    def step_of_row(row: int) -> int:
        return first_step + row // rows_per_step

    tracked: list[int] = []

    def track(order: Sequence[int]) -> Iterator[int]:
        for i in order:
            tracked.append(i)
            yield i

    rules = RowRules(CAPACITY, 300, per_row)
    rows = epoch_rows_by_step(count, length_at, step_of_row, seed, 1, rules, track)
    assert rows == epoch_rows_by_step(count, length_at, step_of_row, seed, 1, rules)
    assert sorted(tracked) == list(range(count))
    seen = [i for row in rows for i in row]
    assert len(seen) == len(set(seen))
    for k, row in enumerate(rows):
        lengths = [length_at(i, step_of_row(k)) for i in row]
        assert row
        assert min(lengths) > 0
        assert len(row) <= per_row if per_row else sum(lengths) <= CAPACITY
    steps = range(first_step, step_of_row(len(rows)) + 1)
    lost = set(range(count)) - set(seen)
    assert all(any(length_at(i, step) == 0 for step in steps) for i in lost)


def test_rows_by_step_are_well_filled_where_samples_grow_by_a_half() -> None:
    rows = epoch_rows_by_step(8000, lambda i, step: 20 + i % 40 + step // 50, lambda row: row, 0, 0, RowRules(400, 512))
    fill = [sum(20 + i % 40 + k // 50 for i in row) / 400 for k, row in enumerate(rows)]
    assert np.mean(fill[:-1]) > 0.95
