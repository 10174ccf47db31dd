"""Packing: which samples share a row, and the order of rows in an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import ConfigError
from dcap.core.random import generator

_ORDER_PURPOSE = 1
_PARTS, _LEAST_PART = 16, 256
"""Number of parts that `epoch_rows_by_step` cuts an epoch into, and the fewest samples of a part, so that rows fill
well."""


class SampleSize(NamedTuple):
    """The numbers that decide the work of a sample."""

    tokens: int
    """Tokens of the whole sample; 0 leaves it out."""
    image_tokens: int
    """Those that are image placeholders: a quarter of the patches."""


@dataclass(frozen=True, eq=False, slots=True)
class SampleSizes:
    """`SampleSize` of N samples.

    Args:
        tokens: int64 (N,).
        image_tokens: int64 (N,).
    """

    tokens: npt.NDArray[np.int64]
    image_tokens: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Packing:
    """The row of each sample.

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
        window: Samples that are packed together, in order. `None`: all at once, which fills rows a little better,
            but sorts samples by length.

    Raises:
        ConfigError: A length is outside 1..capacity; the message names its index. Or the window is negative.

    Source: best-fit-decreasing bin packing, Johnson 1973.
    """
    sizes = np.require(lengths, np.int64, ["C", "A"])
    for i in np.flatnonzero((sizes < 1) | (sizes > capacity))[:1]:
        raise ConfigError(f"lengths[{i}] must be within 1..{capacity}, not {sizes[i]}")
    if window is not None and window < 0:
        raise ConfigError(f"window must be at least 1, not {window}")
    row_of = np.empty(len(sizes), np.int64)
    return Packing(row_of, kernels.pack(sizes, capacity, window or max(1, len(sizes)), row_of))


@dataclass(frozen=True, slots=True)
class RowRules:
    """The limits of a row.

    Args:
        capacity: Tokens of a row.
        window: Samples that are packed together.
        samples_per_row: Padded mode: this many samples make a row, whatever their lengths.
    """

    capacity: int
    window: int
    samples_per_row: int | None = None

    def rows(self, order: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Return the samples of each row; `lengths` are those of all samples, `order` names the ones to take."""
        if self.samples_per_row is not None:
            return [order[i : i + self.samples_per_row] for i in range(0, len(order), self.samples_per_row)]
        return [order[members] for members in pack_lengths(lengths[order], self.capacity, self.window).rows()]


def epoch_rows(lengths: npt.NDArray[np.int64], seed: int, epoch: int, rules: RowRules) -> list[list[int]]:
    """Return the rows of an epoch, each a list of sample indices: a pure function of its arguments.

    Samples are shuffled, packed window by window, and the rows are shuffled again, since packing sorts them by fill.

    Args:
        lengths: Tokens of each sample, int64 (N,); a sample of length 0 is left out.
        seed: Run seed.
        epoch: Epoch, from 0.
        rules: The limits of a row.
    """
    rng = generator(seed, epoch, _ORDER_PURPOSE)
    rows = rules.rows(rng.permutation(np.flatnonzero(lengths)), lengths)
    return [rows[i].tolist() for i in rng.permutation(len(rows))]


def ordered_rows(lengths: npt.NDArray[np.int64], rules: RowRules) -> list[list[int]]:
    """Return rows without a shuffle, for validation; arguments as `epoch_rows`."""
    return [row.tolist() for row in rules.rows(np.flatnonzero(lengths), lengths)]


def epoch_rows_by_step(
    num_samples: int,
    length_at: Callable[[int, int], int],
    step_of_row: Callable[[int], int],
    seed: int,
    epoch: int,
    rules: RowRules,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[list[int]]:
    """Return the rows of an epoch whose lengths depend on the step that trains on them: a pure function as well.

    The step depends on the rows before it, and those depend on lengths. So samples are packed in parts, with their
    lengths at the first step of the part. A sample that is longer at its own step, and overflows its row, goes to the
    next part.

    Args:
        num_samples: N.
        length_at: Tokens of a sample, 0..N-1, at a step; 0 leaves it out.
        step_of_row: The step that trains on the row at a position; it does not fall.
        seed: Run seed.
        epoch: Epoch, from 0.
        rules: The limits of a row; its window bounds a part.
        track: Wraps the samples on their way, for a progress bar.
    """
    rng = generator(seed, epoch, _ORDER_PURPOSE)
    coming = iter(track(rng.permutation(num_samples).tolist()))
    size = min(rules.window, max(_LEAST_PART, -(-num_samples // _PARTS)))
    lengths = np.zeros(num_samples, np.int64)
    rows: list[list[int]] = []
    late: list[int] = []
    while part := late + list(islice(coming, max(size - len(late), 0))):
        begin = step_of_row(len(rows))
        lengths[part] = [length_at(i, begin) for i in part]
        packed = rules.rows(np.array([i for i in part if lengths[i]], np.int64), lengths)
        late = []
        for at in rng.permutation(len(packed)).tolist():
            step = step_of_row(len(rows))
            if step != begin:
                lengths[packed[at]] = [length_at(i, step) for i in packed[at].tolist()]
            row, over = _fitting(packed[at].tolist(), lengths, rules)
            late += over
            if row:
                rows.append(row)
    return rows


def _fitting(members: list[int], lengths: npt.NDArray[np.int64], rules: RowRules) -> tuple[list[int], list[int]]:
    """Return the samples that fit a row, and the rest. The longest go first, so that little room stays empty."""
    if rules.samples_per_row is not None:
        return [i for i in members if lengths[i]], []
    row, over, room = [], [], rules.capacity
    for i in sorted(members, key=lambda i: (-lengths[i], i)):
        if lengths[i] > room:
            over.append(i)
        elif lengths[i]:
            row.append(i)
            room -= int(lengths[i])
    return row, over
