"""What both backends take in plain NumPy: dropping repeats, shape by shape."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap import kernels

BOX, POLYGON, LINE = range(3)
Points = list[list[int]]
points = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)).map(list), min_size=1, max_size=7)
shapes = st.tuples(st.integers(0, 2), points).map(
    lambda shape: (shape[0], (shape[1] * 2)[:2] if shape[0] == BOX else shape[1])
)


def cleaned(given_shapes: list[tuple[int, Points]], dtype: npt.DTypeLike = np.float64) -> list[Points]:
    xy = np.array([point for _, points in given_shapes for point in points], dtype).reshape(-1, 2)
    offsets = np.cumsum([0, *(len(points) for _, points in given_shapes)])
    out, ends = kernels.without_repeats(xy, offsets, np.array([kind for kind, _ in given_shapes], np.uint8))
    assert out.dtype == dtype
    assert out.flags.c_contiguous
    return [out[a:b].tolist() for a, b in itertools.pairwise(ends.tolist())]


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@given(given_shapes=st.lists(shapes, max_size=5))
def test_repeats_go_shape_by_shape(dtype: npt.DTypeLike, given_shapes: list[tuple[int, Points]]) -> None:
    wanted = []
    for kind, points in given_shapes:
        left = points if kind == BOX else [point for point, _ in itertools.groupby(points)]
        closes = kind == POLYGON and len(left) > 1 and left[0] == left[-1]
        wanted.append(left[:-1] if closes else left)
    assert cleaned(given_shapes, dtype) == wanted


def test_a_ring_that_closes_twice_keeps_its_last_point_but_one() -> None:
    ring = [[0, 0], [5, 0], [5, 5], [0, 0], [0, 0]]
    assert cleaned([(POLYGON, ring), (LINE, ring)]) == [ring[:3], ring[:4]]
