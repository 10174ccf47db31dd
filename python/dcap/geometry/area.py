"""Areas, lengths and rectangles of least area."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.geometry.shapes import ShapeArray


def area_or_length(shapes: ShapeArray) -> npt.NDArray[np.float64]:
    """Return the area of every box and polygon (even-odd rule) and the length of every line, float64 (N,), pixels.

    Raises:
        GeometryError: A polygon crosses itself millions of times, or a coordinate is above 1e150.

    Source: Green's theorem along the ring, whose interior changes sides at every crossing with itself.
    """
    out = np.empty(len(shapes))
    kernels.area_or_length(shapes.xy, shapes.offsets, shapes.kinds, out)
    return out


def min_area_rect(shapes: ShapeArray) -> npt.NDArray[np.float64]:
    """Return the rectangle of least area, in any direction, around every shape.

    Returns:
        float64 (N, 4, 2): corners clockwise on screen (y points down), from the top-most, then left-most one. A shape
        without area gives its segment there and back.

    Raises:
        GeometryError: A coordinate is above 1e150.

    Source: H. Freeman, R. Shapira 1975, with the rotating calipers of G. Toussaint 1983.
    """
    out = np.empty((len(shapes), 4, 2))
    kernels.min_area_rect(shapes.xy, shapes.offsets, shapes.kinds, out)
    return out
