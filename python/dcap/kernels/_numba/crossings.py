"""Twin of cpp/src/crossings.cpp: where the edges of rings cross, decided exactly.

Ties are broken as in `predicates`, so two edges either cross properly or not at all.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, jit
from dcap.kernels._numba.predicates import orientation
from dcap.kernels._types import F64, I64

LEAF: Final = 4
MAX_LEVELS: Final = 48
MAX_CROSSINGS: Final = 4_000_000
BASE_WORK: Final = 100_000_000
WORK_PER_EDGE: Final = 64
LOST: Final = 2e-15


@jit
def contains(ring: F64, base: int, x: float, y: float, index: int) -> bool:
    """Return whether point number `index` is inside by the even-odd rule."""
    inside = False
    n = len(ring)
    for i in range(n):
        j = 0 if i + 1 == n else i + 1
        p_above = ring[i, 1] > y or (ring[i, 1] == y and base + i < index)
        q_above = ring[j, 1] > y or (ring[j, 1] == y and base + j < index)
        if p_above == q_above:
            continue
        side = orientation(ring[i, 0], ring[i, 1], base + i, ring[j, 0], ring[j, 1], base + j, x, y, index)
        inside ^= side > 0 if q_above else side < 0
    return inside


@jit
def is_star_shaped(xy: F64) -> bool:
    """Prove cheaply that a ring does not cross itself: it is star-shaped about the middle of its bounds."""
    n = len(xy)
    x1, y1, x2, y2, _ = bounds_of(xy)
    cx, cy = 0.5 * (x1 + x2), 0.5 * (y1 + y2)
    # Far above what the differences and products below can lose by rounding.
    margin = 1e-14 * (x2 - x1) * (y2 - y1)
    px, py = xy[n - 1, 0] - cx, xy[n - 1, 1] - cy
    left = right = changes = 0
    for i in range(n):
        qx, qy = xy[i, 0] - cx, xy[i, 1] - cy
        turn = px * qy - py * qx
        left += turn > margin
        right += turn < -margin
        changes += (py < 0.0) != (qy < 0.0)
        px, py = qx, qy
    return (left == n or right == n) and changes == 2


@jit
def _build_tree(ring: F64) -> tuple[F64, I64, I64, int]:
    n = len(ring)
    start, size = np.zeros(MAX_LEVELS, np.int64), np.zeros(MAX_LEVELS, np.int64)
    levels = total = 0
    count = (n + LEAF - 1) // LEAF
    while True:
        start[levels], size[levels] = total, count
        levels += 1
        total += count
        if count == 1:
            break
        count = (count + 1) // 2
    boxes = np.empty((total, 4))
    for k in range(size[0]):
        first = k * LEAF
        last = min(first + LEAF, n)
        box = boxes[k]
        box[0] = box[2] = ring[first, 0]
        box[1] = box[3] = ring[first, 1]
        for i in range(first + 1, last + 1):
            j = 0 if i == n else i
            box[0] = min(box[0], ring[j, 0])
            box[1] = min(box[1], ring[j, 1])
            box[2] = max(box[2], ring[j, 0])
            box[3] = max(box[3], ring[j, 1])
    for level in range(1, levels):
        for k in range(size[level]):
            p = boxes[start[level - 1] + 2 * k]
            q = boxes[start[level - 1] + min(2 * k + 1, size[level - 1] - 1)]
            box = boxes[start[level] + k]
            box[0], box[1] = min(p[0], q[0]), min(p[1], q[1])
            box[2], box[3] = max(p[2], q[2]), max(p[3], q[3])
    return boxes, start, size, levels


@jit
def _edges_cross(a: F64, base_a: int, i: int, b: F64, base_b: int, j: int) -> bool:
    i2 = 0 if i + 1 == len(a) else i + 1
    j2 = 0 if j + 1 == len(b) else j + 1
    px, py, qx, qy = a[i, 0], a[i, 1], a[i2, 0], a[i2, 1]
    rx, ry, sx, sy = b[j, 0], b[j, 1], b[j2, 0], b[j2, 1]
    if max(px, qx) < min(rx, sx) or max(rx, sx) < min(px, qx):
        return False
    if max(py, qy) < min(ry, sy) or max(ry, sy) < min(py, qy):
        return False
    ip, iq, ir, js = base_a + i, base_a + i2, base_b + j, base_b + j2
    if orientation(px, py, ip, qx, qy, iq, rx, ry, ir) == orientation(px, py, ip, qx, qy, iq, sx, sy, js):
        return False
    return orientation(rx, ry, ir, sx, sy, js, px, py, ip) != orientation(rx, ry, ir, sx, sy, js, qx, qy, iq)


@jit
def _meet(a: F64, i: int, b: F64, j: int) -> tuple[float, float, float]:
    i2 = 0 if i + 1 == len(a) else i + 1
    j2 = 0 if j + 1 == len(b) else j + 1
    px, py, qx, qy = a[i, 0], a[i, 1], a[i2, 0], a[i2, 1]
    rx, ry, sx, sy = b[j, 0], b[j, 1], b[j2, 0], b[j2, 1]
    x1, x2 = max(min(px, qx), min(rx, sx)), min(max(px, qx), max(rx, sx))
    y1, y2 = max(min(py, qy), min(ry, sy)), min(max(py, qy), max(ry, sy))
    dx, dy = sx - rx, sy - ry
    left_p, right_p, left_q, right_q = dx * (py - ry), dy * (px - rx), dx * (qy - ry), dy * (qx - rx)
    fp, fq = left_p - right_p, left_q - right_q
    apart = abs(fp - fq)
    x, y = 0.5 * (x1 + x2), 0.5 * (y1 + y2)
    if fp != fq:
        t = fp / (fp - fq)
        x, y = px + (qx - px) * t, py + (qy - py) * t
        x = x1 if x < x1 else (x2 if x > x2 else x)
        y = y1 if y < y1 else (y2 if y > y2 else y)
    # What rounding leaves of fp and fq moves the point along the edge: a little, or anywhere if the edges coincide.
    lost = LOST * ((abs(left_p) + abs(right_p)) + (abs(left_q) + abs(right_q)))
    length = abs(qx - px) + abs(qy - py)
    error = length * (lost / apart) + LOST * (abs(x) + abs(y)) if apart > 4.0 * lost else np.inf
    return x, y, error


@jit
def _grown(edges: I64, points: F64) -> tuple[I64, F64]:
    more_edges, more_points = np.empty((2 * len(edges), 2), np.int64), np.empty((2 * len(edges), 3))
    for k in range(len(edges)):
        more_edges[k, 0], more_edges[k, 1] = edges[k, 0], edges[k, 1]
        for column in range(3):
            more_points[k, column] = points[k, column]
    return more_edges, more_points


@jit
def find_crossings(a: F64, base_a: int, b: F64, base_b: int, self: bool) -> tuple[int, int, I64, F64]:
    """Return status, count, edges (k, 2) and points (k, 3) of every crossing of `a` with `b`, or with itself.

    A point is x, y and how far off they may be: inf where edges coincide so nearly that rounding hides where.
    """
    boxes_a, start_a, size_a, levels_a = _build_tree(a)
    boxes_b, start_b, size_b, levels_b = boxes_a, start_a, size_a, levels_a
    if not self:
        boxes_b, start_b, size_b, levels_b = _build_tree(b)
    edges, points = np.empty((16, 2), np.int64), np.empty((16, 3))
    found = 0
    work = BASE_WORK + WORK_PER_EDGE * (len(a) + len(b))
    stack = np.empty((8 * MAX_LEVELS, 4), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = levels_a - 1, 0, levels_b - 1, 0
    top = 1
    while top > 0:
        top -= 1
        level_a, pa, level_b, pb = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
        work -= 1
        if work < 0:
            return status.TOO_COMPLEX, 0, edges, points
        same = self and pa == pb and level_a == level_b
        p, q = boxes_a[start_a[level_a] + pa], boxes_b[start_b[level_b] + pb]
        if not same and (p[2] < q[0] or q[2] < p[0] or p[3] < q[1] or q[3] < p[1]):
            continue
        if level_a == 0 and level_b == 0:
            for i in range(pa * LEAF, min((pa + 1) * LEAF, len(a))):
                for j in range(i + 2 if same else pb * LEAF, min((pb + 1) * LEAF, len(b))):
                    if self and ((i + 1) % len(a) == j or (j + 1) % len(a) == i):
                        continue
                    if _edges_cross(a, base_a, i, b, base_b, j):
                        if found == len(edges):
                            edges, points = _grown(edges, points)
                        edges[found, 0], edges[found, 1] = i, j
                        points[found, 0], points[found, 1], points[found, 2] = _meet(a, i, b, j)
                        found += 1
            work -= LEAF * LEAF
            if found > MAX_CROSSINGS:
                return status.TOO_COMPLEX, 0, edges, points
            continue
        open_a, open_b = level_a >= level_b, level_b >= level_a
        la, lb = level_a - open_a, level_b - open_b
        first_a, last_a = (2 * pa, min(2 * pa + 2, size_a[la])) if open_a else (pa, pa + 1)
        first_b, last_b = (2 * pb, min(2 * pb + 2, size_b[lb])) if open_b else (pb, pb + 1)
        for i in range(first_a, last_a):
            for j in range(i if same else first_b, last_b):
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = la, i, lb, j
                top += 1
    return status.OK, found, edges, points
