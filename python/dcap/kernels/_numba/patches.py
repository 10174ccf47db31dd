"""Twin of cpp/src/patches.cpp, in NumPy: there is nothing here that numba would do better."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dcap.kernels import _status as status
from dcap.kernels._types import U8, check_types, check_writable

PATCH: Final = 16
CHANNELS: Final = 3

_NORMALISED = (np.arange(256, dtype=np.float32) - np.float32(127.5)) / np.float32(127.5)
_BITS = _NORMALISED.view(np.uint32)
_VALUES: Final[dict[type, npt.NDArray[Any]]] = {
    np.float32: _NORMALISED,
    np.uint16: ((_BITS + 0x7FFF + ((_BITS >> 16) & 1)) >> 16).astype(np.uint16),
    np.uint8: np.arange(256, dtype=np.uint8),
}


def patchify(image: U8, out: npt.NDArray[Any]) -> None:
    """Fill `out` with the patches of an image. See `dcap.augment.patches.to_patches`."""
    dtype = next((kind for kind in _VALUES if isinstance(out, np.ndarray) and out.dtype == kind), np.float32)
    check_types((image, np.uint8), (out, dtype))
    check_writable(out)
    block, steps = 2 * PATCH, 1 if dtype is np.uint8 else 2
    if (
        image.ndim != 3
        or image.shape[2] != CHANNELS
        or not image.size
        or image.shape[0] % block + image.shape[1] % block
    ):
        status.raise_if_failed(status.BAD_IMAGE)
    if out.size != steps * image.size:
        status.raise_if_failed(status.BAD_ARGUMENT)
    height, width, _ = image.shape
    blocks = image.reshape(height // block, 2, PATCH, width // block, 2, PATCH, CHANNELS)
    patches = blocks.transpose(0, 3, 1, 4, 6, 2, 5)  # block row, block column, row, column, channel, y, x
    out.reshape(*patches.shape[:5], steps, PATCH, PATCH)[:] = _VALUES[dtype][patches][:, :, :, :, :, None]
