"""Twin of cpp/src/hull.cpp: rectangles of least area around shapes."""

from __future__ import annotations

import math

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, check_layout, copy_points, four_corners, jit, sort_order
from dcap.kernels._types import BOX, F64, I64, U8, check_types, check_writable, points_view, read_only


@jit
def _extend(hull: F64, base: int, size: int, x: float, y: float) -> int:
    while size >= base + 2:
        ax, ay, bx, by = hull[size - 2, 0], hull[size - 2, 1], hull[size - 1, 0], hull[size - 1, 1]
        if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0.0:
            break
        size -= 1
    hull[size, 0], hull[size, 1] = x, y
    return size + 1


@jit
def _convex_hull(xy: F64) -> F64:
    n = len(xy)
    order = sort_order(xy[:, 0].copy(), xy[:, 1].copy())
    hull = np.empty((2 * n + 2, 2))
    size = 0
    for k in range(n):
        size = _extend(hull, 0, size, xy[order[k], 0], xy[order[k], 1])
    base = size - 1
    for k in range(n - 2, -1, -1):
        size = _extend(hull, base, size, xy[order[k], 0], xy[order[k], 1])
    while size > 1 and hull[size - 1, 0] == hull[0, 0] and hull[size - 1, 1] == hull[0, 1]:
        size -= 1
    return hull[:size]


@jit
def _advance(hull: F64, at: int, dx: float, dy: float) -> int:
    n = len(hull)
    for _ in range(n):
        after = 0 if at + 1 == n else at + 1
        if dx * hull[after, 0] + dy * hull[after, 1] < dx * hull[at, 0] + dy * hull[at, 1]:
            break
        at = after
    return at


@jit
def _least_rectangle(hull: F64, out: F64) -> None:
    best = -1.0
    right = far = left = 0
    n = len(hull)
    for i in range(n):
        j = 0 if i + 1 == n else i + 1
        ux, uy = hull[j, 0] - hull[i, 0], hull[j, 1] - hull[i, 1]
        length = math.sqrt(ux * ux + uy * uy)
        if not length > 0.0:
            continue
        ux, uy = ux / length, uy / length
        right = _advance(hull, i if best < 0.0 else right, ux, uy)
        far = _advance(hull, right if best < 0.0 else far, -uy, ux)
        left = _advance(hull, far if best < 0.0 else left, -ux, -uy)
        u1 = ux * hull[left, 0] + uy * hull[left, 1]
        u2 = ux * hull[right, 0] + uy * hull[right, 1]
        v1 = ux * hull[i, 1] - uy * hull[i, 0]
        v2 = ux * hull[far, 1] - uy * hull[far, 0]
        area = (u2 - u1) * (v2 - v1)
        if best >= 0.0 and not area < best:
            continue
        best = area
        for k in range(4):
            u = u2 if k in (1, 2) else u1
            v = v2 if k >= 2 else v1
            out[k, 0] = u * ux - v * uy
            out[k, 1] = u * uy + v * ux


@jit
def _start_at_top_left(c: F64) -> None:
    first = 0
    for k in range(1, 4):
        if c[k, 1] < c[first, 1] or (c[k, 1] == c[first, 1] and c[k, 0] < c[first, 0]):
            first = k
    turned = np.empty((4, 2))
    for k in range(4):
        turned[k, 0], turned[k, 1] = c[(first + k) % 4, 0], c[(first + k) % 4, 1]
    copy_points(turned, c, 0)


@jit
def _min_area_rect(xy: F64, offsets: I64, kinds: U8, out: F64) -> int:
    code = check_layout(xy, offsets, kinds)
    if code != status.OK:
        return code
    if len(out) != len(kinds):
        return status.BAD_ARGUMENT
    for i in range(len(kinds)):
        points = xy[offsets[i] : offsets[i + 1]].copy()
        x1, y1, x2, y2, legal = bounds_of(points)
        if not legal:
            return status.NOT_FINITE
        if kinds[i] == BOX:
            points = four_corners(x1, y1, x2, y2)
        hull = _convex_hull(points)
        c = out[i]
        if len(hull) >= 3:
            _least_rectangle(hull, c)
        else:
            last = len(hull) - 1
            for k in range(4):
                end = last if k in (1, 2) else 0
                c[k, 0], c[k, 1] = hull[end, 0], hull[end, 1]
        _start_at_top_left(c)
    return status.OK


def min_area_rect(xy: F64, offsets: I64, kinds: U8, out: F64) -> None:
    """Fill `out` (N, 4, 2) with corners. See `dcap.geometry.min_area_rect`."""
    check_types((xy, np.float64), (offsets, np.int64), (kinds, np.uint8), (out, np.float64))
    check_writable(out)
    if out.size % 8:
        status.raise_if_failed(status.BAD_ARGUMENT)
    corners = out.reshape(-1, 4, 2)
    status.raise_if_failed(_min_area_rect(points_view(xy), read_only(offsets), read_only(kinds), corners))
