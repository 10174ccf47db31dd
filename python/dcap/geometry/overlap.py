"""How much shapes overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.geometry.shapes import ShapeArray


def polygon_iou(a: ShapeArray, b: ShapeArray) -> npt.NDArray[np.float64]:
    """Return the intersection over union of every shape of `a` with every shape of `b`.

    Boxes and polygons in any mixture, filled by the even-odd rule; concave and self-crossing rings included. A line
    encloses nothing: its value is 0, as it is for two shapes without area.

    Returns:
        float64 (len(a), len(b)) in [0, 1].

    Raises:
        GeometryError: A polygon crosses itself, or a pair each other, millions of times.
    """
    out = np.empty((len(a), len(b)))
    kernels.pairwise_iou(a.xy, a.offsets, a.kinds, b.xy, b.offsets, b.kinds, out)
    return out
