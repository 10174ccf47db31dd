"""Fewer points for polygons and lines, with the price in IoU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import GeometryError
from dcap.geometry.shapes import ShapeArray


def simplify(shapes: ShapeArray, max_points: int) -> tuple[ShapeArray, npt.NDArray[np.float64]]:
    """Reduce every polygon and line to at most `max_points` of its own points.

    Points whose triangle with their neighbours has the least effective area go first. A polygon keeps at least 3
    points, a line its two ends; boxes are untouched.

    Args:
        shapes: N shapes.
        max_points: At least 3.

    Returns:
        The N shapes, and float64 (N,): of a polygon the IoU with its original, of a line the share of its length that
        is kept, 1 for what is untouched.

    Raises:
        GeometryError: `max_points` is below 3, or a polygon crosses itself millions of times.

    Source: M. Visvalingam, J. D. Whyatt, "Line generalisation by repeated elimination of points", 1993.
    """
    if isinstance(max_points, bool) or not isinstance(max_points, (int, np.integer)) or max_points < 3:
        raise GeometryError(f"max_points must be an integer >= 3, not {max_points!r}")
    keep = np.empty(len(shapes.xy), np.uint8)
    score = np.empty(len(shapes))
    kernels.simplify(shapes.xy, shapes.offsets, shapes.kinds, int(max_points), keep, score)
    if keep.all():
        return shapes, score
    kept = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    return ShapeArray.trusted(shapes.xy[keep.view(bool)], kept[shapes.offsets], shapes.kinds), score
