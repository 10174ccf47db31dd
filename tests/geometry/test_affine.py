"""The coordinate contract of `dcap.geometry.affine`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from dcap.core.errors import GeometryError
from dcap.geometry import Affine, Canvas
from support.strategies import affines

CORNERS = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 60.0], [0.0, 60.0]])
CANVAS = Canvas(height=60, width=100)


def test_flips_map_edges_to_edges() -> None:
    assert Affine.hflip(CANVAS).apply([[0, 5], [100, 5]]).tolist() == [[100, 5], [0, 5]]
    assert Affine.vflip(CANVAS).apply([[5, 0], [5, 60]]).tolist() == [[5, 60], [5, 0]]


def test_rotation_is_clockwise_on_screen_and_exact_at_quarters() -> None:
    assert Affine.rotation(90).apply([[1, 0]]).tolist() == [[0, 1]]
    assert Affine.rotation(-270, (10, 10)) == Affine.rotation(90, (10, 10))
    assert Affine.rotation(180).is_axis_aligned
    assert not Affine.rotation(30).is_axis_aligned


def test_scaling_keeps_its_center() -> None:
    assert Affine.scaling(3, 2, (10, 20)).apply([[10, 20], [11, 21]]).tolist() == [[10, 20], [13, 22]]


@settings(deadline=None, max_examples=100)
@given(affines, affines)
def test_composition_and_inverse(p: Affine, q: Affine) -> None:
    assert (p @ q).apply(CORNERS) == pytest.approx(p.apply(q.apply(CORNERS)), abs=1e-9)
    assert p.inverse().apply(p.apply(CORNERS)) == pytest.approx(CORNERS, abs=1e-9)
    assert (p @ q).matrix == pytest.approx(p.matrix @ q.matrix, abs=1e-9)


@pytest.mark.parametrize("affine", [Affine(0, 0, 1, 0, 0, 1), Affine(1, 2, 0, 2, 4, 0), Affine(0, 0, 0, 0, 1e-300, 0)])
def test_a_singular_map_has_no_inverse(affine: Affine) -> None:
    with pytest.raises(GeometryError, match="singular"):
        affine.inverse()


def test_matrices() -> None:
    affine = Affine.from_matrix([[1, 2, 3], [4, 5, 6]])
    assert affine.coefficients == (1, 2, 3, 4, 5, 6)
    assert Affine.from_matrix(affine.matrix) == affine
    for bad in (np.eye(2), np.full((2, 3), np.inf), [[1, 0, 0], [0, 1, 0], [0.1, 0, 1]]):
        with pytest.raises(GeometryError):
            Affine.from_matrix(bad)


def test_opencv_takes_pixel_centres() -> None:
    """The centre of pixel (row 0, column 0) is (0.5, 0.5) here and (0, 0) there."""
    flip = Affine.hflip(CANVAS).opencv_matrix()
    assert (flip @ [0, 0, 1]).tolist() == [99, 0]
    half = Affine.scaling(0.5).opencv_matrix()
    assert (half @ [0.5, 0.5, 1]).tolist() == [0, 0]
