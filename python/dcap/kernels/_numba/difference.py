"""Twin of cpp/src/difference.cpp: what is left of shapes when others are taken away from them.

The rings of one question, the shape and then its covers, follow each other in `points`, as in `marks`. Between two
marks a ring runs on one side of all others: that is a run. Run k of a ring goes from its mark k to the next one; a ring
that crosses nothing is one run.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, check_layout, copy_points, four_corners, jit, two_corners
from dcap.kernels._numba.area import even_odd_area, line_length
from dcap.kernels._numba.clip import Out, add_cut, add_part, fill_parts, visible_share
from dcap.kernels._numba.crossings import contains, find_crossings, is_star_shaped
from dcap.kernels._numba.marks import in_order, mark_order, put_mark
from dcap.kernels._numba.outline import join_holes
from dcap.kernels._numba.predicates import orientation
from dcap.kernels._types import BOX, F64, I64, LINE, POLYGON, U8, check_types, points_view, read_only

I8 = npt.NDArray[np.int8]
Shapes = tuple[F64, I64, U8]
"""Points, offsets and kinds."""

ROUNDING: Final = 1e-15


class Marks(NamedTuple):
    """All marks of all rings, ring by ring, in their order along it.

    Attributes:
        where: int64 (K, 3), see `marks`.
        values: float64 (K, 4), see `marks`.
        number: int64 (K,); twice the number of the crossing, and 1 more for the mark on its second ring.
        place: int64 (K,); where the mark with that number stands among those of its ring.
        first: int64 (R + 1,); the first mark of each ring.
    """

    where: I64
    values: F64
    number: I64
    place: I64
    first: I64


@jit
def _meets(a: F64, b: F64, flat: bool) -> bool:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return (w >= 0.0 and h >= 0.0) if flat else (w > 0.0 and h > 0.0)


@jit
def _grown(pairs: I64, spots: F64, needed: int) -> tuple[I64, F64]:
    more_pairs, more_spots = np.empty((2 * needed, 4), np.int64), np.empty((2 * needed, 3))
    for k in range(len(pairs)):
        for column in range(4):
            more_pairs[k, column] = pairs[k, column]
        for column in range(3):
            more_spots[k, column] = spots[k, column]
    return more_pairs, more_spots


@jit
def _all_crossings(points: F64, starts: I64, bounds: F64, line: bool) -> tuple[int, I64, F64]:
    """Return status, ring, edge, other ring and its edge of each crossing, and the points."""
    pairs, spots = np.empty((16, 4), np.int64), np.empty((16, 3))
    rings = len(starts) - 1
    count = 0
    for a in range(1 if line else rings):
        for b in range(1 if line else a, rings):
            ring, other = points[starts[a] : starts[a + 1]], points[starts[b] : starts[b + 1]]
            same = a == b
            if same and (len(ring) < 4 or is_star_shaped(ring)):
                continue
            if not same and not _meets(bounds[a], bounds[b], np.bool_(True)):
                continue
            code, found, edges, crossings = find_crossings(ring, starts[a], other, starts[b], np.bool_(same))
            if code != status.OK:
                return code, pairs, spots
            if count + found > len(pairs):
                pairs, spots = _grown(pairs, spots, count + found)
            for k in range(found):
                # A line does not run from its last point to its first.
                if line and edges[k, 0] + 1 == len(ring):
                    continue
                pairs[count, 0], pairs[count, 1], pairs[count, 2], pairs[count, 3] = a, edges[k, 0], b, edges[k, 1]
                for column in range(3):
                    spots[count, column] = crossings[k, column]
                count += 1
    return status.OK, pairs[:count], spots[:count]


@jit
def _find_marks(points: F64, starts: I64, bounds: F64, line: bool) -> tuple[int, Marks]:
    """Find all crossings, of a line those with its covers, and sort them along every ring."""
    code, pairs, spots = _all_crossings(points, starts, bounds, line)
    rings, count = len(starts) - 1, 2 * len(pairs) if code == status.OK else 0
    where, values = np.empty((count, 3), np.int64), np.empty((count, 4))
    number, place, first = np.empty(count, np.int64), np.empty(count, np.int64), np.zeros(rings + 1, np.int64)
    marks = Marks(where, values, number, place, first)
    if code != status.OK:
        return code, marks
    for k in range(len(pairs)):
        first[pairs[k, 0] + 1] += 1
        first[pairs[k, 2] + 1] += 1
    for ring in range(rings):
        first[ring + 1] += first[ring]
    filled = first.copy()
    for k in range(len(pairs)):
        a, i, b, j = pairs[k, 0], pairs[k, 1], pairs[k, 2], pairs[k, 3]
        for side in range(2):
            at = filled[a]
            filled[a] += 1
            put_mark(points, starts, a, i, b, j, spots[k], where[at], values[at])
            number[at] = 2 * k + side
            a, i, b, j = b, j, a, i
    for ring in range(rings):
        low, high = first[ring], first[ring + 1]
        order = mark_order(points, starts, ring, np.bool_(True), where[low:high], values[low:high])
        ring_where, ring_values = in_order(order, where[low:high], values[low:high])
        ring_number = number[low:high].copy()
        for k in range(high - low):
            for column in range(3):
                where[low + k, column] = ring_where[k, column]
            for column in range(4):
                values[low + k, column] = ring_values[k, column]
            number[low + k] = ring_number[order[k]]
            place[number[low + k]] = k
    return status.OK, marks


@jit
def _first_side(points: F64, starts: I64, ring: int, marks: Marks) -> int:
    """Return where the inside of a ring is at its first point: 1 to the left, -1 to the right; see the C++ twin."""
    base, n = starts[ring], starts[ring + 1] - starts[ring]
    top = 0
    for i in range(1, n):
        if points[base + i, 1] > points[base + top, 1]:
            top = i
    i, j, k = base + (n - 1 if top == 0 else top - 1), base + top, base + (0 if top + 1 == n else top + 1)
    side = orientation(points[i, 0], points[i, 1], i, points[j, 0], points[j, 1], j, points[k, 0], points[k, 1], k)
    for m in range(marks.first[ring], marks.first[ring + 1]):
        if marks.where[m, 0] < top and marks.where[m, 1] == ring:
            side = -side
    return side


@jit
def _inside_at_start(points: F64, starts: I64, ring: int) -> tuple[U8, int]:
    """Return which rings the first point of a ring is inside of, and how many covers are among them."""
    rings = len(starts) - 1
    inside = np.zeros(rings, np.uint8)
    covers = 0
    x, y = points[starts[ring], 0], points[starts[ring], 1]
    for other in range(rings):
        if other != ring and contains(points[starts[other] : starts[other + 1]], starts[other], x, y, starts[ring]):
            inside[other] = 1
            covers += other > 0
    return inside, covers


@jit
def _bounds_rest(ring: int, side: int, inside: U8, covers: int) -> int:
    if covers > 0 or (ring > 0 and inside[0] == 0):
        return 0
    return side if ring == 0 else -side


@jit
def _find_bounding(points: F64, starts: I64, marks: Marks) -> tuple[I8, I64]:
    """Return for each run 1 or -1 when what is left lies to its left or right, else 0; and the first run of each ring.

    What is left is bounded by the runs of the shape that nothing covers, and by those of a cover inside the shape that
    no other one covers.
    """
    rings = len(starts) - 1
    first = np.zeros(rings + 1, np.int64)
    for ring in range(rings):
        first[ring + 1] = first[ring] + max(1, marks.first[ring + 1] - marks.first[ring])
    bounding = np.zeros(first[rings], np.int8)
    for ring in range(rings):
        side = _first_side(points, starts, ring, marks)
        inside, covers = _inside_at_start(points, starts, ring)
        at = first[ring]
        if marks.first[ring] == marks.first[ring + 1]:
            bounding[at] = _bounds_rest(ring, side, inside, covers)
        for m in range(marks.first[ring], marks.first[ring + 1]):
            other = marks.where[m, 1]
            if other == ring:
                side = -side
            else:
                inside[other] ^= 1
                if other > 0:
                    covers += 1 if inside[other] != 0 else -1
            bounding[at] = _bounds_rest(ring, side, inside, covers)
            at += 1
    return bounding, first


@jit
def _end_of(marks: Marks, ring: int, run: int, forward: bool) -> int:
    """Return the mark at the end of a run."""
    low, high = marks.first[ring], marks.first[ring + 1]
    if not forward:
        return low + run
    return low if low + run + 1 == high else low + run + 1


@jit
def _append_run(points: F64, starts: I64, marks: Marks, ring: int, run: int, forward: bool, out: F64, size: int) -> int:
    """Append the points of a run, without the one at its end."""
    base, n = starts[ring], starts[ring + 1] - starts[ring]
    num_marks = marks.first[ring + 1] - marks.first[ring]
    at, count = (0 if forward else n - 1), n
    if num_marks > 0:
        begin, end = _end_of(marks, ring, run, not forward), _end_of(marks, ring, run, forward)
        out[size, 0], out[size, 1] = marks.values[begin, 2], marks.values[begin, 3]
        size += 1
        first, last = marks.where[begin, 0], marks.where[end, 0]
        count = last - first if forward else first - last
        if run + 1 == num_marks:
            count += n
        at = first + 1 if forward else first
    for _ in range(count):
        if at == n:
            at = 0
        if at < 0:
            at = n - 1
        out[size, 0], out[size, 1] = points[base + at, 0], points[base + at, 1]
        size += 1
        at += 1 if forward else -1
    return size


@jit
def _next_run(
    points: F64, starts: I64, marks: Marks, bounding: I8, first: I64, ring: int, run: int, forward: bool
) -> tuple[int, int]:
    """Return ring and number of the run that goes on where one ends; see the C++ twin."""
    end = _end_of(marks, ring, run, forward)
    other, place = marks.where[end, 1], marks.place[marks.number[end] ^ 1]
    count = marks.first[other + 1] - marks.first[other]
    run_in, run_out = (count - 1 if place == 0 else place - 1), place
    in_leaves, out_leaves = bounding[first[other] + run_in] < 0, bounding[first[other] + run_out] > 0
    if in_leaves and out_leaves:
        i, k = starts[ring] + marks.where[end, 0], starts[other] + marks.where[end, 2]
        j = i + 1 if i + 1 < starts[ring + 1] else starts[ring]
        m = k + 1 if k + 1 < starts[other + 1] else starts[other]
        turn = orientation(points[i, 0], points[i, 1], i, points[j, 0], points[j, 1], j, points[m, 0], points[m, 1], m)
        return other, (run_out if (turn > 0) == forward else run_in)
    if out_leaves:
        return other, run_out
    return other, (run_in if in_leaves else -1)


@jit
def _trace(points: F64, starts: I64, marks: Marks, bounding: I8, first: I64) -> tuple[F64, I64]:
    """Follow bounding runs from crossing to crossing: each cycle is one ring, with what is left to its left."""
    rings = len(starts) - 1
    out = np.empty((len(points) + len(marks.where) + len(bounding), 2))
    ends = np.empty(len(bounding), np.int64)
    size = count = 0
    for k in range(rings):
        for i in range(first[k + 1] - first[k]):
            ring, run, start = k, i, size
            while run >= 0 and bounding[first[ring] + run] != 0:
                at = first[ring] + run
                forward = bounding[at] > 0
                size = _append_run(points, starts, marks, ring, run, forward, out, size)
                following, after = ring, -1
                if marks.first[ring + 1] > marks.first[ring]:
                    following, after = _next_run(points, starts, marks, bounding, first, ring, run, forward)
                bounding[at] = 0
                ring, run = following, after
            if size > start:
                ends[count] = size
                count += 1
    return out[:size], ends[:count]


@jit
def _emit_parts(
    kind: int,
    source: int,
    share: float,
    least: float,
    keep_boxes: bool,
    largest: bool,
    points: F64,
    ends: I64,
    areas: F64,
    sizes: I64,
    out: Out,
) -> None:
    if kind == BOX and keep_boxes:
        x1, y1, x2, y2, _ = bounds_of(points)
        add_cut(two_corners(x1, y1, x2, y2), np.int64(BOX), source, share, sizes, out)
        return
    best = np.argmax(areas)
    start = 0
    for k in range(len(ends)):
        part = points[start : ends[k]]
        start = ends[k]
        if largest and k != best:
            continue
        x1, y1, x2, y2, _ = bounds_of(part)
        if kind == BOX and (x2 - x1) * (y2 - y1) - areas[k] <= least:
            add_cut(two_corners(x1, y1, x2, y2), np.int64(BOX), source, share, sizes, out)
        else:
            add_cut(part, np.int64(POLYGON), source, share, sizes, out)


@jit
def _is_covered_at_start(points: F64, starts: I64) -> bool:
    for k in range(1, len(starts) - 1):
        if contains(points[starts[k] : starts[k + 1]], starts[k], points[0, 0], points[0, 1], np.int64(0)):
            return True
    return False


@jit
def _cut_ring(
    subject: F64,
    kind: int,
    source: int,
    points: F64,
    starts: I64,
    bounds: F64,
    keep_boxes: bool,
    largest: bool,
    sizes: I64,
    out: Out,
) -> int:
    x1, y1, x2, y2 = bounds[0, 0], bounds[0, 1], bounds[0, 2], bounds[0, 3]
    far = max(max(abs(x1), abs(x2)), max(abs(y1), abs(y2)))
    width = 4.0 * ROUNDING * far
    least = width * ((x2 - x1) + (y2 - y1))
    whole = (x2 - x1) * (y2 - y1)
    if kind == POLYGON:
        code, whole = even_odd_area(subject)
        if code != status.OK:
            return code
    code, marks = _find_marks(points, starts, bounds, np.bool_(False))
    if code != status.OK:
        return code
    if not whole > 0.0:
        # Nothing can be taken from what has no area: it is there if its first point is.
        if not _is_covered_at_start(points, starts):
            add_part(subject, kind, source, 1.0, sizes, out)
        return status.OK
    bounding, first = _find_bounding(points, starts, marks)
    rings, ring_ends = _trace(points, starts, marks, bounding, first)
    visible, parts, ends, areas = join_holes(rings, ring_ends, least, width)
    if whole - visible <= least:
        add_part(subject, kind, source, 1.0, sizes, out)
    elif visible > least and visible_share(visible, whole) > 0.0:
        share = visible_share(visible, whole)
        _emit_parts(kind, source, share, least, keep_boxes, largest, parts, ends, areas, sizes, out)
    return status.OK


@jit
def _push(x: float, y: float, start: int, out: F64, size: int) -> int:
    if size > start and out[size - 1, 0] == x and out[size - 1, 1] == y:
        return size
    out[size, 0], out[size, 1] = x, y
    return size + 1


@jit
def _split_line(points: F64, starts: I64, marks: Marks) -> tuple[F64, I64]:
    """Collect the parts of the line that nothing covers."""
    n, num_marks = starts[1], marks.first[1]
    out, ends = np.empty((n + 2 * num_marks, 2)), np.empty(num_marks + 1, np.int64)
    inside, covers = _inside_at_start(points, starts, np.int64(0))
    size = start = parts = m = 0
    for i in range(n):
        if covers == 0:
            size = _push(points[i, 0], points[i, 1], start, out, size)
        while m < num_marks and marks.where[m, 0] == i:
            other = marks.where[m, 1]
            shown = covers == 0
            inside[other] ^= 1
            covers += 1 if inside[other] != 0 else -1
            if shown != (covers == 0):
                size = _push(marks.values[m, 2], marks.values[m, 3], start, out, size)
            if shown and covers > 0:
                if size >= start + 2:
                    ends[parts] = size
                    parts += 1
                    start = size
                size = start
            m += 1
    if size >= start + 2:
        ends[parts] = size
        parts += 1
        start = size
    return out[:start], ends[:parts]


@jit
def _cut_line(
    subject: F64, source: int, points: F64, starts: I64, bounds: F64, largest: bool, sizes: I64, out: Out
) -> int:
    code, marks = _find_marks(points, starts, bounds, np.bool_(True))
    if code != status.OK:
        return code
    parts, ends = _split_line(points, starts, marks)
    whole, visible = line_length(subject), 0.0
    lengths = np.empty(len(ends))
    start = 0
    for k in range(len(ends)):
        lengths[k] = line_length(parts[start : ends[k]])
        visible += lengths[k]
        start = ends[k]
    b = bounds[0]
    least = 4.0 * ROUNDING * max(max(abs(b[0]), abs(b[2])), max(abs(b[1]), abs(b[3])))
    if whole - visible <= least if whole > 0.0 else not _is_covered_at_start(points, starts):
        add_part(subject, np.int64(LINE), source, 1.0, sizes, out)
        return status.OK
    if not visible > least or not visible_share(visible, whole) > 0.0:
        return status.OK
    best = np.argmax(lengths)
    start = 0
    for k in range(len(ends)):
        if lengths[k] > least and not (largest and k != best):
            share = visible_share(visible, whole)
            add_cut(parts[start : ends[k]], np.int64(LINE), source, share, sizes, out)
        start = ends[k]
    return status.OK


@jit
def _corners(b: F64) -> F64:
    return four_corners(b[0], b[1], b[2], b[3])


@jit
def _bounds(xy: F64, offsets: I64, kinds: U8) -> tuple[int, F64]:
    out = np.empty((len(kinds), 4))
    for i in range(len(kinds)):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], legal = bounds_of(xy[offsets[i] : offsets[i + 1]].copy())
        if not legal:
            return status.NOT_FINITE, out
    return status.OK, out


@jit
def _put_ring(xy: F64, offsets: I64, kinds: U8, bounds: F64, i: int, out: F64, at: int) -> int:
    if kinds[i] == BOX:
        copy_points(_corners(bounds[i]), out, at)
        return at + 4
    copy_points(xy[offsets[i] : offsets[i + 1]], out, at)
    return at + offsets[i + 1] - offsets[i]


@jit
def _difference(shapes: Shapes, cover_shapes: Shapes, keep_boxes: bool, largest: bool, sizes: I64, out: Out) -> int:
    xy, offsets, kinds = shapes
    cover_xy, cover_offsets, cover_kinds = cover_shapes
    for code in (check_layout(xy, offsets, kinds), check_layout(cover_xy, cover_offsets, cover_kinds)):
        if code != status.OK:
            return code
    code, cover_bounds = _bounds(cover_xy, cover_offsets, cover_kinds)
    if code != status.OK:
        return code
    code, all_bounds = _bounds(xy, offsets, kinds)
    if code != status.OK:
        return code
    covers = len(cover_kinds)
    out[1][0] = 0
    for i in range(len(kinds)):
        kind = np.int64(kinds[i])
        subject = xy[offsets[i] : offsets[i + 1]].copy()
        points = np.empty((len(subject) + 4 + len(cover_xy) + 2 * covers, 2))
        starts, bounds = np.zeros(covers + 2, np.int64), np.empty((covers + 1, 4))
        starts[1] = _put_ring(xy, offsets, kinds, all_bounds, i, points, 0)
        bounds[0] = all_bounds[i]
        rings = 1
        flat = kind == LINE or bounds[0, 0] == bounds[0, 2] or bounds[0, 1] == bounds[0, 3]
        for k in range(covers):
            if cover_kinds[k] != LINE and _meets(all_bounds[i], cover_bounds[k], np.bool_(flat)):
                bounds[rings] = cover_bounds[k]
                at = starts[rings]
                starts[rings + 1] = _put_ring(cover_xy, cover_offsets, cover_kinds, cover_bounds, k, points, at)
                rings += 1
        used, ends, limits = points[: starts[rings]], starts[: rings + 1], bounds[:rings]
        if rings == 1:
            add_part(subject, kind, i, 1.0, sizes, out)
            continue
        if kind == LINE:
            code = _cut_line(subject, i, used, ends, limits, largest, sizes, out)
        else:
            code = _cut_ring(subject, kind, i, used, ends, limits, keep_boxes, largest, sizes, out)
        if code != status.OK:
            return code
    return status.OK


def difference(
    xy: F64,
    offsets: I64,
    kinds: U8,
    cover_xy: F64,
    cover_offsets: I64,
    cover_kinds: U8,
    keep_boxes: bool,
    keep_largest: bool,
) -> Out:
    """Take the covers from every shape; returns as `clip_rect`. See `dcap.geometry.difference`."""
    check_types((xy, np.float64), (offsets, np.int64), (kinds, np.uint8))
    check_types((cover_xy, np.float64), (cover_offsets, np.int64), (cover_kinds, np.uint8))
    shapes = points_view(xy), read_only(offsets), read_only(kinds)
    covers = points_view(cover_xy), read_only(cover_offsets), read_only(cover_kinds)

    def fill(sizes: I64, out: Out) -> int:
        return int(_difference(shapes, covers, keep_boxes, keep_largest, sizes, out))

    return fill_parts(len(kinds), len(shapes[0]), fill)
