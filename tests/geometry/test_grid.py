from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry import Canvas
from dcap.geometry.grid import Norm, from_grid, grid_span, to_grid

CANVAS = Canvas(height=393, width=640)


@pytest.mark.parametrize(
    ("norm", "corner"), [("norm1000", [1000, 1000]), ("norm100", [100, 100]), ("none", [640, 393])]
)
def test_the_far_corner_is_the_span(norm: Norm, corner: list[int]) -> None:
    assert to_grid(np.array([[640.0, 393.0]]), CANVAS, norm).tolist() == [corner]
    assert grid_span(CANVAS, norm) == tuple(corner)


def test_half_to_even_and_bounds() -> None:
    canvas = Canvas(height=2000, width=2000)
    assert to_grid(np.array([[1.0, 3.0], [-5.0, 2100.0]]), canvas, "norm1000").tolist() == [[0, 2], [0, 1000]]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1))
def test_grid_points_come_back(points: list[tuple[int, int]]) -> None:
    grid = np.array(points)
    assert np.array_equal(to_grid(from_grid(grid, CANVAS, "norm1000"), CANVAS, "norm1000"), grid)


def test_canvas_takes_numpy_integers() -> None:
    assert Canvas(np.int64(3), np.int32(4)) == Canvas(3, 4)
    with pytest.raises(GeometryError, match="height must be an integer >= 1"):
        Canvas(np.int64(0), 4)
