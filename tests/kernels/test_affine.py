from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry import Affine, ShapeArray
from support.kernel_calls import assert_same_bits, transform
from support.strategies import affines, random_shapes, shape_arrays

BOX = ShapeArray.from_points([[[1, 2], [3, 5]]], [0])


def test_axis_aligned_maps_keep_boxes(backend: ModuleType) -> None:
    xy, offsets, kinds = transform(backend, BOX, Affine(-2, 0, 10, 0, 1, 0))
    assert xy.tolist() == [[4, 2], [8, 5]]
    assert (offsets.tolist(), kinds.tolist()) == ([0, 2], [0])


def test_other_maps_make_polygons_or_bounds(backend: ModuleType) -> None:
    sheared = Affine(1, 1, 0, 0, 1, 0)
    xy, _, kinds = transform(backend, BOX, sheared)
    assert (kinds.tolist(), xy.tolist()) == ([1], [[3, 2], [5, 2], [8, 5], [6, 5]])
    xy, _, kinds = transform(backend, BOX, sheared, keep_boxes=True)
    assert (kinds.tolist(), xy.tolist()) == ([0], [[3, 2], [8, 5]])


def test_overflow_is_an_error(backend: ModuleType) -> None:
    with pytest.raises(GeometryError, match="finite"):
        transform(backend, BOX, Affine(1e308, 1e308, 0, 0, 1, 0))


def test_outputs_that_are_too_small_are_refused(backend: ModuleType) -> None:
    matrix = Affine.identity().coefficients
    with pytest.raises(GeometryError, match="output arrays"):
        backend.transform(
            BOX.xy,
            BOX.offsets,
            BOX.kinds,
            matrix,
            False,
            np.empty((1, 2)),
            np.empty(2, np.int64),
            np.empty(1, np.uint8),
        )


def test_wrong_dtypes_are_type_errors(backend: ModuleType) -> None:
    matrix = Affine.identity().coefficients
    out = np.empty((8, 2)), np.empty(2, np.int64), np.empty(1, np.uint8)
    good = [BOX.xy, BOX.offsets, BOX.kinds]
    for k, dtype in enumerate((np.float32, np.int32, np.int8)):
        bad = [array.astype(dtype) if i == k else array for i, array in enumerate(good)]
        with pytest.raises(TypeError):
            backend.transform(*bad, matrix, False, *out)
    with pytest.raises(TypeError):
        backend.transform(*good, matrix, False, out[0].astype(np.float32), *out[1:])


def test_read_only_outputs_are_refused(backend: ModuleType) -> None:
    arrays = BOX.xy, BOX.offsets, BOX.kinds
    with pytest.raises(ValueError, match="writ"):
        backend.transform(*arrays, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), False, *arrays)


@settings(deadline=None, max_examples=100)
@given(shape_arrays(), affines, st.booleans())
def test_twins_agree(shapes: ShapeArray, affine: Affine, keep_boxes: bool) -> None:
    core, twin = _twins()
    assert_same_bits(transform(core, shapes, affine, keep_boxes), transform(twin, shapes, affine, keep_boxes))


def test_twins_agree_on_large_arrays(twins: tuple[ModuleType, ModuleType]) -> None:
    shapes = random_shapes(np.random.default_rng(1), 500, 1)
    affine = Affine.rotation(17) @ Affine.scaling(1.7)
    assert_same_bits(transform(twins[0], shapes, affine), transform(twins[1], shapes, affine))


def _twins() -> tuple[ModuleType, ModuleType]:
    import dcap.kernels._numba as twin

    return pytest.importorskip("dcap._core"), twin
