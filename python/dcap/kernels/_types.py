"""Shared parts of the kernels in Python: array names, kinds of shapes, and the checks of arguments."""

from __future__ import annotations

from typing import Any, Final, TypeVar

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
        TypeError: An argument is no C-contiguous, aligned array of the given dtype.
    """
    for array, dtype in pairs:
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise TypeError(f"kernels take arrays, here of {np.dtype(dtype)}, not {type(array).__name__}")
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise TypeError('kernels take C-contiguous, aligned arrays. Use numpy.require(array, requirements="CA").')


def check_writable(*arrays: npt.NDArray[Any]) -> None:
    """Refuse read-only outputs.

    Raises:
        ValueError: An output array is not writable.
    """
    if not all(array.flags.writeable for array in arrays):
        raise ValueError("array is not writeable")
