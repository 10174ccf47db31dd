"""What tells the weights of a model from those of another one of equal shapes."""

from __future__ import annotations

import hashlib

import torch

_VALUES = 64
"""Values of each parameter that count, at even distances."""


def weights_digest(model: torch.nn.Module) -> str:
    """Return a digest of some values of every parameter, the same however the weights are stored and loaded.

    The values are rounded to bfloat16, as a model stored in float32 may be loaded in either. In float16, which has
    not the same range, the digest may differ.

    Args:
        model: A bare model, before adapters are put into it.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _VALUES)][:_VALUES].to("cpu", torch.bfloat16)
        digest.update(f"{name}\0{tuple(parameter.shape)}\0".encode() + some.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
