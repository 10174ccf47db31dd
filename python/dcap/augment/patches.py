"""Patches: pixels in the order and number format of Qwen3-VL's vision tower."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.augment.fit import MULTIPLE
from dcap.core.errors import ConfigError, GeometryError

PATCH: Final = 16
TEMPORAL: Final = 2

PatchType = Literal["float32", "bfloat16", "uint8"]

_DTYPES: Final[dict[PatchType, type[np.generic]]] = {
    "float32": np.float32,
    "bfloat16": np.uint16,
    "uint8": np.uint8,
}
_CACHE_LINE: Final = 64


def to_patches(
    image: npt.NDArray[np.uint8], dtype: PatchType = "float32", out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Return the patches of an image in Hugging Face's layout, in one pass without the GIL.

        rows: 2x2 blocks of patches, and within a block  0 1    columns: channel, time, y, x
                                                         2 3

    Args:
        image: uint8 (H, W, 3) RGB; H and W are multiples of 32. Copied first when it is not C-contiguous.
        dtype: Format of the values, see below.
        out: Array to write to, such as a part of a batch: C-contiguous, with the type and the number of values of the
            result. `None`: new memory, which doubles the time.

    Returns:
        One row per patch, H/16 * W/16 of them; in `out` when it is given:

        - ``float32``: float32 (N, 1536), bit-equal to ``(x - 127.5f) / 127.5f``; both time steps are the same image.
        - ``bfloat16``: these rounded to nearest even. NumPy has no such type, so they come as their uint16 bits
          (N, 1536); ``torch.from_numpy(patches).view(torch.bfloat16)`` reads them without a copy.
        - ``uint8``: uint8 (N, 768), the values as they are, with one time step.

    Raises:
        GeometryError: The image is not (H, W, 3), a side is not a multiple of 32, or `out` has another length.
        TypeError: `out` has another type.
        ConfigError: The dtype is unknown.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(get_args(PatchType))}, not {dtype!r}")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or any(side % MULTIPLE for side in image.shape[:2]):
        raise GeometryError(f"image must be (H, W, 3) with sides that are multiples of {MULTIPLE}, not {image.shape}")
    shape = image.shape[0] * image.shape[1] // PATCH**2, patch_columns(dtype)
    patches = empty_patches(shape[0], dtype) if out is None else out
    kind = np.dtype(_DTYPES[dtype])
    if patches.dtype != kind:
        raise TypeError(f"out must be of {kind} for {dtype}, not {patches.dtype}")
    kernels.patchify(np.ascontiguousarray(image), patches)
    return patches.reshape(shape)


def patch_columns(dtype: PatchType) -> int:
    """Return the number of values of one patch in a format: 1536, or 768 with one time step."""
    return 3 * PATCH**2 * (1 if dtype == "uint8" else TEMPORAL)


def empty_patches(rows: int, dtype: PatchType) -> npt.NDArray[Any]:
    """Return memory for patches of a format, aligned to a cache line.

    NumPy does not align its memory, and stores across two lines take up to twice as long. Torch aligns, but asks the
    system for small pages: getting the memory then takes longer than filling it.
    """
    kind, columns = np.dtype(_DTYPES[dtype]), patch_columns(dtype)
    size = rows * columns * kind.itemsize
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(kind).reshape(rows, columns)
