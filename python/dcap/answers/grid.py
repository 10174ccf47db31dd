"""Legal and canonical shapes on the integer grid of answer texts.

Owns three rules. A shape that rounding made flat is widened to the smallest legal one, so that no object is lost:
a box to one unit, a line to a second point one unit beside the first, a polygon to a triangle of one unit's height.
A polygon starts at its top-most, then left-most vertex and runs clockwise on screen; where it meets that vertex again
(up to 8 times), at the smallest sequence. Reading accepts what is legal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.answers.formats import AnswerObject
from dcap.answers.reader import Notes
from dcap.geometry.shapes import MIN_POINTS, GeometryKind, ShapeArray

Points = list[list[int]]
Span = tuple[int | None, int | None]
"""Largest x and y on the grid; None where the text cannot tell."""

MAX_COORDINATE = 2**31 - 1
"""Bound where the grid is the canvas's own pixels."""


def canonical_shapes(
    grid: npt.NDArray[np.int64], shapes: ShapeArray, order: npt.NDArray[np.int64], span: tuple[int, int]
) -> ShapeArray:
    """Return shapes on the grid as they are written.

    ::

        grid   [[2, 7], [2, 7], [9, 9]]    a polygon that rounding made flat
        out    [[2, 7], [9, 9], [9, 10]]

    Args:
        grid: The rounded points of all shapes, int64 (P, 2), within the span.
        shapes: Which points belong to which shape, and the kinds.
        order: int64 (N,), a permutation: the shape at each place.
        span: Largest x and y.

    Returns:
        N shapes, whole numbers as float64.
    """
    out, offsets = np.empty_like(grid), np.empty(len(order) + 1, np.int64)
    num_points = kernels.canonicalize(grid, shapes.offsets, shapes.kinds, order, span, out, offsets)
    return ShapeArray.trusted(out[:num_points].astype(np.float64), offsets, shapes.kinds[order])


def _without_repeats(points: Points, closed: bool) -> Points:
    kept = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
    if closed and len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    return kept


def legal_points(obj: AnswerObject, span: Span, notes: Notes) -> Points | None:
    """Return the points of an object that was read, or None, with a note, where they are no legal shape.

    Raises:
        AnswerError: In strict reading, for every difference from a legal shape.
    """
    name, place = obj.kind.name.lower(), obj.position
    limits = [MAX_COORDINATE if end is None else end for end in span]
    points = [[_on_grid(value, limits[axis]) for axis, value in enumerate(point)] for point in obj.points]
    if any(type(value) is float for point in obj.points for value in point):
        notes.add(place, f"{name} must have whole numbers")
    if any(not 0 <= value <= limits[axis] for point in obj.points for axis, value in enumerate(point)):
        notes.add(place, f"{name} must have numbers within 0..{max(limits)}")
    if obj.kind is GeometryKind.BOX:
        return _legal_box(points, place, notes)
    kept = _without_repeats(points, closed=obj.kind is GeometryKind.POLYGON)
    if len(kept) < len(points):
        notes.add(place, f"{name} must not repeat a point")
    least = MIN_POINTS[obj.kind]
    if len({(x, y) for x, y in kept}) < least:
        notes.add(place, f"{name} must have at least {least} distinct points")
        return None
    return kept


def _on_grid(value: float, end: int) -> int:
    return round(min(max(value, 0), end))


def _legal_box(points: Points, place: int, notes: Notes) -> Points | None:
    if len(points) != 2:
        notes.add(place, "box must have 4 numbers")
        return None
    (x1, y1), (x2, y2) = points
    if x1 == x2 or y1 == y2:
        notes.add(place, "box must have x1 < x2 and y1 < y2, not an empty side")
        return None
    if x1 > x2 or y1 > y2:
        notes.add(place, "box must have x1 < x2 and y1 < y2, not swapped corners")
    return [[min(x1, x2), min(y1, y2)], [max(x1, x2), max(y1, y2)]]
