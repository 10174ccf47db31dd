"""Kernels called on shape arrays, with outputs allocated as `dcap.geometry` does."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt

from dcap.geometry import Affine, ShapeArray

Arrays = tuple[npt.NDArray[np.generic], ...]
IDENTITY = Affine.identity()


def arrays_of(shapes: ShapeArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    return shapes.xy, shapes.offsets, shapes.kinds


def clip_rect(
    backend: ModuleType,
    shapes: ShapeArray,
    rect: tuple[float, float, float, float],
    affine: Affine = IDENTITY,
    keep_boxes: bool = False,
    keep_largest: bool = False,
) -> Arrays:
    return backend.clip_rect(*arrays_of(shapes), affine.coefficients, keep_boxes, keep_largest, rect)


def clip_convex(
    backend: ModuleType,
    shapes: ShapeArray,
    region: npt.NDArray[np.float64],
    affine: Affine = IDENTITY,
    keep_boxes: bool = False,
    keep_largest: bool = False,
) -> Arrays:
    return backend.clip_convex(*arrays_of(shapes), affine.coefficients, keep_boxes, keep_largest, region)


def difference(
    backend: ModuleType,
    shapes: ShapeArray,
    covers: ShapeArray,
    keep_boxes: bool = False,
    keep_largest: bool = False,
) -> Arrays:
    return backend.difference(*arrays_of(shapes), *arrays_of(covers), keep_boxes, keep_largest)


def area_or_length(backend: ModuleType, shapes: ShapeArray) -> npt.NDArray[np.float64]:
    out = np.empty(len(shapes))
    backend.area_or_length(*arrays_of(shapes), out)
    return out


def min_area_rect(backend: ModuleType, shapes: ShapeArray) -> npt.NDArray[np.float64]:
    out = np.empty((len(shapes), 4, 2))
    backend.min_area_rect(*arrays_of(shapes), out)
    return out


def simplify(backend: ModuleType, shapes: ShapeArray, max_points: int) -> Arrays:
    keep, score = np.empty(len(shapes.xy), np.uint8), np.empty(len(shapes))
    backend.simplify(*arrays_of(shapes), max_points, keep, score)
    return keep, score


def pairwise_iou(backend: ModuleType, a: ShapeArray, b: ShapeArray) -> npt.NDArray[np.float64]:
    out = np.empty((len(a), len(b)))
    backend.pairwise_iou(*arrays_of(a), *arrays_of(b), out)
    return out


def transform(backend: ModuleType, shapes: ShapeArray, affine: Affine, keep_boxes: bool = False) -> Arrays:
    xy = np.empty((len(shapes.xy) + 2 * len(shapes), 2))
    offsets, kinds = np.empty(len(shapes) + 1, np.int64), np.empty(len(shapes), np.uint8)
    n = backend.transform(*arrays_of(shapes), affine.coefficients, keep_boxes, xy, offsets, kinds)
    return xy[:n], offsets, kinds


def assert_same_bits(first: Arrays, second: Arrays) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
