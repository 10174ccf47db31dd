"""Canonical shapes on a grid, written as plainly as the rules read; the oracle of the kernel."""

from __future__ import annotations

from dcap.geometry.shapes import GeometryKind

Points = list[list[int]]


def canonical_points(kind: int, points: Points, span: tuple[int, int]) -> Points:
    if kind == GeometryKind.BOX:
        (x1, y1), (x2, y2) = points
        (x1, x2), (y1, y2) = widened(x1, x2, span[0]), widened(y1, y2, span[1])
        return [[x1, y1], [x2, y2]]
    points = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
    if kind == GeometryKind.LINE:
        return points if len(points) > 1 else [points[0], beside(points[0], 0, span)]
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if len({(x, y) for x, y in points}) < 3:
        points = triangle(points, span)
    return rotated(points if doubled_area(points) >= 0 else points[::-1])


def widened(low: int, high: int, end: int) -> tuple[int, int]:
    if low < high:
        return low, high
    return (low, low + 1) if low < end else (low - 1, low)


def beside(point: list[int], axis: int, span: tuple[int, int]) -> list[int]:
    moved = list(point)
    moved[axis] += 1 if moved[axis] < span[axis] else -1
    return moved


def triangle(points: Points, span: tuple[int, int]) -> Points:
    a = points[0]
    b = next((point for point in points if point != a), None) or beside(a, 0, span)
    axis = 1 if abs(b[0] - a[0]) >= abs(b[1] - a[1]) else 0
    return [a, b, beside(b, axis, span)]


def doubled_area(points: Points) -> int:
    following = [*points[1:], points[0]]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, following, strict=True))


def rotated(points: Points) -> Points:
    first = min((y, x) for x, y in points)
    starts = [i for i, (x, y) in enumerate(points) if (y, x) == first]
    if len(starts) == 1 or len(starts) > 8:
        return points[starts[0] :] + points[: starts[0]]
    return min(points[i:] + points[:i] for i in starts)
