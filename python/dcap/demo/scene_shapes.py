"""The shapes of scenes, each with what its label says and what is painted: for a line, the outline of its stroke."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcap.demo.scene_look import SceneColor, SceneKind
from dcap.geometry.shapes import GeometryKind, ShapeArray

Points = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

_ARROW = np.array([[-1, -0.3], [0.1, -0.3], [0.1, -0.8], [1, 0], [0.1, 0.8], [0.1, 0.3], [-1, 0.3]])
_INNER_RADIUS = 0.45
_LEAST_STROKE_PX = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class SceneShape:
    """One shape of a scene, in pixel-edge coordinates.

    ::

        geometry   BOX             POLYGON             LINE
        points     two corners     the ring            the middle of the stroke
        ring       four corners    the ring            the outline of the stroke
    """

    kind: SceneKind
    geometry: GeometryKind
    points: Points
    """What the label says, float64 (n, 2)."""
    ring: Points
    """What is painted, float64 (m, 2); it does not cross itself."""
    color: SceneColor
    rgb: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Colour and kind: ``red star``."""
        return f"{self.color} {self.kind}"

    @property
    def bounds(self) -> Bounds:
        """Bounds of what is painted."""
        (x1, y1), (x2, y2) = self.ring.min(axis=0).tolist(), self.ring.max(axis=0).tolist()
        return x1, y1, x2, y2

    def placed(self, scale: float, shift: tuple[float, float]) -> SceneShape:
        """Return the shape scaled about the origin, then shifted."""
        return replace(self, points=self.points * scale + shift, ring=self.ring * scale + shift)

    def label(self) -> ShapeArray:
        """Return the whole shape as its label."""
        return ShapeArray.from_points([self.points], [self.geometry])

    def painted(self) -> ShapeArray:
        """Return what is painted, which hides what is below it."""
        return self.label() if self.geometry is GeometryKind.BOX else polygon(self.ring)


def polygon(ring: Points) -> ShapeArray:
    """Return a ring as one polygon."""
    return ShapeArray.from_points([ring], [GeometryKind.POLYGON])


def draw_shape(
    kind: SceneKind, color: SceneColor, rgb: tuple[int, int, int], radius: float, rng: np.random.Generator
) -> SceneShape:
    """Return a new shape about the origin.

    Args:
        kind: Its kind.
        color: Name of its colour.
        rgb: Its colour, 0..255.
        radius: Half of its extent, in pixels.
        rng: Source of chance.
    """
    if kind == "box":
        half = radius * rng.uniform(0.5, 1.0, 2)
        corners = np.array([-half, half])
        ring = half * [[-1, -1], [1, -1], [1, 1], [-1, 1]]
        return SceneShape(kind, GeometryKind.BOX, corners, ring, color, rgb)
    if kind == "line":
        middle, width = _zigzag(radius, rng)
        return SceneShape(kind, GeometryKind.LINE, middle, stroke(middle, width), color, rgb)
    ring = radius * _RINGS[kind](rng)
    return SceneShape(kind, GeometryKind.POLYGON, ring, ring, color, rgb)


def stroke(middle: Points, width: float) -> Points:
    """Return the outline of a polyline: flat ends, mitred corners.

    Args:
        middle: Points of the polyline, float64 (n, 2). It must turn by less than 120 degrees at each, and its parts
            must be longer than the stroke is wide.
        width: Width of the stroke, in pixels.

    Returns:
        float64 (2n, 2): along one side, and back along the other.
    """
    along = np.diff(middle, axis=0)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(along[:, 0], along[:, 1])[:, None]
    before, after = np.concatenate([normals[:1], normals]), np.concatenate([normals, normals[-1:]])
    mitre = (before + after) / (1.0 + (before * after).sum(axis=1, keepdims=True))
    return np.concatenate([middle + mitre * (width / 2), (middle - mitre * (width / 2))[::-1]])


def _zigzag(radius: float, rng: np.random.Generator) -> tuple[Points, float]:
    count = int(rng.integers(2, 5))
    points = np.stack([np.linspace(-1.2, 1.2, count), rng.uniform(-0.5, 0.5, count)], axis=1)
    width = max(radius * rng.uniform(0.16, 0.26), _LEAST_STROKE_PX)
    return radius * _turned(points, rng.uniform(0, 2 * np.pi)), width


def _triangle(rng: np.random.Generator) -> Points:
    return _on_circle((np.arange(3) + rng.uniform(-0.17, 0.17, 3)) / 3 + rng.uniform())


def _convex(rng: np.random.Generator) -> Points:
    count = int(rng.integers(5, 8))
    circle = _on_circle((np.arange(count) + rng.uniform(-0.25, 0.25, count)) / count)
    return _turned(circle * (1.0, rng.uniform(0.65, 1.0)), rng.uniform(0, 2 * np.pi))


def _star(rng: np.random.Generator) -> Points:
    radii = np.tile([1.0, _INNER_RADIUS], 5)[:, None]
    return np.asarray(_on_circle(np.arange(10) / 10 + rng.uniform()) * radii)


def _arrow(rng: np.random.Generator) -> Points:
    return _turned(_ARROW, rng.uniform(0, 2 * np.pi))


_RINGS: Mapping[SceneKind, Callable[[np.random.Generator], Points]] = {
    "triangle": _triangle,
    "polygon": _convex,
    "star": _star,
    "arrow": _arrow,
}


def _on_circle(turns: npt.NDArray[np.float64]) -> Points:
    angle = turns * (2 * np.pi)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _turned(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))
