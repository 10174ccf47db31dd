"""Twin of cpp/src/overlap.cpp: pairwise intersection over union."""

from __future__ import annotations

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, check_layout, four_corners, jit
from dcap.kernels._numba.area import even_odd_area, intersection_area
from dcap.kernels._types import BOX, F64, I64, LINE, POLYGON, U8, check_types, check_writable, points_view, read_only


@jit
def _prepare(xy: F64, offsets: I64, kinds: U8, bounds: F64, areas: F64) -> int:
    for i in range(len(kinds)):
        points = xy[offsets[i] : offsets[i + 1]].copy()
        x1, y1, x2, y2, legal = bounds_of(points)
        if not legal:
            return status.NOT_FINITE
        bounds[i, 0], bounds[i, 1], bounds[i, 2], bounds[i, 3] = x1, y1, x2, y2
        areas[i] = 0.0
        if kinds[i] == BOX:
            areas[i] = (x2 - x1) * (y2 - y1)
        elif kinds[i] == POLYGON:
            code, areas[i] = even_odd_area(points)
            if code != status.OK:
                return code
    return status.OK


@jit
def _ring(xy: F64, offsets: I64, kinds: U8, bounds: F64, i: int) -> F64:
    if kinds[i] == BOX:
        x1, y1, x2, y2 = bounds[i, 0], bounds[i, 1], bounds[i, 2], bounds[i, 3]
        return four_corners(x1, y1, x2, y2)
    return xy[offsets[i] : offsets[i + 1]].copy()


@jit
def _pairwise_iou(xy_a: F64, offsets_a: I64, kinds_a: U8, xy_b: F64, offsets_b: I64, kinds_b: U8, out: F64) -> int:
    for code in (check_layout(xy_a, offsets_a, kinds_a), check_layout(xy_b, offsets_b, kinds_b)):
        if code != status.OK:
            return code
    n, m = len(kinds_a), len(kinds_b)
    if len(out) != n * m:
        return status.BAD_ARGUMENT
    bounds_a, bounds_b, areas_a, areas_b = np.empty((n, 4)), np.empty((m, 4)), np.empty(n), np.empty(m)
    code = _prepare(xy_a, offsets_a, kinds_a, bounds_a, areas_a)
    if code != status.OK:
        return code
    code = _prepare(xy_b, offsets_b, kinds_b, bounds_b, areas_b)
    if code != status.OK:
        return code
    for i in range(n):
        for j in range(m):
            out[i * m + j] = 0.0
            p, q = bounds_a[i], bounds_b[j]
            w, h = min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1])
            if kinds_a[i] == LINE or kinds_b[j] == LINE or not w > 0.0 or not h > 0.0:
                continue
            both = w * h
            if kinds_a[i] != BOX or kinds_b[j] != BOX:
                a = _ring(xy_a, offsets_a, kinds_a, bounds_a, i)
                b = _ring(xy_b, offsets_b, kinds_b, bounds_b, j)
                code, both = intersection_area(a, np.int64(0), b, len(a))
                if code != status.OK:
                    return code
            either = areas_a[i] + areas_b[j] - both
            if either > 0.0:
                out[i * m + j] = min(both / either, 1.0)
    return status.OK


def pairwise_iou(xy_a: F64, offsets_a: I64, kinds_a: U8, xy_b: F64, offsets_b: I64, kinds_b: U8, out: F64) -> None:
    """Fill `out` (N, M) with IoU. See `dcap.geometry.polygon_iou`."""
    check_types((xy_a, np.float64), (offsets_a, np.int64), (kinds_a, np.uint8), (out, np.float64))
    check_types((xy_b, np.float64), (offsets_b, np.int64), (kinds_b, np.uint8))
    check_writable(out)
    a = points_view(xy_a), read_only(offsets_a), read_only(kinds_a)
    b = points_view(xy_b), read_only(offsets_b), read_only(kinds_b)
    status.raise_if_failed(_pairwise_iou(*a, *b, out.reshape(-1)))
