"""Clipping against shapely, on more than ten thousand rings and rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings

from dcap.geometry import ShapeArray, area_or_length, clip, clip_convex, visible_fraction
from support.oracle import even_odd, parity
from support.strategies import random_rect, random_rings, rects, rings

Rect = tuple[float, float, float, float]


def check_simple(ring: np.ndarray, rect: Rect) -> None:
    """The parts are the pieces of the intersection: same region, same number, each of them simple."""
    polygon = shapely.Polygon(ring)
    clipped = clip(ShapeArray.from_points([ring], [1]), rect)
    parts = np.array([shapely.Polygon(points) for _, points in clipped.shapes], object)
    expected = polygon.intersection(shapely.box(*rect))
    difference = shapely.union_all(shapely.make_valid(parts)).symmetric_difference(expected).area
    assert difference < 1e-6 * polygon.area
    assert shapely.area(parts).sum() == pytest.approx(expected.area, abs=1e-9 * polygon.area)
    share = clipped.visible_fraction[0] if len(parts) else 0.0
    assert share == pytest.approx(expected.area / polygon.area, abs=1e-9)
    pieces = [piece for piece in shapely.get_parts(expected) if piece.area > 1e-12 * polygon.area]
    assert (shapely.area(parts) > 1e-12 * polygon.area).sum() == len(pieces)
    assert shapely.is_valid(parts).all()


@pytest.mark.parametrize("seed", range(4))
def test_random_rings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = 0
    for ring, whole in random_rings(rng, 1300):
        polygon = shapely.Polygon(ring)
        if not polygon.is_valid or polygon.area == 0:
            continue
        for _ in range(3):
            check_simple(ring, random_rect(rng, whole))
            cases += 1
    assert cases > 2500


@settings(deadline=None, max_examples=300)
@given(rings(10), rects())
def test_hypothesis_rings(points: list[tuple[float, float]], rect: Rect) -> None:
    polygon = shapely.Polygon(points)
    assume(polygon.is_valid and polygon.area > 1e-3)
    check_simple(np.array(points), rect)


@settings(deadline=None, max_examples=200)
@given(rings(12), rects())
def test_any_ring_at_all_keeps_its_region(points: list[tuple[float, float]], rect: Rect) -> None:
    """Self-crossing rings, by a ray test at sample points: their parts never overlap."""
    ring = np.array(points)
    samples = np.random.default_rng(0).uniform(rect[:2], rect[2:], (200, 2))
    clipped = clip(ShapeArray.from_points([ring], [1]), rect)
    covered = np.zeros(len(samples), int)
    for _, part in clipped.shapes:
        covered += parity(part, samples)
    clear = shapely.distance(shapely.linestrings(np.vstack([ring, ring[:1]])), shapely.points(samples)) > 1e-7
    assert (covered[clear] == parity(ring, samples)[clear]).all()


def test_self_crossing_rings_have_even_odd_shares() -> None:
    rng = np.random.default_rng(11)
    for case in range(400):
        n = int(rng.integers(4, 14))
        ring = rng.integers(0, 8, (n, 2)).astype(float) if case % 2 else rng.uniform(0, 8, (n, 2))
        rect = (*rng.integers(-1, 4, 2).tolist(), *rng.integers(4, 9, 2).tolist())
        region = even_odd(ring)
        if region.area < 1e-3:
            continue
        shapes = ShapeArray.from_points([ring], [1])
        expected = region.intersection(shapely.box(*rect)).area
        assert visible_fraction(shapes, rect) == pytest.approx([expected / region.area], abs=1e-9)
        assert area_or_length(clip(shapes, rect).shapes).sum() == pytest.approx(expected, abs=1e-8)


def test_convex_regions() -> None:
    rng = np.random.default_rng(12)
    for ring, _ in random_rings(rng, 400):
        polygon, region = shapely.Polygon(ring), shapely.convex_hull(shapely.multipoints(rng.uniform(0, 90, (7, 2))))
        if not polygon.is_valid or polygon.area == 0:
            continue
        clipped = clip_convex(ShapeArray.from_points([ring], [1]), shapely.get_coordinates(region)[:-1])
        expected = polygon.intersection(region).area / polygon.area
        share = clipped.visible_fraction[0] if len(clipped.shapes) else 0.0
        assert share == pytest.approx(expected, abs=1e-9)
        assert area_or_length(clipped.shapes).sum() == pytest.approx(expected * polygon.area, abs=1e-9 * polygon.area)


def test_lines() -> None:
    rng = np.random.default_rng(13)
    for case in range(600):
        n = int(rng.integers(2, 30))
        line = rng.integers(0, 20, (n, 2)).astype(float) if case % 2 else rng.uniform(0, 20, (n, 2))
        low, high = rng.integers(-2, 10, 2), rng.integers(10, 22, 2)
        rect = tuple(np.concatenate([low, high]).astype(float).tolist())
        shapes = ShapeArray.from_points([line], [2])
        clipped = clip(shapes, rect)
        # Segment by segment: shapely joins what a self-crossing line covers twice.
        segments = shapely.linestrings(np.stack([line[:-1], line[1:]], axis=1))
        expected = shapely.length(shapely.intersection(segments, shapely.box(*rect))).sum()
        assert area_or_length(clipped.shapes).sum() == pytest.approx(expected, abs=1e-9)
        whole = area_or_length(shapes)[0]
        assert visible_fraction(shapes, rect) == pytest.approx([expected / whole if whole else 1.0], abs=1e-9)
