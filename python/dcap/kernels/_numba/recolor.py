"""Twin of cpp/src/recolor.cpp: the same float32 operations on the same blocks of pixels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import jit
from dcap.kernels._types import U8, check_types, check_writable

TABLE: Final = 0
SATURATION: Final = 1
HSV: Final = 2
TABLE_SIZE: Final = 256
NUMBERS: Final = 3
PIXELS: Final = 256

F32 = npt.NDArray[np.float32]

# Behind 1.5 * 2^23 a float has no bits left for fractions.
_ROUND: Final = np.float32(12582912.0)
_ZERO, _ONE, _TWO, _THREE, _FOUR, _SIX, _MOST = (np.float32(v) for v in (0, 1, 2, 3, 4, 6, 255))
_RED, _GREEN, _BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)


def recolor(image: U8, kinds: U8, tables: U8, numbers: F32, out: U8) -> None:
    """Fill `out` with the values after every step. See `dcap.augment.color.apply_color`."""
    check_types((image, np.uint8), (kinds, np.uint8), (tables, np.uint8), (numbers, np.float32), (out, np.uint8))
    check_writable(out)
    n = kinds.size
    if image.size % 3 or out.size != image.size or tables.size != TABLE_SIZE * n or numbers.size != NUMBERS * n:
        status.raise_if_failed(status.BAD_ARGUMENT)
    kinds, numbers = kinds.reshape(-1), numbers.reshape(-1, NUMBERS)
    status.raise_if_failed(_check(kinds, numbers))
    _apply(image.reshape(-1, 3), kinds, tables.reshape(-1, TABLE_SIZE), numbers, out.reshape(-1, 3))


def _check(kinds: U8, numbers: F32) -> int:
    for kind, values in zip(kinds.tolist(), numbers, strict=True):
        read = values[: (0, 1, NUMBERS)[kind] if kind <= HSV else 0]
        if kind > HSV or not (np.isfinite(read) & (read >= 0)).all() or (kind == HSV and values[0] > _SIX):
            return status.BAD_COLOR
    return status.OK


@jit
def _smaller(a: Any, b: Any) -> Any:
    return a if a < b else b


@jit
def _larger(a: Any, b: Any) -> Any:
    return a if a > b else b


@jit
def _rounded(value: Any) -> Any:
    return value + _ROUND - _ROUND


@jit
def _saturate(p: F32, factor: Any) -> None:
    for i in range(PIXELS):
        red, green, blue = p[0, i], p[1, i], p[2, i]
        grey = _RED * red + _GREEN * green + _BLUE * blue
        p[0, i] = _rounded(_smaller(_larger(grey + factor * (red - grey), _ZERO), _MOST))
        p[1, i] = _rounded(_smaller(_larger(grey + factor * (green - grey), _ZERO), _MOST))
        p[2, i] = _rounded(_smaller(_larger(grey + factor * (blue - grey), _ZERO), _MOST))


@jit
def _scale_hsv(p: F32, turn: Any, saturation: Any, value: Any) -> None:
    saturation, value = _smaller(saturation, _MOST), _smaller(value, _MOST)
    for i in range(PIXELS):
        red, green, blue = p[0, i], p[1, i], p[2, i]
        before = _larger(_larger(red, green), blue)
        spread = before - _smaller(_smaller(red, green), blue)
        circle = _SIX * spread
        near_red, near_green, near_blue = green - blue, blue - red + _TWO * spread, red - green + _FOUR * spread
        hue = (near_red if before == red else near_green if before == green else near_blue) + turn * spread
        hue = hue - circle if hue >= circle else hue
        hue = hue + circle if hue < _ZERO else hue
        after = _smaller(before * value, _MOST)
        gain = after * saturation / _larger(_larger(before, _ONE), saturation * spread)
        least = after - gain * spread
        red = abs(hue - _THREE * spread) - spread
        green = _TWO * spread - abs(hue - _TWO * spread)
        blue = _TWO * spread - abs(hue - _FOUR * spread)
        p[0, i] = _rounded(least + gain * _smaller(_larger(red, _ZERO), spread))
        p[1, i] = _rounded(least + gain * _smaller(_larger(green, _ZERO), spread))
        p[2, i] = _rounded(least + gain * _smaller(_larger(blue, _ZERO), spread))


@jit
def _apply(rgb: U8, kinds: U8, tables: U8, numbers: F32, out: U8) -> None:
    planes = np.zeros((3, PIXELS), np.float32)
    for start in range(0, len(rgb), PIXELS):
        count = min(PIXELS, len(rgb) - start)
        for i in range(count):
            for channel in range(3):
                planes[channel, i] = rgb[start + i, channel]
        for k in range(len(kinds)):
            if kinds[k] == TABLE:
                for channel in range(3):
                    for i in range(PIXELS):
                        planes[channel, i] = tables[k, np.uint8(planes[channel, i])]
            elif kinds[k] == SATURATION:
                _saturate(planes, numbers[k, 0])
            else:
                _scale_hsv(planes, numbers[k, 0], numbers[k, 1], numbers[k, 2])
        for i in range(count):
            for channel in range(3):
                out[start + i, channel] = np.uint8(planes[channel, i])
