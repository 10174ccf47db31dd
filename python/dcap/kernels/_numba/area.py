"""Twin of cpp/src/area.cpp: even-odd areas of rings, lengths of lines."""

from __future__ import annotations

import math

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._types import (
    BOX,
    F64,
    I64,
    LINE,
    U8,
    bounds_of,
    check_layout,
    check_types,
    check_writable,
    jit,
    points_view,
    read_only,
)
from dcap.kernels._numba.crossings import contains, find_crossings, is_star_shaped


@jit
def shoelace(xy: F64) -> float:
    """Return twice the signed area, relative to the first vertex."""
    ox, oy = xy[0, 0], xy[0, 1]
    px, py = xy[1, 0] - ox, xy[1, 1] - oy
    total = 0.0
    for i in range(2, len(xy)):
        qx, qy = xy[i, 0] - ox, xy[i, 1] - oy
        total += px * qy - py * qx
        px, py = qx, qy
    return total


@jit
def line_length(xy: F64) -> float:
    """Return the length of a polyline."""
    total = 0.0
    for i in range(1, len(xy)):
        dx, dy = xy[i, 0] - xy[i - 1, 0], xy[i, 1] - xy[i - 1, 1]
        total += math.sqrt(dx * dx + dy * dy)
    return total


@jit
def own_crossings(ring: F64) -> tuple[int, int, I64, F64]:
    """Return status, count, edges and points of the ring's crossings with itself."""
    if len(ring) < 4 or is_star_shaped(ring):
        return status.OK, 0, np.empty((0, 2), np.int64), np.empty((0, 2))
    return find_crossings(ring, 0, ring, 0, True)


@jit
def _put_mark(
    ring: F64, edge: int, other: int, x: float, y: float, own: bool, ids: I64, values: F64, at: int
) -> None:
    j = 0 if edge + 1 == len(ring) else edge + 1
    ids[at, 0], ids[at, 1], ids[at, 2] = edge, other, own
    values[at, 0] = (x - ring[edge, 0]) * (ring[j, 0] - ring[edge, 0]) + (y - ring[edge, 1]) * (
        ring[j, 1] - ring[edge, 1]
    )
    values[at, 1], values[at, 2] = x, y


@jit
def _sorted_marks(ids: I64, values: F64) -> tuple[I64, F64]:
    order = np.argsort(ids[:, 1], kind="mergesort")
    order = order[np.argsort(values[order, 0], kind="mergesort")]
    order = order[np.argsort(ids[order, 0], kind="mergesort")]
    return ids[order], values[order]


@jit
def _marks(
    ring: F64, own_count: int, own_edges: I64, own_points: F64, count: int, edges: I64, points: F64, column: int
) -> tuple[I64, F64]:
    """Collect the crossings of one ring, with itself and with the other one, in their order along it."""
    ids, values = np.empty((2 * own_count + count, 3), np.int64), np.empty((2 * own_count + count, 3))
    for k in range(own_count):
        i, j, x, y = own_edges[k, 0], own_edges[k, 1], own_points[k, 0], own_points[k, 1]
        _put_mark(ring, i, j, x, y, True, ids, values, 2 * k)
        _put_mark(ring, j, i, x, y, True, ids, values, 2 * k + 1)
    for k in range(count):
        edge, other = edges[k, column], len(ring) + edges[k, 1 - column]
        _put_mark(ring, edge, other, points[k, 0], points[k, 1], False, ids, values, 2 * own_count + k)
    return _sorted_marks(ids, values)


@jit
def _walk(ring: F64, ids: I64, values: F64, inside: bool, ox: float, oy: float) -> tuple[float, float]:
    """Return twice the even-odd area, and twice its boundary's part inside the other ring."""
    side, whole, shared = 1.0, 0.0, 0.0
    at = 0
    n = len(ring)
    for i in range(n):
        px, py = ring[i, 0] - ox, ring[i, 1] - oy
        while at < len(ids) and ids[at, 0] == i:
            qx, qy = values[at, 1] - ox, values[at, 2] - oy
            term = side * (px * qy - py * qx)
            whole += term
            shared += term if inside else 0.0
            if ids[at, 2] != 0:
                side = -side
            else:
                inside = not inside
            px, py = qx, qy
            at += 1
        j = 0 if i + 1 == n else i + 1
        term = side * (px * (ring[j, 1] - oy) - py * (ring[j, 0] - ox))
        whole += term
        shared += term if inside else 0.0
    if whole < 0.0:
        return -whole, -shared
    return whole, shared


@jit
def even_odd_area(ring: F64) -> tuple[int, float]:
    """Return status and the area inside the ring by the even-odd rule."""
    code, count, edges, points = own_crossings(ring)
    if code != status.OK:
        return code, 0.0
    if count == 0:
        return code, 0.5 * abs(shoelace(ring))
    ids, values = _marks(ring, count, edges, points, 0, edges, points, 0)
    whole, _ = _walk(ring, ids, values, False, ring[0, 0], ring[0, 1])
    return status.OK, 0.5 * whole


@jit
def intersection_area(a: F64, base_a: int, b: F64, base_b: int) -> tuple[int, float]:
    """Return status and the area inside both rings."""
    code, count_a, edges_a, points_a = own_crossings(a)
    if code != status.OK:
        return code, 0.0
    code, count_b, edges_b, points_b = own_crossings(b)
    if code != status.OK:
        return code, 0.0
    code, count, edges, points = find_crossings(a, base_a, b, base_b, False)
    if code != status.OK:
        return code, 0.0
    ids_a, values_a = _marks(a, count_a, edges_a, points_a, count, edges, points, 0)
    ids_b, values_b = _marks(b, count_b, edges_b, points_b, count, edges, points, 1)
    ox, oy = a[0, 0], a[0, 1]
    _, shared_a = _walk(a, ids_a, values_a, contains(b, base_b, a[0, 0], a[0, 1], base_a), ox, oy)
    _, shared_b = _walk(b, ids_b, values_b, contains(a, base_a, b[0, 0], b[0, 1], base_b), ox, oy)
    twice = shared_a + shared_b
    return status.OK, 0.5 * (twice if twice > 0.0 else 0.0)


@jit
def _area_or_length(xy: F64, offsets: I64, kinds: U8, out: F64) -> int:
    code = check_layout(xy, offsets, kinds)
    if code != status.OK:
        return code
    if len(out) != len(kinds):
        return status.BAD_ARGUMENT
    for i in range(len(kinds)):
        points = xy[offsets[i] : offsets[i + 1]].copy()
        if not bounds_of(points)[4]:
            return status.NOT_FINITE
        if kinds[i] == BOX:
            out[i] = abs((points[1, 0] - points[0, 0]) * (points[1, 1] - points[0, 1]))
        elif kinds[i] == LINE:
            out[i] = line_length(points)
        else:
            code, out[i] = even_odd_area(points)
            if code != status.OK:
                return code
    return status.OK


def area_or_length(xy: F64, offsets: I64, kinds: U8, out: F64) -> None:
    """Fill `out` (N,) with areas and lengths. See `dcap.geometry.area_or_length`."""
    check_types((xy, np.float64), (offsets, np.int64), (kinds, np.uint8), (out, np.float64))
    check_writable(out)
    points = points_view(xy)
    status.raise_if_failed(_area_or_length(points, read_only(offsets), read_only(kinds), out.reshape(-1)))
