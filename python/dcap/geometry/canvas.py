"""Canvas: the pixel extent that shapes and images share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.core.errors import GeometryError

MAX_PIXELS = 178_956_970
"""Largest area that is decoded or rendered by default; the bound of Pillow."""
MOST_PIXELS = (2**31 - 1) // 3
"""Largest bound that can be set: an image that is warped has fewer than 2^31 values."""
MAX_ASPECT_RATIO = 200
"""Longest side that the vision tower's processor takes, as a multiple of the other one."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image's extent in whole pixels; as a rectangle it spans [0, width] x [0, height].

    Args:
        height: Rows, at least 1.
        width: Columns, at least 1.

    Raises:
        GeometryError: A side is not a positive integer.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if isinstance(value, np.integer):
                value = int(value)
                object.__setattr__(self, name, value)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise GeometryError(f"{name} must be an integer >= 1, not {value!r}")

    @property
    def rect(self) -> tuple[float, float, float, float]:
        """The canvas as x1, y1, x2, y2 in its own pixel-edge frame."""
        return (0.0, 0.0, float(self.width), float(self.height))

    @property
    def num_pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


def check_aspect(canvas: Canvas) -> None:
    """Refuse what is too narrow for the vision tower.

    Raises:
        GeometryError: One side is more than `MAX_ASPECT_RATIO` times the other.
    """
    if max(canvas.height, canvas.width) > MAX_ASPECT_RATIO * min(canvas.height, canvas.width):
        raise GeometryError(
            f"width, height must have an aspect ratio of at most {MAX_ASPECT_RATIO}, not {canvas.width} x "
            f"{canvas.height}"
        )
