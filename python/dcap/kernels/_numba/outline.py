"""Twin of cpp/src/outline.cpp: rings as a cut leaves them, without spikes, and with their holes joined to them."""

from __future__ import annotations

from typing import Final

import numpy as np

from dcap.kernels._numba._shared import copy_points, jit
from dcap.kernels._numba.area import shoelace
from dcap.kernels._numba.crossings import contains
from dcap.kernels._types import F64, I64

VOTES: Final = 16
SEAM_WORK: Final = 10_000_000


@jit
def _is_spike(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, width: float) -> bool:
    ux, uy, vx, vy = bx - ax, by - ay, cx - bx, cy - by
    if not ux * vx + uy * vy < 0.0:
        return False
    longest = max(abs(ux) + abs(uy), abs(vx) + abs(vy))
    return abs(ux * vy - uy * vx) <= width * longest


@jit
def _turns_back(xy: F64, i: int, j: int, k: int, width: float) -> bool:
    return _is_spike(xy[i, 0], xy[i, 1], xy[j, 0], xy[j, 1], xy[k, 0], xy[k, 1], width)


@jit
def drop_spikes(ring: F64, width: float) -> F64:
    """Drop repeated points, and spikes that are no wider than `width`; the ring may shrink to nothing."""
    xy = np.empty((len(ring), 2))
    size = 0
    for i in range(len(ring)):
        x, y = ring[i, 0], ring[i, 1]
        while size >= 2 and _is_spike(xy[size - 2, 0], xy[size - 2, 1], xy[size - 1, 0], xy[size - 1, 1], x, y, width):
            size -= 1
        if size >= 1 and xy[size - 1, 0] == x and xy[size - 1, 1] == y:
            continue
        xy[size, 0], xy[size, 1] = x, y
        size += 1
    first = 0
    while size - first >= 3:
        last = size - 1
        repeats = xy[last, 0] == xy[first, 0] and xy[last, 1] == xy[first, 1]
        if repeats or _turns_back(xy, last - 1, last, first, width):
            size -= 1
        elif _turns_back(xy, last, first, first + 1, width):
            first += 1
        else:
            break
    return xy[first:size].copy()


@jit
def _holds(outline: F64, hole: F64) -> bool:
    n = len(hole)
    step = max(1, n // VOTES)
    inside = asked = 0
    for i in range(0, n, step):
        j = 0 if i + 1 == n else i + 1
        x, y = 0.5 * (hole[i, 0] + hole[j, 0]), 0.5 * (hole[i, 1] + hole[j, 1])
        inside += contains(outline, np.int64(0), x, y, len(outline))
        asked += 1
    return 2 * inside > asked


@jit
def _outline_around(points: F64, starts: I64, twice: F64, hole: int) -> int:
    """Return the smallest outline around the hole; the largest of all where rounding hides it."""
    best, largest = -1, -1
    for k in range(len(twice)):
        if twice[k] < 0.0:
            continue
        if largest < 0 or twice[k] > twice[largest]:
            largest = k
        if (best < 0 or twice[k] < twice[best]) and _holds(
            points[starts[k] : starts[k + 1]], points[starts[hole] : starts[hole + 1]]
        ):
            best = k
    return largest if best < 0 else best


@jit
def _find_seam(ring: F64, hole: F64) -> tuple[int, int, float, float]:
    """Return the shortest way from a corner of the hole to an edge of the ring: edge, corner, and where they meet."""
    n = len(ring)
    step = 1 + n * len(hole) // SEAM_WORK
    best, best_edge, best_corner, best_x, best_y = -1.0, 0, 0, 0.0, 0.0
    for corner in range(0, len(hole), step):
        hx, hy = hole[corner, 0], hole[corner, 1]
        for edge in range(n):
            j = 0 if edge + 1 == n else edge + 1
            px, py, qx, qy = ring[edge, 0], ring[edge, 1], ring[j, 0], ring[j, 1]
            ux, uy = qx - px, qy - py
            along, whole = (hx - px) * ux + (hy - py) * uy, ux * ux + uy * uy
            x, y = px, py
            if along >= whole:
                x, y = qx, qy
            elif along > 0.0:
                x, y = px + ux * (along / whole), py + uy * (along / whole)
            square = (hx - x) * (hx - x) + (hy - y) * (hy - y)
            if best < 0.0 or square < best:
                best, best_edge, best_corner, best_x, best_y = square, edge, corner, x, y
    return best_edge, best_corner, best_x, best_y


@jit
def _with_hole(ring: F64, hole: F64) -> F64:
    edge, corner, x, y = _find_seam(ring, hole)
    out = np.empty((len(ring) + len(hole) + 3, 2))
    copy_points(ring[: edge + 1], out, 0)
    size = edge + 1
    out[size, 0], out[size, 1] = x, y
    copy_points(hole[corner:], out, size + 1)
    size += 1 + len(hole) - corner
    copy_points(hole[: corner + 1], out, size)
    size += corner + 1
    out[size, 0], out[size, 1] = x, y
    copy_points(ring[edge + 1 :], out, size + 1)
    return out


@jit
def _clean_pieces(points: F64, ends: I64, least: float, width: float) -> tuple[F64, I64, F64]:
    out, starts, twice = np.empty((len(points), 2)), np.zeros(len(ends) + 1, np.int64), np.empty(len(ends))
    count = start = 0
    for k in range(len(ends)):
        ring = drop_spikes(points[start : ends[k]], width)
        start = ends[k]
        if len(ring) < 3:
            continue
        area = shoelace(ring)
        if 0.5 * abs(area) > least:
            copy_points(ring, out, starts[count])
            twice[count] = area
            starts[count + 1] = starts[count] + len(ring)
            count += 1
    return out, starts[: count + 1], twice[:count]


@jit
def join_holes(points: F64, ends: I64, least: float, width: float) -> tuple[float, F64, I64, F64]:
    """Return the outlines that enclose an area of more than `least`, each with the holes in it as one ring.

    The rings that end at the rows `ends` of `points` have their interior to the left; holes are those that turn the
    other way. A seam from a hole to the outline runs to and fro, so it encloses nothing.

    Returns:
        The area of all, the points of the outlines, where each ends, and its area.
    """
    pieces, starts, twice = _clean_pieces(points, ends, least, width)
    count = len(twice)
    around = np.full(count, -1)
    for k in range(count):
        if twice[k] < 0.0:
            around[k] = _outline_around(pieces, starts, twice, k)
    out, out_ends, areas = np.empty((len(pieces) + 3 * count, 2)), np.empty(count, np.int64), np.empty(count)
    total = 0.0
    size = parts = 0
    for k in range(count):
        if twice[k] < 0.0:
            continue
        ring = pieces[starts[k] : starts[k + 1]].copy()
        area = twice[k]
        for hole in range(count):
            if around[hole] == k:
                ring = _with_hole(ring, pieces[starts[hole] : starts[hole + 1]])
                area += twice[hole]
        if len(ring) > starts[k + 1] - starts[k]:
            ring = drop_spikes(ring, width)
        if not 0.5 * area > least or len(ring) < 3:
            continue
        copy_points(ring, out, size)
        size += len(ring)
        out_ends[parts], areas[parts] = size, 0.5 * area
        total += 0.5 * area
        parts += 1
    return total, out[:size], out_ends[:parts], areas[:parts]
