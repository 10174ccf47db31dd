"""Best-fit-decreasing in plain Python: what the kernel must give, and what the benchmark compares it with."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


def pack_plainly(sizes: I64, capacity: int, window: int) -> tuple[I64, int]:
    """The row of every sample and the number of rows; windows are packed apart."""
    row_of = np.empty(len(sizes), np.int64)
    num_rows = 0
    for start in range(0, len(sizes), window):
        local = best_fit_decreasing(sizes[start : start + window], capacity)
        row_of[start : start + window] = local + num_rows
        num_rows += int(local.max()) + 1
    return row_of, num_rows


def best_fit_decreasing(sizes: I64, capacity: int) -> I64:
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
