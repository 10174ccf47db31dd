"""Packing: which samples share a row, and the order of rows in an epoch."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.core.errors import ConfigError
from dcap.core.random import generator

_ORDER_PURPOSE = 1


@dataclass(frozen=True, eq=False, slots=True)
class Packing:
    """Which row each sample lies in.

    Args:
        row_of_sample: int64 (N,), 0..num_rows-1.
        num_rows: Number of rows.
    """

    row_of_sample: npt.NDArray[np.int64]
    num_rows: int

    def rows(self) -> list[npt.NDArray[np.int64]]:
        """Return the samples of each row, ascending."""
        order = np.argsort(self.row_of_sample, kind="stable")
        counts = np.bincount(self.row_of_sample, minlength=self.num_rows)
        return np.split(order, np.cumsum(counts)[:-1]) if self.num_rows else []


def pack_lengths(lengths: npt.ArrayLike, capacity: int, window: int | None = None) -> Packing:
    """Pack by best-fit-decreasing: longest first, each into the fullest row that still holds it.

    Args:
        lengths: Tokens of each sample, int (N,), each within 1..capacity.
        capacity: Tokens of a row.
        window: Samples that are packed together, in order; none packs all at once, which fills rows a little
            better but sorts samples by length.

    Raises:
        ConfigError: A length is outside 1..capacity; the message names its index.

    Source: best-fit-decreasing bin packing, Johnson 1973.
    """
    sizes = np.asarray(lengths, np.int64)
    for i in np.flatnonzero((sizes < 1) | (sizes > capacity))[:1]:
        raise ConfigError(f"lengths[{i}] must be within 1..{capacity}, not {sizes[i]}")
    row_of = np.empty(len(sizes), np.int64)
    num_rows = 0
    step = window or max(1, len(sizes))
    for start in range(0, len(sizes), step):
        local = _best_fit_decreasing(sizes[start : start + step], capacity)
        row_of[start : start + step] = local + num_rows
        num_rows += int(local.max()) + 1
    return Packing(row_of, num_rows)


def _best_fit_decreasing(sizes: npt.NDArray[np.int64], capacity: int) -> npt.NDArray[np.int64]:
    row_of = np.empty(len(sizes), np.int64)
    open_rows: list[tuple[int, int]] = []  # (room left, row), ascending
    num_rows = 0
    for i in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[i])
        at = bisect_left(open_rows, (size, -1))
        if at < len(open_rows):
            room, row = open_rows.pop(at)
        else:
            room, row, num_rows = capacity, num_rows, num_rows + 1
        row_of[i] = row
        insort(open_rows, (room - size, row))
    return row_of


def epoch_rows(
    lengths: npt.NDArray[np.int64],
    seed: int,
    epoch: int,
    capacity: int,
    window: int,
    samples_per_row: int | None,
) -> list[list[int]]:
    """Return the rows of an epoch, each a list of sample indices: a pure function of its arguments.

    Samples are shuffled, packed window by window (or grouped by `samples_per_row` when that is given), and the
    rows are shuffled again, since packing sorts them by fill.

    Args:
        lengths: Tokens of each sample, int64 (N,); a sample of length 0 is left out.
        seed: Run seed.
        epoch: Epoch, from 0.
        capacity: Tokens of a row.
        window: Samples that are packed together.
        samples_per_row: Padded mode: this many samples make a row.
    """
    rng = generator(seed, epoch, _ORDER_PURPOSE)
    rows = _rows(rng.permutation(np.flatnonzero(lengths)), lengths, capacity, window, samples_per_row)
    return [rows[i].tolist() for i in rng.permutation(len(rows))]


def ordered_rows(
    lengths: npt.NDArray[np.int64], capacity: int, window: int, samples_per_row: int | None
) -> list[list[int]]:
    """Return rows without a shuffle, for validation; arguments as `epoch_rows`."""
    return [row.tolist() for row in _rows(np.flatnonzero(lengths), lengths, capacity, window, samples_per_row)]


def _rows(
    order: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    capacity: int,
    window: int,
    samples_per_row: int | None,
) -> list[npt.NDArray[np.int64]]:
    if samples_per_row is not None:
        return [order[i : i + samples_per_row] for i in range(0, len(order), samples_per_row)]
    return [order[members] for members in pack_lengths(lengths[order], capacity, window).rows()]
