"""Twin of cpp/src/simplify.cpp: Visvalingam-Whyatt with an indexed heap."""

from __future__ import annotations

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, check_layout, jit
from dcap.kernels._numba.area import even_odd_area, intersection_area, line_length
from dcap.kernels._types import BOX, F64, I64, POLYGON, U8, check_types, check_writable, points_view, read_only


@jit
def _less(area: F64, p: int, q: int) -> bool:
    return area[p] < area[q] or (area[p] == area[q] and p < q)


@jit
def _up(area: F64, items: I64, place: I64, at: int) -> None:
    item = items[at]
    while at > 0 and _less(area, item, items[(at - 1) // 2]):
        items[at] = items[(at - 1) // 2]
        place[items[at]] = at
        at = (at - 1) // 2
    items[at] = item
    place[item] = at


@jit
def _down(area: F64, items: I64, place: I64, size: int, at: int) -> None:
    item = items[at]
    child = 2 * at + 1
    while child < size:
        if child + 1 < size and _less(area, items[child + 1], items[child]):
            child += 1
        if not _less(area, items[child], item):
            break
        items[at] = items[child]
        place[items[at]] = at
        at = child
        child = 2 * at + 1
    items[at] = item
    place[item] = at


@jit
def _triangle(xy: F64, a: int, b: int, c: int) -> float:
    ux, uy = xy[b, 0] - xy[a, 0], xy[b, 1] - xy[a, 1]
    vx, vy = xy[c, 0] - xy[a, 0], xy[c, 1] - xy[a, 1]
    return 0.5 * abs(ux * vy - uy * vx)


@jit
def _choose(xy: F64, ring: bool, target: int, keep: U8) -> None:
    n = len(xy)
    area, items, place = np.zeros(n), np.empty(n, np.int64), np.full(n, -1, np.int64)
    before, after = np.empty(n, np.int64), np.empty(n, np.int64)
    size = 0
    for i in range(n):
        before[i] = n - 1 if i == 0 else i - 1
        after[i] = 0 if i + 1 == n else i + 1
        if not ring and (i == 0 or i + 1 == n):
            continue
        area[i] = _triangle(xy, before[i], i, after[i])
        items[size] = i
        place[i] = size
        size += 1
    for at in range(size // 2 - 1, -1, -1):
        _down(area, items, place, size, at)
    for _ in range(n - target):
        i = items[0]
        keep[i] = 0
        place[i] = -1
        size -= 1
        if size > 0:
            items[0] = items[size]
            place[items[0]] = 0
            _down(area, items, place, size, 0)
        p, q = before[i], after[i]
        after[p] = q
        before[q] = p
        for k in (p, q):
            if place[k] >= 0:
                fresh = _triangle(xy, before[k], k, after[k])
                area[k] = fresh if fresh > area[i] else area[i]
                _up(area, items, place, place[k])
                _down(area, items, place, size, place[k])


@jit
def _rate(xy: F64, ring: bool, keep: U8) -> tuple[int, float]:
    kept = xy[keep != 0]
    if not ring:
        whole = line_length(xy)
        return status.OK, min(line_length(kept) / whole, 1.0) if whole > 0.0 else 1.0
    code, whole = even_odd_area(xy)
    if code != status.OK:
        return code, 0.0
    code, less = even_odd_area(kept)
    if code != status.OK:
        return code, 0.0
    code, both = intersection_area(xy, np.int64(0), kept, len(xy))
    either = whole + less - both
    return code, min(both / either, 1.0) if either > 0.0 else 1.0


@jit
def _simplify(xy: F64, offsets: I64, kinds: U8, max_points: int, keep: U8, score: F64) -> int:
    code = check_layout(xy, offsets, kinds)
    if code != status.OK:
        return code
    if len(keep) != len(xy) or len(score) != len(kinds):
        return status.BAD_ARGUMENT
    for i in range(len(keep)):
        keep[i] = 1
    for i in range(len(kinds)):
        points = xy[offsets[i] : offsets[i + 1]].copy()
        if not bounds_of(points)[4]:
            return status.NOT_FINITE
        ring = kinds[i] == POLYGON
        target = max(max_points, 3 if ring else 2)
        score[i] = 1.0
        if kinds[i] == BOX or len(points) <= target:
            continue
        chosen = keep[offsets[i] : offsets[i + 1]]
        _choose(points, ring, target, chosen)
        code, score[i] = _rate(points, ring, chosen)
        if code != status.OK:
            return code
    return status.OK


def simplify(xy: F64, offsets: I64, kinds: U8, max_points: int, out_keep: U8, out_score: F64) -> None:
    """Fill `out_keep` (P,) and `out_score` (N,). See `dcap.geometry.simplify`."""
    check_types((xy, np.float64), (offsets, np.int64), (kinds, np.uint8))
    check_types((out_keep, np.uint8), (out_score, np.float64))
    check_writable(out_keep, out_score)
    points = points_view(xy)
    status.raise_if_failed(_simplify(points, read_only(offsets), read_only(kinds), max_points, out_keep, out_score))
