"""Other ways to map and clip the shapes of an image; each returns the visible area or length per source object.

A new rival is a function here and a line in `calls`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyclipr
import shapely

from dcap.geometry import Affine, ShapeArray, area_or_length, transform_and_clip

Rect = tuple[float, float, float, float]
Point = tuple[float, float]
Object = dict[str, list[float]]
Sizes = npt.NDArray[np.float64]
BOX, POLYGON, LINE = 0, 1, 2


def sizes_of_dcap(shapes: ShapeArray, affine: Affine, rect: Rect) -> Sizes:
    clipped = transform_and_clip(shapes, affine, rect)
    return np.bincount(clipped.source_index, area_or_length(clipped.shapes), minlength=len(shapes))


# Plain Python: dicts in and out, one object after the other.


def _cut_line(line: list[Point], axis: int, sign: float, at: float) -> list[list[Point]]:
    parts: list[list[Point]] = []
    part: list[Point] = []
    for k, p in enumerate(line):
        h = sign * (p[axis] - at)
        if k:
            q = line[k - 1]
            g = sign * (q[axis] - at)
            if (h > 0) != (g > 0) and h != g:
                t = g / (g - h)
                part.append((q[0] + (p[0] - q[0]) * t, q[1] + (p[1] - q[1]) * t))
                if h <= 0:
                    parts.append(part)
                    part = []
        if h > 0:
            part.append(p)
    return [*parts, part] if len(part) > 1 else parts


def _cut_ring(ring: list[Point], axis: int, sign: float, at: float) -> list[list[Point]]:
    heights = [sign * (p[axis] - at) for p in ring]
    if min(heights) >= 0:
        return [ring]
    if max(heights) <= 0:
        return []
    start = next(k for k, h in enumerate(heights) if h <= 0)
    ring, heights = ring[start:] + ring[:start], heights[start:] + heights[:start]
    chains: list[list[Point]] = []
    for k in range(1, len(ring)):
        p, q, h, g = ring[k], ring[k - 1], heights[k], heights[k - 1]
        if (h > 0) != (g > 0):
            t = g / (g - h)
            meeting = (q[0] + (p[0] - q[0]) * t, q[1] + (p[1] - q[1]) * t)
            if h > 0:
                chains.append([meeting])
            else:
                chains[-1].append(meeting)
        if h > 0:
            chains[-1].append(p)
    if heights[-1] > 0:
        t = heights[-1] / (heights[-1] - heights[0])
        p, q = ring[0], ring[-1]
        chains[-1].append((q[0] + (p[0] - q[0]) * t, q[1] + (p[1] - q[1]) * t))
    ports = sorted(
        [(c[0][1 - axis], k, 0) for k, c in enumerate(chains)] + [(c[-1][1 - axis], k, 1) for k, c in enumerate(chains)]
    )
    partner = {}
    for a, b in zip(ports[::2], ports[1::2], strict=True):
        partner[a[1:]], partner[b[1:]] = b[1:], a[1:]
    parts, left = [], set(range(len(chains)))
    while left:
        first = chain = min(left)
        part: list[Point] = []
        while True:
            left.discard(chain)
            part += chains[chain]
            chain = partner[chain, 1][0]
            if chain == first:
                break
        parts.append(part)
    return parts


def _area(ring: list[Point]) -> float:
    return abs(sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(ring, ring[1:] + ring[:1], strict=True))) / 2


def _length(line: list[Point]) -> float:
    return sum(math.dist(p, q) for p, q in pairwise(line))


def plain_python(objects: list[Object], affine: Affine, rect: Rect) -> list[tuple[int, Object, float]]:
    """Parts as (source, object, visible fraction), with exact pieces and no bridges.

    Straight from the book: every shape meets every side of the rectangle, as in the public reference pipeline. It does
    less than dcap, since its signed areas are right for rings that do not cross themselves only.
    """
    a, b, c, d, e, f = affine.coefficients
    x1, y1, x2, y2 = rect
    result: list[tuple[int, Object, float]] = []
    for source, obj in enumerate(objects):
        [(key, numbers)] = obj.items()
        if not all(math.isfinite(v) for v in numbers):
            raise ValueError(f"{key} must be finite")
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if key == "bbox_2d":
            (p, q), (r, s) = points
            points = [(p, q), (r, q), (r, s), (p, s)]
            key = "poly"
        mapped = [(a * x + b * y + c, d * x + e * y + f) for x, y in points]
        cut, size = (_cut_line, _length) if key == "line" else (_cut_ring, _area)
        parts = [mapped]
        for axis, sign, at in ((0, 1.0, x1), (1, 1.0, y1), (0, -1.0, x2), (1, -1.0, y2)):
            parts = [piece for part in parts for piece in cut(part, axis, sign, at)]
        share = sum(size(part) for part in parts) / size(mapped) if parts else 0.0
        result += [(source, {key: [v for p in part for v in p]}, share) for part in parts]
    return result


def sizes_of_plain_python(shapes: ShapeArray, affine: Affine, rect: Rect) -> Sizes:
    sizes = np.zeros(len(shapes))
    for source, obj, _ in plain_python(shapes.to_objects(), affine, rect):
        [(key, numbers)] = obj.items()
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        sizes[source] += (_length if key == "line" else _area)(points)
    return sizes


# shapely: one vectorised call over all geometries, which are made beforehand.


def geometries_of(shapes: ShapeArray) -> npt.NDArray[np.object_]:
    """Shapely geometries of all shapes."""
    make = {BOX: lambda p: shapely.box(*p.ravel()), POLYGON: shapely.Polygon, LINE: shapely.LineString}
    return np.array([make[int(kind)](points) for kind, points in shapes], object)


def shapely_clip_by_rect(geometries: npt.NDArray[np.object_], affine: Affine, rect: Rect) -> npt.NDArray[np.object_]:
    return shapely.clip_by_rect(shapely.transform(geometries, affine.apply), *rect)


def shapely_intersection(geometries: npt.NDArray[np.object_], affine: Affine, rect: Rect) -> npt.NDArray[np.object_]:
    return shapely.intersection(shapely.transform(geometries, affine.apply), shapely.box(*rect))


def sizes_of_shapely(clipped: npt.NDArray[np.object_], shapes: ShapeArray) -> Sizes:
    return np.where(shapes.kinds == LINE, shapely.length(clipped), shapely.area(clipped))


# Clipper2 through pyclipr: polygons only, with the same test of bounds in front.


def clipper2(rings: list[npt.NDArray[np.float64]], affine: Affine, rect: Rect) -> list[list[npt.NDArray[np.float64]]]:
    """Parts per ring, each clipped in a call of its own: together they would be merged."""
    x1, y1, x2, y2 = rect
    window = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    result = []
    for ring in rings:
        mapped = affine.apply(ring)
        low, high = mapped.min(axis=0), mapped.max(axis=0)
        if low[0] >= x1 and low[1] >= y1 and high[0] <= x2 and high[1] <= y2:
            result.append([mapped])
        elif high[0] <= x1 or high[1] <= y1 or low[0] >= x2 or low[1] >= y2:
            result.append([])
        else:
            clipper = pyclipr.Clipper()
            clipper.scaleFactor = 10000
            clipper.addPath(window, pyclipr.Clip)
            clipper.addPath(mapped, pyclipr.Subject)
            result.append(clipper.execute(pyclipr.Intersection, pyclipr.FillRule.EvenOdd))
    return result


def sizes_of_clipper2(shapes: ShapeArray, affine: Affine, rect: Rect) -> Sizes:
    parts = clipper2([points for _, points in shapes], affine, rect)
    return np.array([sum(shapely.Polygon(part).area for part in ring) for ring in parts])


Prepared = Callable[[], object]


def calls(shapes: ShapeArray, affine: Affine, rect: Rect) -> dict[str, Prepared]:
    """One timed call per rival, its input already in the form it likes best."""
    objects, geometries, rings = shapes.to_objects(), geometries_of(shapes), [points for _, points in shapes]
    rivals: dict[str, Prepared] = {
        "dcap": lambda: transform_and_clip(shapes, affine, rect),
        "plain Python": lambda: plain_python(objects, affine, rect),
        "shapely clip_by_rect": lambda: shapely_clip_by_rect(geometries, affine, rect),
        "shapely intersection": lambda: shapely_intersection(geometries, affine, rect),
    }
    if (shapes.kinds == POLYGON).all():
        rivals["Clipper2 (pyclipr)"] = lambda: clipper2(rings, affine, rect)
    return rivals
