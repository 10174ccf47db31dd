"""Twin of cpp/src/marks.cpp: the crossings of a ring, in their order along it.

The rings of one question follow each other in `points`; ring `r` owns the rows from starts[r] to starts[r + 1], whose
numbers break ties. A mark is a row of `where`: edge, other ring (or this one where it crosses itself) and the edge of
that one; and a row of `values`: position along the edge, how far off it may be, x, y.
"""

from __future__ import annotations

import numpy as np

from dcap.kernels._numba._shared import jit, sort_order
from dcap.kernels._numba.predicates import crosses_before
from dcap.kernels._types import F64, I64


@jit
def put_mark(
    points: F64, starts: I64, ring: int, edge: int, other: int, other_edge: int, crossing: F64, where: I64, values: F64
) -> None:
    """Fill one mark, a row of `where` and of `values`, from a crossing: x, y and how far off it may be."""
    first, n = starts[ring], starts[ring + 1] - starts[ring]
    j = 0 if edge + 1 == n else edge + 1
    px, py, qx, qy = points[first + edge, 0], points[first + edge, 1], points[first + j, 0], points[first + j, 1]
    dx, dy = qx - px, qy - py
    x, y = crossing[0], crossing[1]
    where[0], where[1], where[2] = edge, other, other_edge
    values[0] = (x - px) * dx + (y - py) * dy
    values[1] = (abs(dx) + abs(dy)) * crossing[2]
    values[2], values[3] = x, y


@jit
def _highest(mark: F64) -> float:
    """Return where a mark may be at most; anywhere on an edge without length, where that is not a number."""
    high = mark[0] + mark[1]
    return high if high == high else np.inf


@jit
def _lowest_from(where: I64, values: F64, order: I64) -> F64:
    """Return for each mark the lowest place of all from it to the last one of its edge."""
    lows = np.empty(len(order))
    for k in range(len(order) - 1, -1, -1):
        mark = order[k]
        low = values[mark, 0] - values[mark, 1]
        lows[k] = low if low == low else -np.inf
        if k + 1 < len(order) and where[order[k + 1], 0] == where[mark, 0] and lows[k + 1] < lows[k]:
            lows[k] = lows[k + 1]
    return lows


@jit
def _at_one_point(values: F64, i: int, j: int) -> bool:
    return values[i, 2] == values[j, 2] and values[i, 3] == values[j, 3]


@jit
def _put_edge(points: F64, starts: I64, ring: int, edge: int, out: F64, index: I64, at: int) -> None:
    first, n = starts[ring], starts[ring + 1] - starts[ring]
    index[at], index[at + 1] = first + edge, first + (0 if edge + 1 == n else edge + 1)
    for k in range(2):
        out[at + k, 0], out[at + k, 1] = points[index[at + k], 0], points[index[at + k], 1]


@jit
def _is_before(points: F64, starts: I64, ring: int, where: I64, values: F64, i: int, j: int) -> bool:
    if values[i, 0] + values[i, 1] < values[j, 0] - values[j, 1]:
        return True
    if values[j, 0] + values[j, 1] < values[i, 0] - values[i, 1]:
        return False
    six, index = np.empty((6, 2)), np.empty(6, np.int64)
    _put_edge(points, starts, ring, where[i, 0], six, index, 0)
    _put_edge(points, starts, where[i, 1], where[i, 2], six, index, 2)
    _put_edge(points, starts, where[j, 1], where[j, 2], six, index, 4)
    return crosses_before(six, index)


@jit
def _merge_sort(points: F64, starts: I64, ring: int, where: I64, values: F64, order: I64) -> None:
    n = len(order)
    source, target = order.copy(), np.empty(n, np.int64)
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            i, j = start, middle
            for at in range(start, end):
                left = i < middle
                if left and j < end:
                    left = not _is_before(points, starts, ring, where, values, source[j], source[i])
                if left:
                    target[at] = source[i]
                    i += 1
                else:
                    target[at] = source[j]
                    j += 1
        source, target = target, source
        width *= 2
    for k in range(n):
        order[k] = source[k]


@jit
def mark_order(points: F64, starts: I64, ring: int, exact: bool, where: I64, values: F64) -> I64:
    """Return the order in which the marks of a ring follow each other along it.

    It is exact, so that the order along one edge agrees with that along every other one; between marks in one and the
    same point it is any, unless `exact`.
    """
    edges = np.empty(len(where))
    for k in range(len(where)):
        edges[k] = where[k, 0]
    order = sort_order(edges, values[:, 0].copy())
    # Positions alone leave open how the marks between two gaps follow each other.
    lows = _lowest_from(where, values, order)
    first = 0
    while first < len(order):
        high = _highest(values[order[first]])
        doubtful = False
        last = first + 1
        while last < len(order) and where[order[last], 0] == where[order[first], 0] and not lows[last] > high:
            doubtful = doubtful or exact or not _at_one_point(values, order[last - 1], order[last])
            high = max(high, _highest(values[order[last]]))
            last += 1
        if doubtful:
            _merge_sort(points, starts, ring, where, values, order[first:last])
        first = last
    return order


@jit
def in_order(order: I64, where: I64, values: F64) -> tuple[I64, F64]:
    """Return marks in this order; much cheaper to compile than indexing by an array."""
    new_where, new_values = np.empty((len(order), 3), np.int64), np.empty((len(order), 4))
    for k in range(len(order)):
        for column in range(3):
            new_where[k, column] = where[order[k], column]
        for column in range(4):
            new_values[k, column] = values[order[k], column]
    return new_where, new_values
