"""What the numba twins share: the compiler options, array names and the layout check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from dcap.kernels import _status as status

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Array = TypeVar("Array", bound=npt.NDArray[Any])
Matrix = tuple[float, float, float, float, float, float]

BOX: Final = 0
POLYGON: Final = 1
LINE: Final = 2
MAX_COORDINATE: Final = 1e150

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
def copy_points(points: F64, out: F64, at: int) -> None:
    """Write `points` from row `at` on; much cheaper to compile than a slice assignment."""
    for i in range(len(points)):
        out[at + i, 0] = points[i, 0]
        out[at + i, 1] = points[i, 1]


def points_view(xy: F64) -> F64:
    """Return `xy` as (P, 2), read-only so that every caller shares one compiled kernel.

    Raises:
        GeometryError: It holds an odd number of values.
    """
    if xy.size % 2:
        status.raise_if_failed(status.BAD_LAYOUT)
    return read_only(xy).reshape(-1, 2)


def read_only(array: Array) -> Array:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_types(*pairs: tuple[object, type]) -> None:
    """Refuse what the C++ bindings refuse.

    Raises:
        TypeError: An argument is no C-contiguous array of the given dtype.
    """
    for array, dtype in pairs:
        if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
            raise TypeError(f"kernels take C-contiguous arrays, here of {np.dtype(dtype)}, not {type(array).__name__}")


def check_writable(*arrays: npt.NDArray[Any]) -> None:
    """Refuse read-only outputs.

    Raises:
        ValueError: An output array is not writable.
    """
    if not all(array.flags.writeable for array in arrays):
        raise ValueError("array is not writeable")
