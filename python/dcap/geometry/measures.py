"""Areas and lengths, rectangles of least area, overlap, and simplification with its price in IoU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import GeometryError
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


def simplify(shapes: ShapeArray, max_points: int) -> tuple[ShapeArray, npt.NDArray[np.float64]]:
    """Reduce every polygon and line to at most `max_points` of its own points.

    Points whose triangle with their neighbours has the least effective area go first. A polygon keeps at least 3
    points, a line its two ends; boxes are untouched.

    Args:
        shapes: N shapes.
        max_points: At least 3.

    Returns:
        The N shapes, and float64 (N,): for a polygon the IoU with its original, for a line the kept share of its
        length; 1 for an unchanged shape.

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
