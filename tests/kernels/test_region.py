"""Which shapes a region leaves alone, which it drops and which it cuts."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from dcap.core.errors import GeometryError
from dcap.geometry import ShapeArray
from support.kernel_calls import clip_convex, clip_rect

DIAMOND = np.array([[50.0, 0.0], [100.0, 50.0], [50.0, 100.0], [0.0, 50.0]])


def test_inside_a_tilted_region_is_returned_to_the_bit(backend: ModuleType) -> None:
    ring = np.array([[50.0, 0.0], [61 / 3, 70.0], [70.1, 60.0]])
    clipped = clip_convex(backend, ShapeArray.from_points([ring], [1]), DIAMOND)
    assert clipped[0].tobytes() == ring.tobytes()
    assert clipped[4].tolist() == [1.0]


def test_outside_a_tilted_region_though_the_bounds_overlap(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points([[[0, 0], [20, 0], [0, 20]], [[0, 0], [20, 20]], [[0, 0], [20, 20]]], [1, 0, 2])
    assert len(clip_convex(backend, shapes, DIAMOND)[4]) == 0


def test_repeated_corners_are_harmless(backend: ModuleType) -> None:
    box = ShapeArray.from_points([[[40, 40], [60, 60]]], [0])
    assert clip_convex(backend, box, np.repeat(DIAMOND, 2, axis=0))[4].tolist() == [1.0]


def test_a_rectangle_as_region_equals_the_rectangle(backend: ModuleType) -> None:
    rng = np.random.default_rng(12)
    rings = rng.uniform(0, 100, (40, 9, 2))
    shapes = ShapeArray.from_points(rings, [1] * 40)
    corners = np.array([[20.0, 30.0], [70.0, 30.0], [70.0, 80.0], [20.0, 80.0]])
    first, second = clip_rect(backend, shapes, (20.0, 30.0, 70.0, 80.0)), clip_convex(backend, shapes, corners)
    sums = [np.bincount(c[3], c[4] / np.bincount(c[3])[c[3]], minlength=40) for c in (first, second)]
    assert sums[0] == pytest.approx(sums[1], abs=1e-12)


def test_too_many_corners_are_refused(backend: ModuleType) -> None:
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with pytest.raises(GeometryError, match="4096"):
        clip_convex(backend, ShapeArray.empty(), circle)
