"""Every kernel refuses arrays that it could not read as they are: misaligned, strided, of another type, read-only."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dcap.core.errors import GeometryError
from dcap.geometry import ShapeArray, clip_convex

SHAPES = ShapeArray.from_objects([{"bbox_2d": [0, 0, 8, 8]}, {"poly": [1, 1, 9, 1, 9, 9]}, {"line": [0, 0, 5, 5]}])
XY, OFFSETS, KINDS = SHAPES.xy, SHAPES.offsets, SHAPES.kinds
MATRIX = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SQUARE = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 6.0], [0.0, 6.0]])
IMAGE = np.zeros((32, 32, 3), np.uint8)

Arguments = Callable[[], list[Any]]
KERNELS: dict[str, Arguments] = {
    "area_or_length": lambda: [XY, OFFSETS, KINDS, np.empty(3)],
    "clip_convex": lambda: [XY, OFFSETS, KINDS, MATRIX, False, False, SQUARE],
    "clip_rect": lambda: [XY, OFFSETS, KINDS, MATRIX, False, False, (0.0, 0.0, 6.0, 6.0)],
    "difference": lambda: [XY, OFFSETS, KINDS, XY, OFFSETS, KINDS, False, False],
    "fill_outside": lambda: [SQUARE, 128, IMAGE.copy()],
    "min_area_rect": lambda: [XY, OFFSETS, KINDS, np.empty((3, 4, 2))],
    "pairwise_iou": lambda: [XY, OFFSETS, KINDS, XY, OFFSETS, KINDS, np.empty((3, 3))],
    "patchify": lambda: [IMAGE, np.empty((4, 1536), np.float32)],
    "recolor": lambda: [IMAGE, np.zeros(2, np.uint8), np.zeros((2, 256), np.uint8), np.zeros((2, 3), np.float32),
                        IMAGE.copy()],
    "simplify": lambda: [XY, OFFSETS, KINDS, 3, np.empty(len(XY), np.uint8), np.empty(3)],
    "transform": lambda: [XY, OFFSETS, KINDS, MATRIX, False, np.empty((20, 2)), np.empty(4, np.int64),
                          np.empty(3, np.uint8)],
    "warp": lambda: [IMAGE, MATRIX, (1, 1), IMAGE.copy()],
}  # fmt: skip
UNTWINNED: dict[str, Arguments] = {
    "canonicalize": lambda: [XY.astype(np.int64), OFFSETS, KINDS, np.arange(3), (10, 10), np.empty((20, 2), np.int64),
                             np.empty(4, np.int64)],
    "pack": lambda: [np.array([3, 4]), 10, 2, np.empty(2, np.int64)],
}  # fmt: skip


def misaligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    moved = np.frombuffer(bytearray(1 + array.nbytes), array.dtype, array.size, offset=1).reshape(array.shape)
    moved[...] = array
    assert array.dtype.itemsize == 1 or not moved.flags.aligned
    return moved


def strided(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.repeat(array, 2, axis=0)[::2]


def retyped(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.zeros(array.shape, np.complex64)


def check(kernel: Callable[..., Any], arguments: Arguments) -> int:
    kernel(*arguments())
    wide = 0
    for k, value in enumerate(arguments()):
        if not isinstance(value, np.ndarray):
            continue
        changes: list[Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = [strided, retyped]
        if value.dtype.itemsize > 1:
            changes.append(misaligned)
            wide += 1
        for change in changes:
            changed = arguments()
            changed[k] = change(value)
            with pytest.raises(TypeError):
                kernel(*changed)
    return wide


@pytest.mark.parametrize("name", KERNELS)
def test_no_kernel_reads_what_is_not_there_as_it_says(backend: ModuleType, name: str) -> None:
    assert check(getattr(backend, name), KERNELS[name]) > 0 or name == "warp"


@pytest.mark.parametrize("name", UNTWINNED)
def test_nor_do_those_without_a_twin(untwinned: ModuleType, name: str) -> None:
    assert check(getattr(untwinned, name), UNTWINNED[name]) > 0


def test_no_kernel_is_left_out(core: ModuleType) -> None:
    names = {name for name in vars(core) if not name.startswith("_")}
    assert names - {"read_record"} == KERNELS.keys() | UNTWINNED.keys()


def test_shapes_say_how_to_be_read() -> None:
    with pytest.raises(GeometryError, match=r"xy must be C-contiguous and aligned, not misaligned. Use numpy.require"):
        ShapeArray(misaligned(XY), OFFSETS, KINDS)
    with pytest.raises(GeometryError, match=r"offsets must be C-contiguous and aligned, not strided"):
        ShapeArray(XY, strided(OFFSETS), KINDS)
    assert ShapeArray.from_points([misaligned(SQUARE)], [1]) == ShapeArray.from_points([SQUARE], [1])


def test_a_misaligned_region_is_copied() -> None:
    assert clip_convex(SHAPES, misaligned(SQUARE)).shapes == clip_convex(SHAPES, SQUARE).shapes
