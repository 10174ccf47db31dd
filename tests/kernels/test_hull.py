from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import shapely

from dcap.geometry import ShapeArray
from support.kernel_calls import assert_same_bits, min_area_rect
from support.strategies import random_shapes


def shoelace(corners: np.ndarray) -> float:
    x, y = corners.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def test_a_box_is_its_own_rectangle(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points([[[0.1, 0.2], [7.3, 5.5]]], [0])
    assert min_area_rect(backend, shapes)[0].tolist() == [[0.1, 0.2], [7.3, 0.2], [7.3, 5.5], [0.1, 5.5]]


def test_a_diamond_starts_at_the_top(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points([[[5, 0], [10, 5], [5, 10], [0, 5]]], [1])
    assert min_area_rect(backend, shapes)[0] == pytest.approx(np.array([[5, 0], [10, 5], [5, 10], [0, 5]]), abs=1e-12)


def test_shapes_without_area(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points([[[3, 3], [3, 3]], [[0, 4], [4, 0], [2, 2]]], [2, 1])
    assert min_area_rect(backend, shapes).tolist() == [[[3, 3]] * 4, [[4, 0], [4, 0], [0, 4], [0, 4]]]


def test_least_area_and_clockwise(backend: ModuleType) -> None:
    rng = np.random.default_rng(9)
    rings = [rng.normal(0, rng.uniform(1, 50, 2), (int(rng.integers(3, 80)), 2)) for _ in range(300)]
    for ring, rect in zip(rings, min_area_rect(backend, ShapeArray.from_points(rings, [1] * 300)), strict=True):
        assert shoelace(rect) == pytest.approx(shapely.oriented_envelope(shapely.multipoints(ring)).area, rel=1e-9)
        assert shapely.Polygon(rect).buffer(1e-6).covers(shapely.multipoints(ring))
        assert rect[0, 1] == rect[:, 1].min()


def test_twins_agree(twins: tuple[ModuleType, ModuleType]) -> None:
    for style in range(4):
        shapes = random_shapes(np.random.default_rng(style), 200, style)
        assert_same_bits((min_area_rect(twins[0], shapes),), (min_area_rect(twins[1], shapes),))
