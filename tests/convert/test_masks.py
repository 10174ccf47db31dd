"""Polygons of masks must cover the very pixels of the mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dcap.convert.foreign_shapes import mask_polygons
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import ShapeArray

masks = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1]))


def covered(ring: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels whose centre is inside a ring by the even-odd rule."""
    y, x = np.indices(shape) + 0.5
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (np.minimum(y1, y2) <= y) & (y < np.maximum(y1, y2))
            inside ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


@given(masks)
def test_a_ring_covers_its_part_exactly(mask: npt.NDArray[np.uint8]) -> None:
    found = mask_polygons(mask)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    assert len(found.rings) == count
    union = np.zeros(mask.shape, bool)
    for ring in found.rings:
        inside = covered(ring, mask.shape)
        part = labels == np.bincount(labels[inside & (mask > 0)]).argmax()
        assert np.array_equal(inside, ndimage.binary_fill_holes(part))
        assert area_or_length(ShapeArray.from_points([ring], [1]))[0] == inside.sum()
        union |= inside
    assert np.array_equal(union, ndimage.binary_fill_holes(mask))
    assert found.hole_pixels == union.sum() - mask.sum()


@given(masks)
def test_rings_have_no_point_too_many(mask: npt.NDArray[np.uint8]) -> None:
    for ring in mask_polygons(mask).rings:
        edges = np.roll(ring, -1, axis=0) - ring
        assert ((edges != 0).sum(axis=1) == 1).all()
        assert ((edges[:, 0] != 0) != (np.roll(edges, 1, axis=0)[:, 0] != 0)).all()


@pytest.mark.parametrize("shift", [(0, 0), (3, 2)])
def test_a_rectangle_runs_along_pixel_edges(shift: tuple[int, int]) -> None:
    x, y = shift
    mask = np.zeros((8, 9), np.uint8)
    mask[y : y + 2, x : x + 3] = 1
    (ring,) = mask_polygons(mask).rings
    assert {tuple(point) for point in ring.tolist()} == {(x, y), (x + 3, y), (x + 3, y + 2), (x, y + 2)}
