"""The order of crossings, seen through areas: rings whose edges nearly coincide, against exact rational arithmetic."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.geometry import Affine, ShapeArray
from support.kernel_calls import area_or_length, assert_same_bits, clip_rect, pairwise_iou
from support.rational import area_where, even_odd_area, exact_ring

Points = npt.NDArray[np.float64]

SPIKE = [[0, 0], [0, 100], [100, 100], [100, 0], [100, 20], [100, 70], [100, 60], [100, 0]]
"""A square whose right side is walked five times, each time over another part of it."""


def polygon(points: object) -> ShapeArray:
    return ShapeArray.from_points([points], [1])


def turned(points: object, angle: float, scale: float = 1.0, shift: float = 0.0) -> Points:
    return scale * Affine.rotation(angle, (50, 50)).apply(points) + shift


def test_a_side_walked_to_and_fro_keeps_the_area_under_every_turn(backend: ModuleType) -> None:
    rings = [turned(SPIKE, 0.4 * k) for k in range(900)]
    areas = area_or_length(backend, ShapeArray.from_points(rings, [1] * len(rings)))
    assert areas == pytest.approx(np.full(900, 1e4), rel=1e-12)


@pytest.mark.parametrize(
    ("scale", "shift"), [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e6), (1e-3, -1e3), (1e-60, 0.0), (1e70, 0.0)]
)
def test_a_side_walked_to_and_fro_keeps_the_area_at_every_scale(
    backend: ModuleType, scale: float, shift: float
) -> None:
    rings = [turned(SPIKE, 7.0 * k, scale, shift) for k in range(52)]
    areas = area_or_length(backend, ShapeArray.from_points(rings, [1] * len(rings)))
    lost = 1e-9 if shift else 1e-12
    assert areas == pytest.approx(np.full(52, 1e4 * scale**2), rel=lost)


@st.composite
def strands(draw: st.DrawFn) -> Points:
    """A ring with a few corners, and a side that is walked many times, turned, shifted and scaled."""
    stops = draw(st.lists(st.integers(0, 10), min_size=1, max_size=7))
    side = [[10.0 * s, 0.0] for s in stops]
    corners = draw(st.lists(st.tuples(st.integers(0, 10), st.integers(-10, 10)), min_size=1, max_size=4))
    ring = np.array([*side, *[[10.0 * x, 10.0 * y] for x, y in corners]])
    if len(ring) < 3:
        ring = np.vstack([ring, [[50.0, 30.0]]])
    angle = draw(st.one_of(st.sampled_from([0.0, 45.0, 90.0, 30.0]), st.floats(0, 360)))
    scale = draw(st.sampled_from([1.0, 1.0, 1e-9, 1e9, 0.1]))
    shift = draw(st.sampled_from([0.0, 0.0, 0.1, 1e6]))
    return turned(ring, angle, scale, shift)


@settings(deadline=None, max_examples=100)
@given(strands())
def test_strands_against_rational_arithmetic(ring: Points) -> None:
    core = pytest.importorskip("dcap._core")
    size = float(np.ptp(ring, axis=0).max() * np.abs(ring).max())
    assert area_or_length(core, polygon(ring))[0] == pytest.approx(float(even_odd_area(ring)), abs=1e-12 * size)


@settings(deadline=None, max_examples=100)
@given(strands(), strands())
def test_overlaps_of_strands_against_rational_arithmetic(a: Points, b: Points) -> None:
    core = pytest.importorskip("dcap._core")
    both = float(area_where([exact_ring(a), exact_ring(b)], all))
    either = float(area_where([exact_ring(a), exact_ring(b)], any))
    size = max(float(np.ptp(ring, axis=0).max() * np.abs(ring).max()) for ring in (a, b))
    if either > 1e-6 * size:
        assert pairwise_iou(core, polygon(a), polygon(b))[0, 0] * either == pytest.approx(both, abs=1e-11 * size)


@settings(deadline=None, max_examples=30)
@given(st.lists(strands(), min_size=1, max_size=6))
def test_twins_agree_on_strands(rings: list[Points]) -> None:
    import dcap.kernels._numba as twin

    core = pytest.importorskip("dcap._core")
    shapes = ShapeArray.from_points(rings, [1] * len(rings))
    assert_same_bits((area_or_length(core, shapes),), (area_or_length(twin, shapes),))
    assert_same_bits((pairwise_iou(core, shapes, shapes),), (pairwise_iou(twin, shapes, shapes),))
    rect = (20.0, -30.0, 70.0, 40.0)
    assert_same_bits(clip_rect(core, shapes, rect), clip_rect(twin, shapes, rect))


def test_rings_where_everything_coincides(backend: ModuleType) -> None:
    """Three and more collinear edges, and many edges through one point, exactly: ties at every crossing."""
    rng = np.random.default_rng(21)
    rings = [rng.integers(0, 3, (int(rng.integers(4, 12)), 2)).astype(float) for _ in range(150)]
    got = area_or_length(backend, ShapeArray.from_points(rings, [1] * len(rings)))
    assert got == pytest.approx([float(even_odd_area(ring)) for ring in rings], abs=1e-12)
