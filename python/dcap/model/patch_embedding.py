"""The patch embedding of the vision tower as one matrix product, over one time step of a still image.

transformers embeds patches by a 3D convolution whose stride is its kernel. That is a matrix product, but libraries take
slow kernels for it: on some GPUs and in bfloat16 on a CPU, a hundred times slower ones. Both time steps of a still
image are equal, so the kernel's two halves may be added first::

    W0 x + W1 x + b = (W0 + W1) x + b        768 numbers per patch instead of 1536
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from dcap.data.collate import normalised, one_time_step


class PatchEmbedding(torch.nn.Module):
    """Embeds patches as transformers' module does whose projection it takes over, with the same names of weights.

    Its result differs from the convolution's by rounding: in float32 by at most 1e-5 of the largest number.

    Args:
        projection: ``Conv3d`` whose stride is its kernel, with weights (H, C, T, P, P).
    """

    def __init__(self, projection: torch.nn.Conv3d) -> None:
        super().__init__()
        self.proj: Any = projection

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the embedded patches, (N, H).

        Args:
            patches: Normalised, (N, C * P * P) for one time step of still images, or (N, C * T * P * P) for all of
                them.
        """
        if not isinstance(self.proj, torch.nn.Conv3d):  # an adapter is around it
            return self._by_convolution(patches)
        weight: torch.Tensor = self.proj.weight
        if patches.shape[1] * weight.shape[2] == weight[0].numel():
            weight = weight.sum(2)
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)

    def _by_convolution(self, patches: torch.Tensor) -> torch.Tensor:
        weight: torch.Tensor = self.proj.weight
        _, channels, steps, *side = weight.shape
        frames = patches.to(weight.dtype).view(len(patches), channels, -1, *side)
        embedded: torch.Tensor = self.proj(frames.expand(-1, -1, steps, -1, -1))
        return embedded.flatten(1)


def multiply_patches(model: Any) -> None:
    """Replace the convolution of a Qwen3-VL's patch embedding by a matrix product; names of weights stay.

    Args:
        model: A ``Qwen3VLForConditionalGeneration`` without adapters.
    """
    visual = model.model.visual
    visual.patch_embed = PatchEmbedding(visual.patch_embed.proj)


def pixels_for(model: Any, patches: torch.Tensor) -> torch.Tensor:
    """Return the patches of still images as the vision tower of `model` takes them.

    Args:
        model: A ``Qwen3VLForConditionalGeneration``, without wrappers.
        patches: uint8 (N, 768) or float32 (N, 1536), as in a batch.

    Returns:
        float32 (N, 768) for a model of `multiply_patches`, else (N, 1536). Equal patches give equal bits.
    """
    takes_one = isinstance(model.model.visual.patch_embed, PatchEmbedding)
    return one_time_step(patches) if takes_one else normalised(patches)
