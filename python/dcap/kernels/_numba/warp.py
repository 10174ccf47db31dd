"""Twin of cpp/src/warp.cpp."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import jit
from dcap.kernels._types import MAX_COORDINATE, U8, Matrix, check_types, check_writable

CHANNELS: Final = 3
MAX_SIDE: Final = 32768
MAX_STEP: Final = 1024.0
BITS: Final = 14
UNIT: Final = float(1 << BITS)
FRACTION: Final = (1 << BITS) - 1
FARTHEST: Final = float(1 << 30)
LONGEST_STEP: Final = MAX_STEP * UNIT
GROUP: Final = 32


def warp(image: U8, matrix: Matrix, samples: tuple[int, int], out: U8) -> None:
    """Fill `out` with what an image shows where `matrix` leads. See `dcap.augment.rendering.render`."""
    check_types((image, np.uint8), (out, np.uint8))
    check_writable(out)
    if out.ndim != CHANNELS or out.shape[2] != CHANNELS or not {1, 2}.issuperset(samples):
        status.raise_if_failed(status.BAD_ARGUMENT)
    if image.ndim != CHANNELS or image.shape[2] != CHANNELS or not 0 < image.size < 2**31:
        status.raise_if_failed(status.BAD_SOURCE)
    if max(image.shape) > MAX_SIDE:
        status.raise_if_failed(status.BAD_SOURCE)
    if not (np.abs(matrix) <= MAX_COORDINATE).all():
        status.raise_if_failed(status.NOT_FINITE)
    height, width, _ = image.shape
    if (width > 1 and abs(matrix[0]) > MAX_STEP) or (height > 1 and abs(matrix[3]) > MAX_STEP):
        status.raise_if_failed(status.BAD_SOURCE)
    _fill(image, tuple(float(v) for v in matrix), *samples, out)


@jit
def _fixed(value: float, most: float) -> Any:
    return np.int32(min(max(value, -most), most))


@jit
def _last(side: int) -> Any:
    return max(((side - 1) << BITS) - 1, 0)


@jit
def _fill(image: U8, m: Matrix, samples_x: int, samples_y: int, out: U8) -> None:
    shift = samples_x * samples_y // 2
    step_x, step_y = _fixed(m[0] * UNIT, LONGEST_STEP), _fixed(m[3] * UNIT, LONGEST_STEP)
    column_step, row_step = 1.0 / samples_x, 1.0 / samples_y
    height, width, _ = out.shape
    last_x, last_y = _last(image.shape[1]), _last(image.shape[0])
    next_x, next_y = min(1, image.shape[1] - 1), min(1, image.shape[0] - 1)
    sums = np.empty((GROUP, CHANNELS), np.int32)
    for row in range(height):
        for column in range(0, width, GROUP):
            count = min(GROUP, width - column)
            sums[:] = 0
            for j in range(samples_y):
                v = row + (j + 0.5) * row_step
                for i in range(samples_x):
                    u = column + (i + 0.5) * column_step
                    x = _fixed((m[0] * u + (m[1] * v + m[2]) - 0.5) * UNIT, FARTHEST)
                    y = _fixed((m[3] * u + (m[4] * v + m[5]) - 0.5) * UNIT, FARTHEST)
                    for k in range(count):
                        at_x, at_y = min(max(x + k * step_x, 0), last_x), min(max(y + k * step_y, 0), last_y)
                        right = ((at_x & FRACTION) + (1 << (BITS - 8))) >> (BITS - 7)
                        below = (at_y & FRACTION) << (15 - BITS)
                        x1, y1 = at_x >> BITS, at_y >> BITS
                        x2, y2 = x1 + next_x, y1 + next_y
                        for c in range(CHANNELS):
                            above = (128 - right) * image[y1, x1, c] + right * image[y1, x2, c] - 128 * 128
                            under = (128 - right) * image[y2, x1, c] + right * image[y2, x2, c] - 128 * 128
                            value = above + (((under - above) * below + (1 << 14)) >> 15)
                            sums[k, c] += value >> shift
            for k in range(count):
                for c in range(CHANNELS):
                    out[row, column + k, c] = np.uint8(((sums[k, c] + 64) >> 7) + 128)
