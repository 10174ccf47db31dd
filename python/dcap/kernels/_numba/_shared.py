"""Shared parts of the numba twins: the compiler options, the layout check, bounds, copying and sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._types import BOX, F64, I64, LINE, MAX_COORDINATE, POLYGON, U8

# No fastmath: reassociation and FMA would part the twins from C++. Division by zero gives inf, as in C++.
_compile = numba.njit(cache=True, nogil=True, error_model="numpy")


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; the machine code is cached on disk."""
    return _compile(function)


@jit
def check_layout(xy: F64, offsets: I64, kinds: U8) -> int:
    n = len(kinds)
    if len(offsets) != n + 1 or offsets[0] != 0:
        return status.BAD_LAYOUT
    for i in range(n):
        count = offsets[i + 1] - offsets[i]
        if kinds[i] > LINE or count < 2 or (kinds[i] == BOX and count != 2) or (kinds[i] == POLYGON and count < 3):
            return status.BAD_LAYOUT
    return status.OK if offsets[n] == len(xy) else status.BAD_LAYOUT


@jit
def bounds_of(xy: F64) -> tuple[float, float, float, float, bool]:
    """Return x1, y1, x2, y2 of at least one point, and whether all are finite and not too large."""
    x1, y1, x2, y2 = xy[0, 0], xy[0, 1], xy[0, 0], xy[0, 1]
    fits = True
    for i in range(len(xy)):
        x, y = xy[i, 0], xy[i, 1]
        x1 = x if x < x1 else x1
        y1 = y if y < y1 else y1
        x2 = x if x > x2 else x2
        y2 = y if y > y2 else y2
        fits &= abs(x) <= MAX_COORDINATE and abs(y) <= MAX_COORDINATE
    return x1, y1, x2, y2, fits


@jit
def two_corners(x1: float, y1: float, x2: float, y2: float) -> F64:
    """Return the corners that a box has as a shape, (2, 2). Nested lists are dear to compile, here and below."""
    out = np.empty((2, 2))
    out[0, 0], out[0, 1], out[1, 0], out[1, 1] = x1, y1, x2, y2
    return out


@jit
def four_corners(x1: float, y1: float, x2: float, y2: float) -> F64:
    """Return the corners that a box has as a ring, (4, 2)."""
    out = np.empty((4, 2))
    out[0, 0], out[0, 1], out[1, 0], out[1, 1] = x1, y1, x2, y1
    out[2, 0], out[2, 1], out[3, 0], out[3, 1] = x2, y2, x1, y2
    return out


@jit
def copy_points(points: F64, out: F64, at: int) -> None:
    """Write `points` from row `at` on; much cheaper to compile than a slice assignment."""
    for i in range(len(points)):
        out[at + i, 0] = points[i, 0]
        out[at + i, 1] = points[i, 1]


@jit
def sort_order(primary: F64, secondary: F64) -> I64:
    """Return the indices that sort by (primary, secondary, index)."""
    order = np.argsort(secondary, kind="mergesort")  # numba's one stable sort
    return order[np.argsort(primary[order], kind="mergesort")]
