"""Twin of cpp/src/area.cpp: even-odd areas of rings, lengths of lines.

Arguments go through np.int64 and np.bool_ where a literal would make numba compile another copy of the callee.
"""

from __future__ import annotations

import math

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, check_layout, copy_points, jit
from dcap.kernels._numba.crossings import contains, find_crossings, is_star_shaped
from dcap.kernels._numba.marks import in_order, mark_order, put_mark
from dcap.kernels._types import BOX, F64, I64, LINE, U8, check_types, check_writable, points_view, read_only


@jit
def shoelace(xy: F64) -> float:
    """Return twice the signed area, relative to the first vertex."""
    ox, oy = xy[0, 0], xy[0, 1]
    px, py = xy[1, 0] - ox, xy[1, 1] - oy
    even = odd = 0.0
    for i in range(2, len(xy)):
        qx, qy = xy[i, 0] - ox, xy[i, 1] - oy
        term = px * qy - py * qx
        if i % 2 == 0:
            even += term
        else:
            odd += term
        px, py = qx, qy
    return even + odd


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
    return find_crossings(ring, np.int64(0), ring, np.int64(0), np.bool_(True))


@jit
def _marks(
    points: F64,
    starts: I64,
    ring: int,
    own_count: int,
    own_edges: I64,
    own_points: F64,
    count: int,
    edges: I64,
    crossings: F64,
    column: int,
) -> tuple[I64, F64]:
    """Return the crossings of a ring, with itself and with the other one, in their order along it; see `marks`."""
    n = 2 * own_count + count
    where, values = np.empty((n, 3), np.int64), np.empty((n, 4))
    for k in range(own_count):
        for side in range(2):
            i, j, at = own_edges[k, side], own_edges[k, 1 - side], 2 * k + side
            put_mark(points, starts, ring, i, ring, j, own_points[k], where[at], values[at])
    for k in range(count):
        i, j, at = edges[k, column], edges[k, 1 - column], 2 * own_count + k
        put_mark(points, starts, ring, i, 1 - ring, j, crossings[k], where[at], values[at])
    order = mark_order(points, starts, ring, np.bool_(False), where, values)
    return in_order(order, where, values)


@jit
def _walk(ring: F64, self: int, where: I64, values: F64, inside: bool, ox: float, oy: float) -> tuple[float, float]:
    """Return twice the even-odd area, and twice its boundary's part inside the other ring."""
    side, whole, shared = 1.0, 0.0, 0.0
    at = 0
    n = len(ring)
    for i in range(n):
        px, py = ring[i, 0] - ox, ring[i, 1] - oy
        while at < len(where) and where[at, 0] == i:
            qx, qy = values[at, 2] - ox, values[at, 3] - oy
            term = side * (px * qy - py * qx)
            whole += term
            shared += term if inside else 0.0
            if where[at, 1] == self:
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
    starts = np.array([np.int64(0), len(ring)])
    where, values = _marks(ring, starts, np.int64(0), count, edges, points, np.int64(0), edges, points, np.int64(0))
    whole, _ = _walk(ring, np.int64(0), where, values, np.bool_(False), ring[0, 0], ring[0, 1])
    return status.OK, 0.5 * whole


@jit
def intersection_area(a: F64, base_a: int, b: F64, base_b: int) -> tuple[int, float]:
    """Return status and the area inside both rings; one of the bases is 0, the other the length of the other ring."""
    code, count_a, edges_a, points_a = own_crossings(a)
    if code != status.OK:
        return code, 0.0
    code, count_b, edges_b, points_b = own_crossings(b)
    if code != status.OK:
        return code, 0.0
    code, count, edges, points = find_crossings(a, base_a, b, base_b, np.bool_(False))
    if code != status.OK:
        return code, 0.0
    both, starts = np.empty((len(a) + len(b), 2)), np.array([np.int64(0), max(base_a, base_b), len(a) + len(b)])
    copy_points(a, both, base_a)
    copy_points(b, both, base_b)
    ring_a = np.int64(base_a > base_b)
    ring_b = 1 - ring_a
    where_a, values_a = _marks(both, starts, ring_a, count_a, edges_a, points_a, count, edges, points, np.int64(0))
    where_b, values_b = _marks(both, starts, ring_b, count_b, edges_b, points_b, count, edges, points, np.int64(1))
    ox, oy = b[0, 0], b[0, 1]
    _, shared_a = _walk(a, ring_a, where_a, values_a, contains(b, base_b, a[0, 0], a[0, 1], base_a), ox, oy)
    _, shared_b = _walk(b, ring_b, where_b, values_b, contains(a, base_a, b[0, 0], b[0, 1], base_b), ox, oy)
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
