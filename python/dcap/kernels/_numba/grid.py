"""Twin of cpp/src/grid.cpp."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._types import BOX, I64, LINE, POLYGON, U8, check_layout, check_types, check_writable, jit, read_only

MAX_GRID: Final = 2**31 - 1
MAX_STARTS: Final = 8
FIRST: Final[Any] = np.int64(0)  # for a literal numba would compile another copy of the callee


def canonicalize(
    xy: I64, offsets: I64, kinds: U8, order: I64, span: tuple[int, int], out_xy: I64, out_offsets: I64
) -> int:
    """Write shapes on a grid as an answer has them. See `dcap.answers.grid.canonical_shapes`."""
    check_types((xy, np.int64), (offsets, np.int64), (kinds, np.uint8), (order, np.int64))
    check_types((out_xy, np.int64), (out_offsets, np.int64))
    check_writable(out_xy, out_offsets)
    if xy.size % 2:
        status.raise_if_failed(status.BAD_LAYOUT)
    points, room = read_only(xy).reshape(-1, 2), out_xy.reshape(-1)[: out_xy.size // 2 * 2].reshape(-1, 2)
    code, num_points = _canonicalize(
        *(points, read_only(offsets).reshape(-1), read_only(kinds).reshape(-1), read_only(order).reshape(-1)),
        *(np.array(span, np.int64), room, out_offsets.reshape(-1)),
    )
    status.raise_if_failed(code)
    return int(num_points)


@jit
def _canonicalize(
    xy: I64, offsets: I64, kinds: U8, order: I64, span: I64, out_xy: I64, out_offsets: I64
) -> tuple[int, int]:
    code = check_layout(xy, offsets, kinds)
    if code != status.OK:
        return code, 0
    if min(span[0], span[1]) < 1 or max(span[0], span[1]) > MAX_GRID or len(out_offsets) != len(order) + 1:
        return status.BAD_ARGUMENT, 0
    for k in range(len(xy)):
        if xy[k, 0] < 0 or xy[k, 0] > span[0] or xy[k, 1] < 0 or xy[k, 1] > span[1]:
            return status.BAD_ARGUMENT, 0
    n = 0
    out_offsets[0] = 0
    for place in range(len(order)):
        i = order[place]
        if i < 0 or i >= len(kinds):
            return status.BAD_ARGUMENT, 0
        first, count = offsets[i], offsets[i + 1] - offsets[i]
        if count > len(out_xy) - n:
            return status.BAD_ARGUMENT, 0
        for k in range(count):
            out_xy[n + k, 0], out_xy[n + k, 1] = xy[first + k, 0], xy[first + k, 1]
        n += _canonical(out_xy[n : n + count], kinds[i], span)
        out_offsets[place + 1] = n
    return status.OK, n


@jit
def _canonical(p: I64, kind: int, span: I64) -> int:
    """Change the points of one shape in place, and return how many there are now."""
    if kind == BOX:
        for axis in range(2):
            if p[0, axis] >= p[1, axis]:
                low = p[0, axis]
                p[0, axis] = low if low < span[axis] else low - 1
                p[1, axis] = p[0, axis] + 1
        return 2
    n = _drop_repeats(p, kind == POLYGON)
    if kind == LINE:
        if n == 1:
            x, y = _beside(p[0, 0], p[0, 1], FIRST, span)
            p[1, 0], p[1, 1] = x, y
        return max(n, 2)
    n = _widen(p, n, span)
    if _runs_backwards(p[:n]):
        _reverse(p, FIRST, n)
    start = _start_of(p[:n])
    _reverse(p, FIRST, start)
    _reverse(p, start, n)
    _reverse(p, FIRST, n)
    return n


@jit
def _same(p: I64, i: int, j: int) -> bool:
    return p[i, 0] == p[j, 0] and p[i, 1] == p[j, 1]


@jit
def _reverse(p: I64, first: int, last: int) -> None:
    last -= 1
    while first < last:
        x, y = p[first, 0], p[first, 1]
        p[first, 0], p[first, 1] = p[last, 0], p[last, 1]
        p[last, 0], p[last, 1] = x, y
        first += 1
        last -= 1


@jit
def _beside(x: int, y: int, axis: int, span: I64) -> tuple[int, int]:
    if axis == 0:
        return x + (1 if x < span[0] else -1), y
    return x, y + (1 if y < span[1] else -1)


@jit
def _drop_repeats(p: I64, closed: bool) -> int:
    n = FIRST + 1
    for i in range(1, len(p)):
        if not _same(p, i, n - 1):
            p[n, 0], p[n, 1] = p[i, 0], p[i, 1]
            n += 1
    return n - 1 if closed and n > 1 and _same(p, FIRST, n - 1) else n


@jit
def _widen(p: I64, n: int, span: I64) -> int:
    """Make a triangle over one or two distinct points, its third corner across their longer side."""
    second = FIRST
    for i in range(1, n):
        if _same(p, i, FIRST):
            continue
        if second == 0:
            second = i
        if not _same(p, i, second):
            return n
    x, y = (p[second, 0], p[second, 1]) if second else _beside(p[0, 0], p[0, 1], FIRST, span)
    wide = abs(x - p[0, 0]) >= abs(y - p[0, 1])
    corner = _beside(x, y, np.int64(wide), span)
    p[1, 0], p[1, 1] = x, y
    p[2, 0], p[2, 1] = corner[0], corner[1]
    return 3


@jit
def _runs_backwards(p: I64) -> bool:
    high = low = 0
    for i in range(len(p)):
        j = i + 1 if i + 1 < len(p) else 0
        term = p[i, 0] * p[j, 1] - p[j, 0] * p[i, 1]
        high += term >> 32
        low += term & 0xFFFFFFFF
    return high + (low >> 32) < 0


@jit
def _reads_smaller(p: I64, i: int, j: int) -> bool:
    for _ in range(len(p)):
        if not _same(p, i, j):
            return p[i, 0] < p[j, 0] or (p[i, 0] == p[j, 0] and p[i, 1] < p[j, 1])
        i = i + 1 if i + 1 < len(p) else 0
        j = j + 1 if j + 1 < len(p) else 0
    return False


@jit
def _start_of(p: I64) -> int:
    first, num_starts = FIRST, 0
    for i in range(1, len(p)):
        if p[i, 1] < p[first, 1] or (p[i, 1] == p[first, 1] and p[i, 0] < p[first, 0]):
            first = i
    for i in range(first, len(p)):
        num_starts += _same(p, i, first)
    if num_starts == 1 or num_starts > MAX_STARTS:
        return first
    best = first
    for i in range(first + 1, len(p)):
        if _same(p, i, first) and _reads_smaller(p, i, best):
            best = i
    return best
