"""Twin of cpp/src/affine.cpp."""

from __future__ import annotations

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import check_layout, copy_points, jit
from dcap.kernels._types import (
    BOX,
    F64,
    I64,
    MAX_COORDINATE,
    POLYGON,
    U8,
    Matrix,
    check_types,
    check_writable,
    points_view,
    read_only,
)


@jit
def is_identity(m: Matrix) -> bool:
    return m[0] == 1.0 and m[1] == 0.0 and m[2] == 0.0 and m[3] == 0.0 and m[4] == 1.0 and m[5] == 0.0


@jit
def is_axis_aligned(m: Matrix) -> bool:
    return (m[1] == 0.0 and m[3] == 0.0) or (m[0] == 0.0 and m[4] == 0.0)


@jit
def map_points(m: Matrix, xy: F64, out: F64) -> None:
    for i in range(len(xy)):
        x, y = xy[i, 0], xy[i, 1]
        out[i, 0] = m[0] * x + m[1] * y + m[2]
        out[i, 1] = m[3] * x + m[4] * y + m[5]


@jit
def map_box(m: Matrix, xy: F64, keep_boxes: bool, out: F64) -> int:
    """Map one box and write 2 points (a box) or 4 (a polygon); return that number."""
    q = np.empty((4, 2))
    for k in range(4):
        # Corners clockwise on screen.
        x = xy[1 if k in (1, 2) else 0, 0]
        y = xy[1 if k >= 2 else 0, 1]
        q[k, 0] = m[0] * x + m[1] * y + m[2]
        q[k, 1] = m[3] * x + m[4] * y + m[5]
    if not is_axis_aligned(m) and not keep_boxes:
        copy_points(q, out, 0)
        return 4
    for axis in range(2):
        low = high = q[0, axis]
        for k in range(1, 4):
            low = q[k, axis] if q[k, axis] < low else low
            high = q[k, axis] if q[k, axis] > high else high
        out[0, axis] = low
        out[1, axis] = high
    return 2


@jit
def _transform(
    xy: F64,
    offsets: I64,
    kinds: U8,
    m: Matrix,
    keep_boxes: bool,
    out_xy: F64,
    out_offsets: I64,
    out_kinds: U8,
) -> tuple[int, int]:
    code = check_layout(xy, offsets, kinds)
    if code != status.OK:
        return code, 0
    if len(out_offsets) != len(offsets) or len(out_kinds) != len(kinds):
        return status.BAD_ARGUMENT, 0
    polygons = not is_axis_aligned(m) and not keep_boxes
    legal = True
    at = 0
    out_offsets[0] = 0
    for i in range(len(kinds)):
        box = kinds[i] == BOX
        count = (4 if polygons else 2) if box else offsets[i + 1] - offsets[i]
        if at + count > len(out_xy):
            return status.BAD_ARGUMENT, 0
        points = xy[offsets[i] : offsets[i + 1]]
        out = out_xy[at : at + count]
        if box:
            map_box(m, points, keep_boxes, out)
        else:
            map_points(m, points, out)
        for j in range(count):
            legal &= abs(out[j, 0]) <= MAX_COORDINATE and abs(out[j, 1]) <= MAX_COORDINATE
        at += count
        out_offsets[i + 1] = at
        out_kinds[i] = POLYGON if box and polygons else kinds[i]
    return (status.OK if legal else status.NOT_FINITE), at


def transform(
    xy: F64,
    offsets: I64,
    kinds: U8,
    matrix: Matrix,
    keep_boxes: bool,
    out_xy: F64,
    out_offsets: I64,
    out_kinds: U8,
) -> int:
    """Map all shapes; return the number of points written. See `dcap.geometry.transform`."""
    check_types((xy, np.float64), (offsets, np.int64), (kinds, np.uint8))
    check_types((out_xy, np.float64), (out_offsets, np.int64), (out_kinds, np.uint8))
    check_writable(out_xy, out_offsets, out_kinds)
    points, out = points_view(xy), out_xy.reshape(-1, 2)
    code, num_points = _transform(
        points, read_only(offsets), read_only(kinds), matrix, keep_boxes, out, out_offsets, out_kinds
    )
    status.raise_if_failed(code)
    return int(num_points)
