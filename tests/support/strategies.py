"""Hypothesis strategies and seeded generators of shapes, rectangles and affines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from dcap.geometry import Affine, ShapeArray

Points = npt.NDArray[np.float64]

coordinates = st.one_of(
    st.integers(-20, 120).map(float),
    st.floats(-20, 120, allow_nan=False, width=32),
    st.sampled_from([0.0, 1e-9, 50.0, 50.0 + 1e-9, 100.0, 1e6, -1e6]),
)
points = st.tuples(coordinates, coordinates)


def rings(max_points: int = 12) -> st.SearchStrategy[list[tuple[float, float]]]:
    """Any ring at all: self-crossing, with repeated points and collinear edges."""
    return st.lists(points, min_size=3, max_size=max_points)


def lines(max_points: int = 12) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(points, min_size=2, max_size=max_points)


@st.composite
def boxes(draw: st.DrawFn) -> list[tuple[float, float]]:
    x, y = draw(points)
    return [(x, y), (x + draw(st.integers(1, 60)), y + draw(st.integers(1, 60)))]


@st.composite
def shape_arrays(draw: st.DrawFn) -> ShapeArray:
    kinds = draw(st.lists(st.integers(0, 2), max_size=5))
    strategies = (boxes(), rings(), lines())
    return ShapeArray.from_points([draw(strategies[kind]) for kind in kinds], kinds)


@st.composite
def rects(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x, y = draw(points)
    return (x, y, x + draw(st.integers(1, 120)), y + draw(st.integers(1, 120)))


affines = st.builds(
    lambda angle, scale, shear, dx, dy: (
        Affine.translation(dx, dy) @ Affine.rotation(angle, (50, 50)) @ Affine(scale, shear, 0.0, 0.0, 1.0, 0.0)
    ),
    st.one_of(st.sampled_from([0.0, 90.0, 180.0]), st.floats(-180, 180)),
    st.sampled_from([-1.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.0, 0.3]),
    st.integers(-30, 30),
    st.integers(-30, 30),
)


def star_ring(rng: np.random.Generator, n: int, grid: float = 0.0) -> Points:
    """A concave ring about a centre, squeezed to a sliver at times; on a grid it touches and overlaps itself."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, n))
    radii = rng.uniform(5, 60) * rng.uniform(0.05, 1, n)
    squeeze = 10.0 ** rng.uniform(-4, 0.3, 2)
    xy = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) * squeeze + rng.uniform(0, 100, 2)
    return np.round(xy / grid) * grid if grid else xy


def comb_ring(rng: np.random.Generator, teeth: int) -> Points:
    """A comb whose teeth end on few integer heights, so that borders touch them and run along them."""
    heights = rng.integers(1, 8, teeth) * 5
    xs, ys = [], []
    for k, height in enumerate(heights):
        xs += [2 * k, 2 * k, 2 * k + 1, 2 * k + 1]
        ys += [0, height, height, 0]
    ring = np.array([[*xs, 2 * teeth, 2 * teeth, 0], [*ys, 0, -5, -5]], np.float64).T
    return (ring if rng.random() < 0.5 else ring[:, ::-1].copy()) + rng.integers(0, 60, 2)


def random_rect(rng: np.random.Generator, whole: bool) -> tuple[float, float, float, float]:
    low = rng.integers(-20, 100, 2) if whole else rng.uniform(-20, 100, 2)
    high = low + (rng.integers(1, 90, 2) if whole else rng.uniform(1, 90, 2))
    return tuple(np.concatenate([low, high]).astype(float).tolist())


def random_rings(rng: np.random.Generator, count: int) -> Iterator[tuple[Points, bool]]:
    """Rings of 3 to about 400 points, most of them simple, and whether they lie on whole numbers."""
    for _ in range(count):
        n = int(np.exp(rng.uniform(np.log(3), np.log(400))))
        style = rng.random()
        if style < 0.4:
            yield star_ring(rng, n), False
        elif style < 0.7:
            yield star_ring(rng, n, 1.0), True
        else:
            yield comb_ring(rng, max(n // 4, 1)), True


def random_shapes(rng: np.random.Generator, count: int, style: int = 0) -> ShapeArray:
    """Boxes, rings and lines; style 0 on small whole numbers, 1 anywhere, 2 around 1e12, 3 contours."""
    items, kinds = [], []
    for _ in range(count):
        kind = int(rng.integers(0, 3))
        n = 2 if kind == 0 else int(rng.integers(3, 40))
        if style == 0:
            xy = rng.integers(0, 8, (n, 2)).astype(np.float64)
        elif style == 1:
            xy = rng.uniform(-20, 120, (n, 2))
        elif style == 2:
            xy = rng.uniform(-1e12, 1e12, (n, 2))
        else:
            xy = star_ring(rng, max(n, 3))[:n]
        items.append(np.sort(xy, axis=0) if kind == 0 else xy)
        kinds.append(kind)
    return ShapeArray.from_points(items, kinds)
