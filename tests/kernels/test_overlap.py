from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from dcap.geometry import ShapeArray
from support.kernel_calls import assert_same_bits, pairwise_iou
from support.oracle import even_odd
from support.strategies import random_shapes, star_ring


def test_boxes_polygons_and_lines(backend: ModuleType) -> None:
    shapes = ShapeArray.from_points(
        [[[0, 0], [4, 4]], [[0, 0], [4, 0], [4, 4], [0, 4]], [[0, 0], [4, 4]], [[2, 0], [6, 4]]], [0, 1, 2, 0]
    )
    third = 1 / 3
    assert pairwise_iou(backend, shapes, shapes) == pytest.approx(
        np.array([[1, 1, 0, third], [1, 1, 0, third], [0, 0, 0, 0], [third, third, 0, 1]]), abs=1e-14
    )


def test_one_inside_the_other(backend: ModuleType) -> None:
    outer = ShapeArray.from_points([[[0, 0], [10, 0], [10, 10], [0, 10]]], [1])
    inner = ShapeArray.from_points([[[2, 2], [4, 2], [3, 5]]], [1])
    assert pairwise_iou(backend, outer, inner) == pytest.approx(np.array([[0.03]]))


def test_nothing(backend: ModuleType) -> None:
    some = ShapeArray.from_points([[[0, 0], [4, 4]]], [0])
    assert pairwise_iou(backend, ShapeArray.empty(), some).shape == (0, 1)


@pytest.mark.parametrize("grid", [0.0, 4.0])
def test_against_shapely(backend: ModuleType, grid: float) -> None:
    rng = np.random.default_rng(10)
    rings = [star_ring(rng, int(rng.integers(3, 30)), grid) for _ in range(14)]
    rings += [rng.integers(0, 60, (6, 2)).astype(float) for _ in range(8)]
    regions = [even_odd(ring) for ring in rings]
    got = pairwise_iou(backend, *[ShapeArray.from_points(rings, [1] * len(rings))] * 2)
    for i, a in enumerate(regions):
        for j, b in enumerate(regions):
            union = a.union(b).area
            assert got[i, j] == pytest.approx(a.intersection(b).area / union if union > 1e-9 else 0, abs=1e-9)


def test_twins_agree(twins: tuple[ModuleType, ModuleType]) -> None:
    for style in range(4):
        rng = np.random.default_rng(style)
        a, b = random_shapes(rng, 30, style), random_shapes(rng, 20, style)
        assert_same_bits((pairwise_iou(twins[0], a, b),), (pairwise_iou(twins[1], a, b),))
