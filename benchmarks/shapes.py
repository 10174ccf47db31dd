"""The workloads: images as dcap sees them, from a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap.geometry import ShapeArray

Points = npt.NDArray[np.float64]


def star(num_points: int, center: Points, radius: float) -> Points:
    """A star whose radius alternates between full and half, pixels."""
    angles = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    radii = np.where(np.arange(num_points) % 2, radius, radius / 2)
    return center + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]


def blob(rng: np.random.Generator, num_points: int, center: Points, radius: float) -> Points:
    """A smooth concave contour, as annotators draw it."""
    angles = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    waves = sum(rng.normal(0, 0.25 / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in range(2, 6))
    radii = radius * np.clip(1 + waves, 0.2, 2.0)
    return center + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]


def mixed_image(width: int = 1280, height: int = 960, count: int = 30, seed: int = 0) -> ShapeArray:
    """Of 30 objects 12 boxes, 12 contours of 12 to 40 points and 6 lines of 12; of other counts the same shares."""
    rng = np.random.default_rng(seed)
    num_boxes, num_closed = 2 * count // 5, 4 * count // 5
    points, kinds = [], []
    for k in range(count):
        center = rng.uniform(0, 1, 2) * [width, height]
        if k < num_boxes:
            size = rng.uniform(20, 120, 2)
            points.append(np.stack([center - size, center + size]))
        elif k < num_closed:
            points.append(blob(rng, int(rng.integers(12, 41)), center, rng.uniform(30, 120)))
        else:
            points.append(center + np.cumsum(rng.normal(0, 40, (12, 2)), axis=0))
        kinds.append(0 if k < num_boxes else 1 if k < num_closed else 2)
    return ShapeArray.from_points(points, kinds)


def stars(count: int = 1000, num_points: int = 64, width: int = 1280, height: int = 960) -> ShapeArray:
    """Stars all over an image, some of them over its border."""
    rng = np.random.default_rng(1)
    centers = rng.uniform(0, 1, (count, 2)) * [width, height]
    rings = [star(num_points, center, rng.uniform(10, 60)) for center in centers]
    return ShapeArray.from_points(rings, [1] * count)


def contours(count: int = 100, num_points: int = 12) -> ShapeArray:
    """Small polygons."""
    rng = np.random.default_rng(2)
    rings = [blob(rng, num_points, rng.uniform(0, 1000, 2), rng.uniform(10, 80)) for _ in range(count)]
    return ShapeArray.from_points(rings, [1] * count)
