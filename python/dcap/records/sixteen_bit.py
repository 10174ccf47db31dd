"""Values of 16 bits to 8: the one place where an image of more depth than a screen becomes an ordinary picture."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

SixteenBit = Literal["full", "minmax", "percentile"]
"""Which range of 16-bit values becomes 0 to 255."""

DARK: Final = 64
"""A picture with no brighter value than this, of 256, shows next to nothing."""
_PERCENT: Final = 1
_VALUES: Final = 1 << 16


def to_bytes(values: npt.NDArray[np.uint16], rule: SixteenBit) -> npt.NDArray[np.uint8]:
    """Return 16-bit values as 8-bit ones.

    - ``full``: 0..65535 becomes 0..255, by the high byte. An image whose values fill 12 bits is nearly black.
    - ``minmax``: the smallest value of the image becomes 0, the largest 255, those between in proportion.
    - ``percentile``: the same from the 1st to the 99th percentile; what is beyond becomes 0 and 255. A few hot pixels
      do not darken the rest.

    The channels of a colour image have one range, so that its hues stay. Where the range holds one value only, the next
    wider rule decides.

    Args:
        values: uint16, any shape.
        rule: Which range.

    Returns:
        uint8, the same shape.
    """
    for low, high in _ranges(values, rule):
        if low < high:
            scaled = (np.arange(_VALUES).clip(low, high) - low) * (255.0 / (high - low))
            table: npt.NDArray[Any] = np.rint(scaled).astype(np.uint8)
            return table[values]
    return (values >> 8).astype(np.uint8)


def _ranges(values: npt.NDArray[np.uint16], rule: SixteenBit) -> list[tuple[int, int]]:
    if rule == "full" or not values.size:
        return []
    whole = (int(values.min()), int(values.max()))
    if rule == "minmax":
        return [whole]
    up_to = np.bincount(values.ravel(), minlength=_VALUES).cumsum()
    low, high = (np.searchsorted(up_to, values.size * share / 100) for share in (_PERCENT, 100 - _PERCENT))
    return [(int(low), int(high)), whole]
