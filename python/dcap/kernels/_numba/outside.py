"""Twin of cpp/src/outside.cpp."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import jit
from dcap.kernels._types import F64, MAX_COORDINATE, U8, check_types, check_writable

CHANNELS: Final = 3
SCANLINES: Final = 8

# Behind 1.5 * 2^52 a double has no bits left for fractions.
_ROUND: Final = 6755399441055744.0


def fill_outside(region: F64, grey: int, out: U8) -> None:
    """Blend the pixels of `out` with grey outside a region. See `dcap.augment.rendering.render`."""
    check_types((region, np.float64), (out, np.uint8))
    check_writable(out)
    if out.ndim != 3 or out.shape[2] != CHANNELS or region.size % 2:
        status.raise_if_failed(status.BAD_ARGUMENT)
    if not (np.abs(region) <= MAX_COORDINATE).all():
        status.raise_if_failed(status.NOT_FINITE)
    _fill(region.reshape(-1, 2), grey, out)


@jit
def _fill(region: F64, grey: int, out: U8) -> None:
    height, width, _ = out.shape
    left, right = np.empty(SCANLINES), np.empty(SCANLINES)
    for y in range(height):
        _find_spans(region, float(y), width, left, right)
        first, end = math.floor(left.min()), math.ceil(right.max())
        if first >= end:
            out[y] = grey
            continue
        out[y, :first] = grey
        out[y, end:] = grey
        inner = min(math.ceil(left.max()), end)
        outer = max(math.floor(right.min()), inner)
        _blend(left, right, first, inner, grey, out[y])
        _blend(left, right, outer, end, grey, out[y])


@jit
def _find_spans(region: F64, row: float, width: int, left: F64, right: F64) -> None:
    left[:] = width
    right[:] = 0.0
    n = len(region)
    for i in range(n):
        px, py = region[i]
        qx, qy = region[i + 1 if i + 1 < n else 0]
        low, high = min(py, qy), max(py, qy)
        if high <= row or low >= row + 1.0:
            continue
        slope = (qx - px) / (qy - py)
        for k in range(SCANLINES):
            y = row + (k + 0.5) / SCANLINES
            if y < low or y >= high:
                continue
            x = px + (y - py) * slope
            if x < left[k]:
                left[k] = x
            if x > right[k]:
                right[k] = x
    for k in range(SCANLINES):
        left[k] = max(left[k], 0.0)
        right[k] = min(right[k], float(width))


@jit
def _blend(left: F64, right: F64, start: int, stop: int, grey: int, row: U8) -> None:
    for x in range(start, stop):
        inside = 0.0
        for k in range(SCANLINES):
            inside += max(min(right[k], x + 1.0) - max(left[k], float(x)), 0.0)
        for channel in range(CHANNELS):
            mixed = grey + inside / SCANLINES * (float(row[x, channel]) - grey)
            row[x, channel] = np.uint8(mixed + _ROUND - _ROUND)
