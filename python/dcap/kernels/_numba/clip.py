"""Twin of cpp/src/clip.cpp: exact clipping to a convex region, with the affine map in front of it.

Arguments go through np.int64 and np.bool_ where a literal would make numba compile another copy of the callee.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, check_layout, copy_points, four_corners, jit, two_corners
from dcap.kernels._numba.affine import is_identity, map_box, map_points
from dcap.kernels._numba.area import even_odd_area, intersection_area, line_length, own_crossings, shoelace
from dcap.kernels._numba.halfplane import cut_all, merged
from dcap.kernels._numba.region import CUT, INSIDE, convex_region, locate, noise_of, rect_region
from dcap.kernels._types import BOX, F64, I64, LINE, POLYGON, U8, Matrix, check_types, points_view, read_only

Bounds = tuple[float, float, float, float]
Out = tuple[F64, I64, U8, I64, F64]
"""Points, offsets, kinds, source shapes and visible fractions."""


@jit
def add_part(xy: F64, kind: int, source: int, fraction: float, sizes: I64, out: Out) -> None:
    """Append one part; what does not fit is counted in `sizes` (shapes, points) but not written."""
    out_xy, out_offsets, out_kinds, out_source, out_fraction = out
    shape, point = sizes[0], sizes[1]
    sizes[0] += 1
    sizes[1] += len(xy)
    if sizes[1] <= len(out_xy):
        copy_points(xy, out_xy, point)
    if shape < len(out_kinds):
        out_kinds[shape] = kind
        out_source[shape] = source
        out_fraction[shape] = fraction
        out_offsets[shape + 1] = sizes[1]


@jit
def add_cut(xy: F64, kind: int, source: int, fraction: float, sizes: I64, out: Out) -> None:
    """Append what was cut, whose zeros have no sign; see the C++ twin."""
    at = sizes[1]
    add_part(xy, kind, source, fraction, sizes, out)
    if sizes[1] <= len(out[0]):
        for i in range(at, sizes[1]):
            out[0][i, 0] += 0.0
            out[0][i, 1] += 0.0


@jit
def visible_share(visible: float, whole: float) -> float:
    """Return their ratio, at most 1."""
    f = visible / whole
    return f if f < 1.0 else 1.0


@jit
def _emit_parts(
    points: F64,
    ends: I64,
    part_sizes: F64,
    kind: int,
    source: int,
    visible: float,
    whole: float,
    least: float,
    largest: bool,
    sizes: I64,
    out: Out,
) -> None:
    if not visible > least or not visible_share(visible, whole) > 0.0:
        return
    best = np.argmax(part_sizes)
    start = 0
    for k in range(len(ends)):
        if part_sizes[k] > least and not (largest and k != best):
            add_cut(points[start : ends[k]], kind, source, visible_share(visible, whole), sizes, out)
        start = ends[k]


@jit
def _measure_parts(points: F64, ends: I64, simple: bool, line: bool, part_sizes: F64) -> tuple[int, float]:
    total = 0.0
    start = 0
    for k in range(len(ends)):
        part = points[start : ends[k]]
        if line:
            part_sizes[k] = line_length(part)
        elif simple:
            part_sizes[k] = 0.5 * abs(shoelace(part))
        else:
            code, part_sizes[k] = even_odd_area(part)
            if code != status.OK:
                return code, 0.0
        total += part_sizes[k]
        start = ends[k]
    return status.OK, total


@jit
def _clip_ring(
    xy: F64, planes: F64, active: I64, region: F64, source: int, least: float, largest: bool, sizes: I64, out: Out
) -> int:
    code, crossings, _, _ = own_crossings(xy)
    if code != status.OK:
        return code
    simple = crossings == 0
    changed, points, ends = cut_all(xy, planes, active, np.bool_(False), np.bool_(simple))
    if not changed:
        add_part(xy, np.int64(POLYGON), source, 1.0, sizes, out)
        return status.OK
    if len(ends) == 0:
        return status.OK
    part_sizes = np.empty(len(ends))
    code, visible = _measure_parts(points, ends, np.bool_(simple), np.bool_(False), part_sizes)
    if code != status.OK:
        return code
    if simple:
        whole = 0.5 * abs(shoelace(xy))
    else:
        total = visible
        code, whole = even_odd_area(xy)
        if code != status.OK:
            return code
        code, visible = intersection_area(xy, len(region), region, np.int64(0))
        if code != status.OK:
            return code
        if len(ends) > 1 and total > visible * (1.0 + 1e-9):
            points = merged(points, ends)
            ends = np.full(1, len(points), np.int64)
            part_sizes = np.full(1, visible)
    _emit_parts(points, ends, part_sizes, np.int64(POLYGON), source, visible, whole, least, largest, sizes, out)
    return status.OK


@jit
def _clip_line(
    xy: F64, planes: F64, active: I64, source: int, least: float, largest: bool, sizes: I64, out: Out
) -> None:
    changed, points, ends = cut_all(xy, planes, active, np.bool_(True), np.bool_(True))
    if not changed:
        add_part(xy, np.int64(LINE), source, 1.0, sizes, out)
        return
    part_sizes = np.empty(len(ends))
    _, visible = _measure_parts(points, ends, np.bool_(True), np.bool_(True), part_sizes)
    _emit_parts(points, ends, part_sizes, np.int64(LINE), source, visible, line_length(xy), least, largest, sizes, out)


@jit
def _clip_box(
    b: Bounds, planes: F64, active: I64, source: int, least: float, keep_boxes: bool, sizes: I64, out: Out
) -> None:
    x1, y1, x2, y2 = b
    whole = (x2 - x1) * (y2 - y1)
    if not whole > 0.0:
        return
    left, top, right, bottom = x1, y1, x2, y2
    tilted = False
    for k in active:
        nx, ny, px, py = planes[k, 0], planes[k, 1], planes[k, 2], planes[k, 3]
        tilted |= nx != 0.0 and ny != 0.0
        if ny == 0.0 and nx > 0.0:
            left = max(left, px)
        if ny == 0.0 and nx < 0.0:
            right = min(right, px)
        if nx == 0.0 and ny > 0.0:
            top = max(top, py)
        if nx == 0.0 and ny < 0.0:
            bottom = min(bottom, py)
    if not (left < right and top < bottom):
        return
    if not tilted:
        box = two_corners(left, top, right, bottom)
        visible = (right - left) * (bottom - top)
        if visible_share(visible, whole) > 0.0:
            add_cut(box, np.int64(BOX), source, visible_share(visible, whole), sizes, out)
        return
    ring = four_corners(x1, y1, x2, y2)
    changed, points, ends = cut_all(ring, planes, active, np.bool_(False), np.bool_(True))
    if not changed:
        box = two_corners(x1, y1, x2, y2)
        add_part(box, np.int64(BOX), source, 1.0, sizes, out)
        return
    if len(ends) == 0:
        return
    points = points[: ends[0]]
    visible = 0.5 * abs(shoelace(points))
    if not visible > least or not visible_share(visible, whole) > 0.0:
        return
    kind = np.int64(POLYGON)
    if keep_boxes:
        left, top, right, bottom, _ = bounds_of(points)
        points = two_corners(left, top, right, bottom)
        kind = np.int64(BOX)
    add_cut(points, kind, source, visible_share(visible, whole), sizes, out)


@jit
def _clip_shapes(
    xy: F64,
    offsets: I64,
    kinds: U8,
    m: Matrix,
    keep_boxes: bool,
    largest: bool,
    planes: F64,
    region: F64,
    sizes: I64,
    out: Out,
) -> int:
    code = check_layout(xy, offsets, kinds)
    if code != status.OK:
        return code
    if not len(out[1]) - 1 == len(out[2]) == len(out[3]) == len(out[4]):
        return status.BAD_ARGUMENT
    moves = not is_identity(m)
    active = np.empty(len(planes), np.int64)
    limits = bounds_of(region)[:4]
    out[1][0] = 0
    for i in range(len(kinds)):
        kind = np.int64(kinds[i])
        points = xy[offsets[i] : offsets[i + 1]].copy()
        if moves and kind == BOX:
            corners = np.empty((4, 2))
            points = corners[: map_box(m, points, keep_boxes, corners)]
            kind = np.int64(POLYGON if len(points) == 4 else BOX)
        elif moves:
            map_points(m, points, points)
        x1, y1, x2, y2, legal = bounds_of(points)
        if not legal:
            return status.NOT_FINITE
        place, count = locate(x1, y1, x2, y2, kind == LINE, planes, active)
        length, area = noise_of((x1, y1, x2, y2), limits)
        if place == INSIDE:
            add_part(points, kind, i, 1.0, sizes, out)
        elif place == CUT and kind == BOX:
            _clip_box((x1, y1, x2, y2), planes, active[:count], i, area, keep_boxes, sizes, out)
        elif place == CUT and kind == LINE:
            _clip_line(points, planes, active[:count], i, length, largest, sizes, out)
        elif place == CUT:
            code = _clip_ring(points, planes, active[:count], region, i, area, largest, sizes, out)
            if code != status.OK:
                return code
    return status.OK


def fill_parts(num_shapes: int, num_points: int, fill: Callable[[I64, Out], int]) -> Out:
    """Call a kernel that adds parts of shapes, again with more room until all fits.

    Raises:
        GeometryError: The kernel's status says so.
    """
    n, p = 2 * num_shapes + 8, num_points + 4 * num_shapes + 64
    while True:
        out = (np.empty((p, 2)), np.empty(n + 1, np.int64), np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n))
        sizes = np.zeros(2, np.int64)
        status.raise_if_failed(fill(sizes, out))
        shapes, used = sizes.tolist()
        if shapes <= n and used <= p:
            return (
                read_only(out[0][:used]),
                read_only(out[1][: shapes + 1]),
                read_only(out[2][:shapes]),
                read_only(out[3][:shapes]),
                read_only(out[4][:shapes]),
            )
        n, p = max(n, shapes), max(p, used)


def _run(
    xy: F64, offsets: I64, kinds: U8, matrix: Matrix, keep_boxes: bool, largest: bool, region: F64, planes: F64
) -> Out:
    check_types((xy, np.float64), (offsets, np.int64), (kinds, np.uint8))
    points, ends, types = points_view(xy), read_only(offsets), read_only(kinds)

    def fill(sizes: I64, out: Out) -> int:
        return int(_clip_shapes(points, ends, types, matrix, keep_boxes, largest, planes, region, sizes, out))

    return fill_parts(len(kinds), len(points), fill)


def clip_rect(
    xy: F64,
    offsets: I64,
    kinds: U8,
    matrix: Matrix,
    keep_boxes: bool,
    keep_largest: bool,
    rect: tuple[float, float, float, float],
) -> Out:
    """Map and clip to x1, y1, x2, y2. See `dcap.geometry.clip`.

    Returns:
        Points, offsets and kinds of the M parts, their source shapes int64 (M,) and visible fractions float64 (M,).
    """
    region, planes = rect_region(rect)
    return _run(xy, offsets, kinds, matrix, keep_boxes, keep_largest, region, planes)


def clip_convex(
    xy: F64, offsets: I64, kinds: U8, matrix: Matrix, keep_boxes: bool, keep_largest: bool, region: F64
) -> Out:
    """Map and clip to a convex polygon (m, 2); returns as `clip_rect`."""
    corners, planes = convex_region(region)
    return _run(xy, offsets, kinds, matrix, keep_boxes, keep_largest, corners, planes)
