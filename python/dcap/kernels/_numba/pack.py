"""Twin of cpp/src/pack.cpp."""

from __future__ import annotations

from typing import Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._sorting import sort_order
from dcap.kernels._types import I64, check_types, check_writable, jit, read_only

NONE: Final = -1


@jit
def _bit_width(value: int) -> int:
    width = 0
    while value >> width:
        width += 1
    return width


@jit
def _sort_longest_first(lengths: I64, longest: int, shift: int, table: I64) -> I64:
    """Return the order, and fill `table`: entry v is the first place of a gap with upper bits v."""
    n = len(lengths)
    for length in lengths:
        table[((longest - length) >> shift) + 2] += 1
    for v in range(1, len(table)):
        table[v] += table[v - 1]
    order = np.empty(n, np.int64)
    for i in range(n):
        v = ((longest - lengths[i]) >> shift) + 1
        order[table[v]] = i
        table[v] += 1
    # C++ sorts within each entry instead, which gives the same order.
    return order if shift == 0 else sort_order(longest - lengths, lengths)


@jit
def _held_by(gap: int, shift: int, lengths: I64, longest: int, order: I64, table: I64) -> int:
    low, high = table[gap >> shift], table[(gap >> shift) + 1]
    if shift == 0:
        return low
    while low < high:
        middle = (low + high) >> 1
        if longest - lengths[order[middle]] < gap:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def _join(a: int, b: int, room: I64, child: I64, after: I64) -> int:
    if a == NONE:
        return b
    if room[b] < room[a] or (room[b] == room[a] and b < a):
        a, b = b, a
    after[b] = child[a]
    child[a] = b
    return a


@jit
def _without_root(root: int, room: I64, child: I64, after: I64) -> int:
    pairs = heap = NONE
    a = child[root]
    while a != NONE:
        b = after[a]
        pair, a = a, NONE
        if b != NONE:
            a = after[b]
            pair = _join(pair, b, room, child, after)
        after[pair] = pairs
        pairs = pair
    while pairs != NONE:
        pair = pairs
        pairs = after[pair]
        heap = _join(heap, pair, room, child, after)
    return heap


@jit
def _pack_window(lengths: I64, capacity: int, first_row: int, row_of: I64) -> int:
    n = len(lengths)
    shortest, longest = lengths.min(), lengths.max()
    shift = max(0, _bit_width(longest - shortest) - _bit_width(n))
    table = np.zeros(((longest - shortest) >> shift) + 3, np.int64)
    order = _sort_longest_first(lengths, longest, shift, table)
    coming, opened = np.full(n, NONE), np.empty(n, np.int64)
    room, child, after = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    num_rows = num_open = i = 0
    while i < n:
        length = lengths[order[i]]
        if coming[i] != NONE:
            opened[num_open] = coming[i]
            num_open += 1
        same = True
        while same:
            at = num_rows
            if num_open > 0:
                num_open -= 1
                at = opened[num_open]
                rest = _without_root(at, room, child, after)
                if rest != NONE:
                    opened[num_open] = rest
                    num_open += 1
            else:
                room[at] = capacity
                num_rows += 1
            child[at] = after[at] = NONE
            while same and room[at] >= length:
                row_of[order[i]] = first_row + at
                room[at] -= length
                i += 1
                same = i < n and lengths[order[i]] == length
            if room[at] >= length:
                opened[num_open] = at
                num_open += 1
            elif room[at] >= shortest:
                held = _held_by(longest - room[at], shift, lengths, longest, order, table)
                coming[held] = _join(coming[held], at, room, child, after)
    return num_rows


@jit
def _pack(lengths: I64, capacity: int, window: int, row_of: I64) -> tuple[int, int]:
    n = len(lengths)
    if len(row_of) != n or window < 1:
        return status.BAD_ARGUMENT, 0
    for length in lengths:
        if length < 1 or length > capacity:
            return status.BAD_ARGUMENT, 0
    num_rows = start = 0
    while start < n:
        end = start + min(window, n - start)
        num_rows += _pack_window(lengths[start:end], capacity, num_rows, row_of[start:end])
        start = end
    return status.OK, num_rows


def pack(lengths: I64, capacity: int, window: int, out: I64) -> int:
    """Fill `out` (N,) with rows and return their number. See `dcap.data.packing.pack_lengths`."""
    check_types((lengths, np.int64), (out, np.int64))
    check_writable(out)
    code, num_rows = _pack(read_only(lengths).reshape(-1), capacity, window, out.reshape(-1))
    status.raise_if_failed(code)
    return int(num_rows)
