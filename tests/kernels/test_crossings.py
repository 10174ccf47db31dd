"""Crossings seen through areas: parities must hold where vertices and edges coincide."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
import pytest

from dcap.core.errors import GeometryError
from dcap.geometry import ShapeArray
from support.kernel_calls import area_or_length, assert_same_bits, pairwise_iou


def polygon(points: object) -> ShapeArray:
    return ShapeArray.from_points([points], [1])


def test_many_edges_through_one_point(backend: ModuleType) -> None:
    angles = np.pi * np.arange(9) / 9
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 10
    ring = np.concatenate([[sign * spoke, -sign * spoke] for spoke, sign in zip(spokes, [1, -1] * 5, strict=False)])
    for shift in (0.0, 0.1, 1e6):
        area = area_or_length(backend, polygon(ring + shift))[0]
        assert area == pytest.approx(9 * 0.5 * 100 * np.sin(np.pi / 9), rel=1e-6)


def test_nearly_parallel_edges(backend: ModuleType) -> None:
    ring = [[0, 0], [100, 1e-13], [100, 0], [0, 1e-13], [0, 50], [100, 50]]
    assert 0 < area_or_length(backend, polygon(ring))[0] < 5000.1


def test_shapes_that_share_edges(backend: ModuleType) -> None:
    square = polygon([[0, 0], [4, 0], [4, 4], [0, 4]])
    same = polygon([[4, 4], [4, 0], [2, 0], [0, 0], [0, 4]])
    right = polygon([[4, 0], [8, 0], [8, 4], [4, 4]])
    half = polygon([[2, 0], [4, 0], [4, 4], [2, 4]])
    got = [pairwise_iou(backend, square, other)[0, 0] for other in (same, right, half)]
    assert got == pytest.approx([1.0, 0.0, 0.5], abs=1e-14)


def comb(n: int) -> ShapeArray:
    ring = np.stack([np.arange(n) // 2, np.tile([1.0, 900.0, 900.0, 1.0], n // 4)], axis=1)
    ring[[0, -1]] = [[0, 0], [n // 2, 0]]
    return polygon(ring)


def seconds(run: Callable[[], object]) -> float:
    """Time of this process alone, so that what else the machine does is not counted."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def test_a_comb_of_a_million_points_is_measured_without_quadratic_time(backend: ModuleType) -> None:
    combs = [comb(n) for n in (100_000, 1_000_000)]
    areas = [area_or_length(backend, shapes)[0] for shapes in combs]
    assert [0 < a < 450 * n for a, n in zip(areas, (100_000, 1_000_000), strict=True)] == [True, True]
    small, large = (min(seconds(partial(area_or_length, backend, s)) for _ in range(2)) for s in combs)
    assert large < 40 * small, "ten times the points may take ten times as long, not a hundred"


def test_a_million_random_points_are_refused(backend: ModuleType) -> None:
    ring = np.random.default_rng(0).uniform(0, 1000, (1_000_000, 2))
    with pytest.raises(GeometryError, match="cross itself"):
        area_or_length(backend, polygon(ring))


def test_twins_agree_where_everything_ties(twins: tuple[ModuleType, ModuleType]) -> None:
    rng = np.random.default_rng(7)
    rings = [rng.integers(0, 4, (int(rng.integers(3, 20)), 2)).astype(float) for _ in range(300)]
    shapes = ShapeArray.from_points(rings, [1] * len(rings))
    assert_same_bits((area_or_length(twins[0], shapes),), (area_or_length(twins[1], shapes),))
