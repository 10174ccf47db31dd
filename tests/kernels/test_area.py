from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import shapely

from dcap.core.errors import GeometryError
from dcap.geometry import ShapeArray
from support.kernel_calls import area_or_length, assert_same_bits
from support.oracle import even_odd
from support.strategies import random_rings, random_shapes

PENTAGRAM = [[50 + 40 * np.sin(4 * np.pi * k / 5), 50 - 40 * np.cos(4 * np.pi * k / 5)] for k in range(5)]


def polygon(points: object) -> ShapeArray:
    return ShapeArray.from_points([points], [1])


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0, 0], [4, 0], [4, 3]], 6.0),
        ([[0, 0], [10, 10], [10, 0], [0, 10]], 50.0),  # a bow tie: its signed area is 0
        ([[0, 0], [10, 0], [10, 10], [0, 10], [0, 0], [10, 0], [10, 10], [0, 10]], 0.0),  # twice around
        ([[0, 0], [9, 0], [9, 9], [0, 9], [0, 0], [3, 3], [3, 6], [6, 6], [6, 3], [3, 3]], 72.0),  # a keyhole
        ([[0, 0], [5, 0], [9, 0]], 0.0),
        ([[1, 1], [1, 1], [1, 1]], 0.0),
        ([[0, 0], [4, 0], [4, 4], [2, 4], [2, 7], [2, 4], [0, 4]], 16.0),  # a thorn
    ],
)
def test_even_odd_areas(backend: ModuleType, points: list[list[float]], area: float) -> None:
    assert area_or_length(backend, polygon(points))[0] == pytest.approx(area, abs=1e-12)


def test_pentagram_has_a_hole(backend: ModuleType) -> None:
    ring = np.array(PENTAGRAM)
    assert area_or_length(backend, polygon(ring))[0] == pytest.approx(even_odd(ring).area, rel=1e-12)
    assert even_odd(ring).area < shapely.convex_hull(shapely.multipoints(ring)).area / 2


def test_boxes_and_lines(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points([[[1, 1], [4, 3]], [[0, 0], [3, 4], [3, 5]], [[2, 2], [2, 2]]], [0, 2, 2])
    assert area_or_length(backend, shapes).tolist() == [6.0, 6.0, 0.0]


def test_random_self_crossing_rings(backend: ModuleType) -> None:
    rng = np.random.default_rng(2)
    rings = [rng.integers(0, 9, (int(rng.integers(4, 14)), 2)).astype(float) for _ in range(150)]
    rings += [rng.uniform(0, 9, (int(rng.integers(4, 14)), 2)) for _ in range(150)]
    got = area_or_length(backend, ShapeArray.from_points(rings, [1] * len(rings)))
    assert got == pytest.approx([even_odd(ring).area for ring in rings], abs=1e-9)


def test_simple_rings_against_shapely(backend: ModuleType) -> None:
    rings = [ring for ring, _ in random_rings(np.random.default_rng(3), 400) if shapely.Polygon(ring).is_valid]
    got = area_or_length(backend, ShapeArray.from_points(rings, [1] * len(rings)))
    assert got == pytest.approx([shapely.Polygon(ring).area for ring in rings], rel=1e-9, abs=1e-9)


def test_large_coordinates(backend: ModuleType) -> None:
    ring = np.array([[0, 0], [8, 8], [8, 0], [0, 8]]) * 1e11 + 1e12
    assert area_or_length(backend, polygon(ring))[0] == pytest.approx(32e22, rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e151])
def test_what_is_not_finite_is_an_error(backend: ModuleType, value: float) -> None:
    xy = np.array([[0, 0], [1, 0], [1, value]])
    with pytest.raises(GeometryError, match="finite"):
        backend.area_or_length(xy, np.array([0, 3]), np.array([1], np.uint8), np.empty(1))


@pytest.mark.parametrize("offsets", [[0, 4], [1, 3], [0, -1], [0, 2], [0], [0, 3, 3], [3, 0], [0, 2**62]])
def test_wrong_offsets_are_an_error(backend: ModuleType, offsets: list[int]) -> None:
    with pytest.raises(GeometryError, match="offsets"):
        backend.area_or_length(np.zeros((3, 2)), np.array(offsets), np.array([1], np.uint8), np.empty(1))


def test_no_shapes(backend: ModuleType) -> None:
    assert area_or_length(backend, ShapeArray.empty()).tolist() == []


def test_twins_agree(twins: tuple[ModuleType, ModuleType]) -> None:
    for style in range(4):
        shapes = random_shapes(np.random.default_rng(style), 200, style)
        assert_same_bits((area_or_length(twins[0], shapes),), (area_or_length(twins[1], shapes),))
