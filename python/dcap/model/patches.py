"""Patches on the device: what a worker hands over as bytes, in the form that the vision tower takes."""

from __future__ import annotations

from typing import Final

import torch

from dcap.augment.patches import PATCH, TEMPORAL

_MIDDLE: Final = 127.5


def normalised(patches: torch.Tensor) -> torch.Tensor:
    """Return patches as the vision tower takes them, bit-equal to `dcap.augment.patches.to_patches` on any device.

    ::

        uint8    (N,  3 channels x     16 x 16)    values as they are, one time step
        float32  (N,  3 channels x 2 x 16 x 16)    (x - 127.5) / 127.5, both time steps the same image

    Args:
        patches: uint8 (N, 768); float32 (N, 1536) is returned as it is.

    Returns:
        float32 (N, 1536).
    """
    if patches.dtype != torch.uint8:
        return patches
    # A tensor on the device: CUDA multiplies by the reciprocal of a plain number, which rounds otherwise.
    scale = torch.full((), _MIDDLE, device=patches.device)
    values = patches.float().sub_(_MIDDLE).div_(scale)
    frames = values.view(-1, 3, 1, PATCH**2).expand(-1, -1, TEMPORAL, -1)
    return frames.reshape(-1, 3 * TEMPORAL * PATCH**2)
