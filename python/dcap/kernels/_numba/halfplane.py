"""Twin of cpp/src/halfplane.cpp: cutting rings and lines with one straight line.

A half-plane is a row nx, ny, px, py: the points with nx (x - px) + ny (y - py) >= 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap.kernels._numba._shared import copy_points, jit, sort_order
from dcap.kernels._types import F64, I64

REACH = 16


@jit
def height(plane: F64, x: float, y: float) -> float:
    return plane[0] * (x - plane[2]) + plane[1] * (y - plane[3])


@jit
def _measure(xy: F64, plane: F64) -> tuple[F64, bool, bool]:
    heights = np.empty(len(xy))
    above = below = False
    for i in range(len(xy)):
        heights[i] = height(plane, xy[i, 0], xy[i, 1])
        above |= heights[i] > 0.0
        below |= heights[i] < 0.0
    return heights, above, below


@jit
def _put_meeting(xy: F64, h: F64, inner: int, outer: int, plane: F64, out: F64, at: int) -> None:
    # From the end of the edge that is nearer to the line; see meet in the C++ twin.
    from_inner = h[inner] < -h[outer]
    near, far = (inner, outer) if from_inner else (outer, inner)
    t = h[near] / (h[near] - h[far])
    out[at, 0] = plane[2] if plane[1] == 0.0 else xy[near, 0] + (xy[far, 0] - xy[near, 0]) * t
    out[at, 1] = plane[3] if plane[0] == 0.0 else xy[near, 1] + (xy[far, 1] - xy[near, 1]) * t


@jit
def _append_chain(chains: F64, first: int, last: int, forward: bool, ring_start: int, out: F64, size: int) -> int:
    for k in range(last - first):
        i = first + k if forward else last - 1 - k
        x, y = chains[i, 0], chains[i, 1]
        # What meets the line in a point that is there already adds none.
        meets = k < 2 or k == last - first - 1
        if meets and size > ring_start and out[size - 1, 0] == x and out[size - 1, 1] == y:
            continue
        out[size, 0], out[size, 1] = x, y
        size += 1
    return size


@jit
def _closed(out: F64, ring_start: int, size: int) -> int:
    while size > ring_start + 1 and out[size - 1, 0] == out[ring_start, 0] and out[size - 1, 1] == out[ring_start, 1]:
        size -= 1
    return ring_start if size < ring_start + 3 else size


@jit
def _collect_chains(xy: F64, plane: F64, h: F64) -> tuple[F64, I64, F64, F64]:
    n = len(xy)
    chains, ends = np.empty((2 * n + 2, 2)), np.zeros(n // 2 + 2, np.int64)
    at, slope = np.empty(n + 2), np.empty(n + 2)
    # Once around from a vertex that is not above.
    start = n - 1 if not h[n - 1] > 0.0 else 0
    while h[start] > 0.0:
        start += 1
    tx, ty = -plane[1], plane[0]
    before = start
    inside = False
    size = ports = 0
    for k in range(1, n + 1):
        i = start + k if start + k < n else start + k - n
        above = h[i] > 0.0
        if above != inside:
            inner, outer = (i, before) if above else (before, i)
            _put_meeting(xy, h, inner, outer, plane, chains, size)
            at[ports] = tx * chains[size, 0] + ty * chains[size, 1]
            slope[ports] = (tx * xy[inner, 0] + ty * xy[inner, 1] - at[ports]) / h[inner]
            ports += 1
            size += 1
            if not above:
                ends[ports // 2] = size
        if above:
            chains[size, 0], chains[size, 1] = xy[i, 0], xy[i, 1]
            size += 1
        inside = above
        before = i
    return chains, ends[: ports // 2 + 1], at[:ports], slope[:ports]


@jit
def _restore_alternation(order: I64) -> None:
    for i in range(1, len(order)):
        wanted = (order[i - 1] & 1) ^ 1
        j = i
        while j < len(order) and j < i + REACH and (order[j] & 1) != wanted:
            j += 1
        if j > i and j < len(order) and (order[j] & 1) == wanted:
            order[i], order[j] = order[j], order[i]


@jit
def _close_loops(chains: F64, ends: I64, partner: I64) -> npt.NDArray[np.bool_]:
    """Join a chain that ends where it began to itself; return which chains are still open."""
    is_open = np.empty(len(ends) - 1, np.bool_)
    for c in range(len(is_open)):
        first, last = ends[c], ends[c + 1] - 1
        is_open[c] = chains[first, 0] != chains[last, 0] or chains[first, 1] != chains[last, 1]
        partner[2 * c], partner[2 * c + 1] = 2 * c + 1, 2 * c
    return is_open


@jit
def _link_chains(
    chains: F64, ends: I64, at: F64, slope: F64, simple: bool, out: F64, size: int, out_ends: I64, parts: int
) -> tuple[int, int]:
    order = sort_order(at, slope)
    partner = np.empty(len(order), np.int64)
    order = order[_close_loops(chains, ends, partner)[order // 2]]
    if simple:
        _restore_alternation(order)
    for i in range(0, len(order), 2):
        partner[order[i]] = order[i + 1]
        partner[order[i + 1]] = order[i]
    count = len(ends) - 1
    done = np.zeros(count, np.uint8)
    for c in range(count):
        if done[c] != 0:
            continue
        ring_start = size
        port = 2 * c
        while True:
            chain = port // 2
            forward = (port & 1) == 0
            done[chain] = 1
            size = _append_chain(chains, ends[chain], ends[chain + 1], forward, ring_start, out, size)
            port = partner[port + 1 if forward else port - 1]
            if port == 2 * c:
                break
        size = _closed(out, ring_start, size)
        if size > ring_start:
            out_ends[parts] = size
            parts += 1
    return size, parts


@jit
def cut_ring(xy: F64, plane: F64, simple: bool, out: F64, size: int, ends: I64, parts: int) -> tuple[bool, int, int]:
    """Append the part above the line to `out` (`size` points, `parts` rings so far).

    Returns whether something was cut off, the new number of points and the new number of rings.
    """
    h, any_above, any_below = _measure(xy, plane)
    if not any_below:
        copy_points(xy, out, size)
        ends[parts] = size + len(xy)
        return False, size + len(xy), parts + 1
    if not any_above:
        return True, size, parts
    chains, chain_ends, at, slope = _collect_chains(xy, plane, h)
    if len(chain_ends) > 2:
        size, parts = _link_chains(chains, chain_ends, at, slope, simple, out, size, ends, parts)
        return True, size, parts
    ring_start = size
    size = _append_chain(chains, 0, chain_ends[1], True, ring_start, out, size)
    size = _closed(out, ring_start, size)
    if size > ring_start:
        ends[parts] = size
        parts += 1
    return True, size, parts


@jit
def cut_line(xy: F64, plane: F64, out: F64, size: int, ends: I64, parts: int) -> tuple[bool, int, int]:
    """Append the pieces above or on the line; returns as `cut_ring`."""
    h, _, any_below = _measure(xy, plane)
    n = len(xy)
    if not any_below:
        copy_points(xy, out, size)
        ends[parts] = size + n
        return False, size + n, parts + 1
    start = size
    for i in range(n):
        above = h[i] >= 0.0
        if i > 0 and above != (h[i - 1] >= 0.0):
            inner, outer = (i, i - 1) if above else (i - 1, i)
            if h[inner] > 0.0:
                _put_meeting(xy, h, inner, outer, plane, out, size)
                size += 1
        if above:
            out[size, 0], out[size, 1] = xy[i, 0], xy[i, 1]
            size += 1
        if not above or i + 1 == n:
            if size >= start + 2:
                ends[parts] = size
                parts += 1
                start = size
            else:
                size = start
    return True, size, parts


@jit
def cut_all(xy: F64, planes: F64, active: I64, line: bool, simple: bool) -> tuple[bool, F64, I64]:
    """Cut with every active half-plane; return whether anything went, the points, and the ends of the parts."""
    changed = False
    points, ends = xy, np.full(1, len(xy), np.int64)
    for k in active:
        # A cut at most doubles the points, and every part needs two of them.
        room = np.empty((2 * len(points) + 4, 2))
        room_ends = np.empty(len(points) + len(ends) + 2, np.int64)
        size, parts, start = np.int64(0), np.int64(0), np.int64(0)
        for end in ends:
            if line:
                cut, size, parts = cut_line(points[start:end], planes[k], room, size, room_ends, parts)
            else:
                cut, size, parts = cut_ring(points[start:end], planes[k], simple, room, size, room_ends, parts)
            changed |= cut
            start = end
        points, ends = room[:size], room_ends[:parts]
    return changed, points, ends


@jit
def merged(points: F64, ends: I64) -> F64:
    """Join the parts of a ring that crosses itself and overlap, so that one ring keeps the even-odd rule."""
    out = np.empty((len(points) + 2 * len(ends), 2))
    size = start = 0
    for k in range(len(ends)):
        copy_points(points[start : ends[k]], out, size)
        copy_points(points[start : start + 1], out, size + ends[k] - start)
        size += ends[k] - start + 1
        if k > 0:
            copy_points(points[:1], out, size)
            size += 1
        start = ends[k]
    return out[: size - 1]
