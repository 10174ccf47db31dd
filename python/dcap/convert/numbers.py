"""Lists of numbers in foreign files: checked at once, and one by one only for the message."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.convert.json_file import show_short
from dcap.core.errors import RecordError

_TYPES = frozenset((int, float))


def checked_numbers(values: Any, name: str, limit: float) -> npt.NDArray[np.float64]:
    """Return numbers as float64 (n,).

    Args:
        values: What a file gives as a list of numbers.
        name: What they are, for the message: item 3 is ``name[3]``.
        limit: Largest magnitude.

    Raises:
        RecordError: It is no list, or an item is no finite number within the limit.
    """
    if not isinstance(values, list):
        raise RecordError(f"{name} must be a list of numbers, not {show_short(values)}")
    if _TYPES.issuperset(map(type, values)):
        try:
            array = np.array(values, np.float64)
        except OverflowError:  # a whole number beyond 1e308
            array = np.array([np.inf])
        if not len(array) or np.abs(array).max() <= limit:
            return array
    k = next(k for k, value in enumerate(values) if type(value) not in _TYPES or not abs(value) <= limit)
    raise RecordError(f"{name}[{k}] must be a finite number within {limit:g}, not {show_short(values[k])}")
