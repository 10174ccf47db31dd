"""Legal and canonical shapes on the integer grid of answer texts.

Owns three rules. A shape that rounding made flat is widened to the smallest legal one, so that no object is lost:
a box to one unit, a line to a second point one unit beside the first, a polygon to a triangle of one unit's height.
A polygon starts at its top-most, then left-most vertex and runs clockwise on screen. Reading accepts what is legal.
"""

from __future__ import annotations

from dcap.data.answer_formats import AnswerObject
from dcap.data.answer_scan import Notes
from dcap.geometry.shapes import MIN_POINTS, GeometryKind

Points = list[list[int]]
Span = tuple[int | None, int | None]
"""Largest x and y on the grid; None where the text cannot tell."""

MAX_COORDINATE = 2**31 - 1
"""Bound where the grid is the canvas's own pixels."""

_MAX_STARTS = 8


def canonical_points(kind: int, points: Points, span: tuple[int, int]) -> Points:
    """Return the points of one shape as they are written.

    Args:
        kind: `GeometryKind`.
        points: Rounded ``[x, y]`` pairs within the grid.
        span: Largest x and y.
    """
    if kind == GeometryKind.BOX:
        (x1, y1), (x2, y2) = points
        x1, x2 = _widened(x1, x2, span[0])
        y1, y2 = _widened(y1, y2, span[1])
        return [[x1, y1], [x2, y2]]
    points = _without_repeats(points, closed=kind == GeometryKind.POLYGON)
    if kind == GeometryKind.LINE:
        return points if len(points) > 1 else [points[0], _beside(points[0], 0, span)]
    if len({(x, y) for x, y in points}) < 3:
        points = _triangle(points, span)
    return _rotated(points if _doubled_area(points) >= 0 else points[::-1])


def _widened(low: int, high: int, end: int) -> tuple[int, int]:
    if low < high:
        return low, high
    return (low, low + 1) if low < end else (low - 1, low)


def _beside(point: list[int], axis: int, span: tuple[int, int]) -> list[int]:
    """Return the grid point one unit further along an axis, or one unit back at the end of the grid."""
    moved = list(point)
    moved[axis] += 1 if moved[axis] < span[axis] else -1
    return moved


def _triangle(points: Points, span: tuple[int, int]) -> Points:
    """Return a triangle over the one or two distinct points, its third corner across their longer direction."""
    a = points[0]
    b = next((point for point in points if point != a), None) or _beside(a, 0, span)
    axis = 1 if abs(b[0] - a[0]) >= abs(b[1] - a[1]) else 0
    return [a, b, _beside(b, axis, span)]


def _without_repeats(points: Points, closed: bool) -> Points:
    kept = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
    if closed and len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    return kept


def _doubled_area(points: Points) -> int:
    """Return twice the signed area; positive runs clockwise on screen, where y points down."""
    following = [*points[1:], points[0]]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, following, strict=True))


def _rotated(points: Points) -> Points:
    """Start at the top-most, then left-most vertex; where the ring meets it again, at the smallest sequence.

    A ring that meets it very often starts at the first: comparing all sequences would take quadratic time.
    """
    first = min((y, x) for x, y in points)
    starts = [i for i, (x, y) in enumerate(points) if (y, x) == first]
    if len(starts) == 1 or len(starts) > _MAX_STARTS:
        return points[starts[0] :] + points[: starts[0]]
    return min(points[i:] + points[:i] for i in starts)


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
