"""Kernels that need no numba twin without the C++ core: grid shapes and packing in plain Python, close to their rules.

The kernels are `canonicalize` and `pack`, with the signatures of `_core.pyi`. There is no `read_record`: without C++,
msgspec reads records, see `dcap.records.plain`. `without_repeats` serves both backends.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from dcap.kernels import _status as status
from dcap.kernels._types import BOX, I64, LINE, POLYGON, U8, check_types, check_writable

Number = TypeVar("Number", np.float64, np.int64)
Points = list[list[int]]

MAX_GRID: Final = 2**31 - 1
MAX_STARTS: Final = 8
_LEAST_POINTS: Final = np.array([2, 3, 2])

read_record: Final = None
"""The C++ core reads plain records; this backend does not."""


def without_repeats(xy: npt.NDArray[Number], offsets: I64, kinds: U8) -> tuple[npt.NDArray[Number], I64]:
    """Drop points that repeat the one before, then a ring's last point where it repeats the first; boxes stay.

    ::

        polygon   a a b c c a      line   a b b a
        out       a   b c          out    a b   a

    Args:
        xy: Points of all shapes, (P, 2).
        offsets: int64 (N + 1,), where each shape begins; every shape has a point.
        kinds: uint8 (N,).

    Returns:
        Points and offsets; a shape may have too few points now.
    """
    if not len(kinds):
        return xy, offsets
    starts = offsets[:-1]
    keep = np.ones(len(xy), np.bool_)
    keep[1:] = (xy[1:] != xy[:-1]).any(axis=1)
    keep[starts] = True
    boxes = starts[kinds == BOX]
    keep[boxes + 1] = True
    last = np.maximum.reduceat(np.where(keep, np.arange(len(xy)), 0), starts)
    closed = (kinds == POLYGON) & (last > starts) & (xy[last] == xy[starts]).all(axis=1)
    keep[last[closed]] = False
    if keep.all():
        return xy, offsets
    ends = np.zeros_like(offsets)
    np.cumsum(np.add.reduceat(keep.astype(np.int64), starts), out=ends[1:])
    return xy[keep], ends


def canonicalize(
    xy: I64, offsets: I64, kinds: U8, order: I64, span: tuple[int, int], out_xy: I64, out_offsets: I64
) -> int:
    """Write shapes on a grid as an answer has them. See `dcap.answers.codec.canonical_shapes`."""
    check_types((xy, np.int64), (offsets, np.int64), (kinds, np.uint8), (order, np.int64))
    check_types((out_xy, np.int64), (out_offsets, np.int64))
    check_writable(out_xy, out_offsets)
    status.raise_if_failed(_grid_status(xy, offsets, kinds, span))
    points, ends = without_repeats(xy.reshape(-1, 2), offsets, kinds)
    shapes = [points[a:b].tolist() for a, b in pairwise(ends.tolist())]
    room, counts, n = out_xy.reshape(-1)[: out_xy.size // 2 * 2].reshape(-1, 2), np.diff(offsets).tolist(), 0
    if out_offsets.size != len(order) + 1:
        status.raise_if_failed(status.BAD_ARGUMENT)
    out_offsets[0] = 0
    for place, i in enumerate(order.tolist()):
        if not 0 <= i < len(shapes) or counts[i] > len(room) - n:
            status.raise_if_failed(status.BAD_ARGUMENT)
        written = _canonical(int(kinds[i]), shapes[i], span)
        room[n : n + len(written)] = written
        n += len(written)
        out_offsets[place + 1] = n
    return n


def _grid_status(xy: I64, offsets: I64, kinds: U8, span: tuple[int, int]) -> int:
    if len(offsets) != len(kinds) + 1 or offsets[0] != 0 or xy.size % 2 or (kinds > LINE).any():
        return status.BAD_LAYOUT
    counts = np.diff(offsets)
    wrong = (counts < _LEAST_POINTS[kinds]) | ((kinds == BOX) & (counts != 2))
    if wrong.any() or offsets[-1] != xy.size // 2:
        return status.BAD_LAYOUT
    if min(span) < 1 or max(span) > MAX_GRID or (xy < 0).any() or (xy.reshape(-1, 2) > np.array(span)).any():
        return status.BAD_ARGUMENT
    return status.OK


def _canonical(kind: int, points: Points, span: tuple[int, int]) -> Points:
    """Return the points of one shape, without repeats, as they are written."""
    if kind == BOX:
        (x1, y1), (x2, y2) = points
        (x1, x2), (y1, y2) = _widened(x1, x2, span[0]), _widened(y1, y2, span[1])
        return [[x1, y1], [x2, y2]]
    if kind == LINE:
        return points if len(points) > 1 else [points[0], _beside(points[0], 0, span)]
    if len({(x, y) for x, y in points}) < 3:
        points = _triangle(points, span)
    return _from_its_start(points if _doubled_area(points) >= 0 else points[::-1])


def _widened(low: int, high: int, end: int) -> tuple[int, int]:
    if low < high:
        return low, high
    return (low, low + 1) if low < end else (low - 1, low)


def _beside(point: list[int], axis: int, span: tuple[int, int]) -> list[int]:
    moved = list(point)
    moved[axis] += 1 if moved[axis] < span[axis] else -1
    return moved


def _triangle(points: Points, span: tuple[int, int]) -> Points:
    """Return one over one or two distinct points, its third corner across their longer side."""
    a = points[0]
    b = next((point for point in points if point != a), None) or _beside(a, 0, span)
    axis = 1 if abs(b[0] - a[0]) >= abs(b[1] - a[1]) else 0
    return [a, b, _beside(b, axis, span)]


def _doubled_area(points: Points) -> int:
    return sum([x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise([*points, points[0]])])


def _from_its_start(ring: Points) -> Points:
    """Turn a ring to its top-most, then left-most vertex; where it meets that again, to the smallest sequence."""
    first = min((y, x) for x, y in ring)
    starts = [i for i, (x, y) in enumerate(ring) if (y, x) == first]
    if len(starts) == 1 or len(starts) > MAX_STARTS:
        return ring[starts[0] :] + ring[: starts[0]]
    return min(ring[i:] + ring[:i] for i in starts)


def pack(lengths: I64, capacity: int, window: int, out: I64) -> int:
    """Fill `out` (N,) with rows and return their number. See `dcap.data.packing.pack_lengths`."""
    check_types((lengths, np.int64), (out, np.int64))
    check_writable(out)
    if len(out) != len(lengths) or window < 1 or (lengths < 1).any() or (lengths > capacity).any():
        status.raise_if_failed(status.BAD_ARGUMENT)
    num_rows = 0
    for start in range(0, len(lengths), window):
        rows = _best_fit_decreasing(lengths[start : start + window], capacity)
        out[start : start + window] = num_rows + rows
        num_rows += int(rows.max()) + 1
    return num_rows


def _best_fit_decreasing(lengths: I64, capacity: int) -> I64:
    """Return the row of each sample: longest first, each into the row with the least room that holds it."""
    row_of = np.empty(len(lengths), np.int64)
    open_rows: list[tuple[int, int]] = []  # (room left, row), ascending
    num_rows = 0
    for i in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[i])
        at = bisect_left(open_rows, (length, -1))
        if at < len(open_rows):
            room, row = open_rows.pop(at)
        else:
            room, row, num_rows = capacity, num_rows, num_rows + 1
        row_of[i] = row
        insort(open_rows, (room - length, row))
    return row_of
