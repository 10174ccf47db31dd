"""What tells the weights of a model from those of another one of equal shapes."""

from __future__ import annotations

import hashlib

import torch

from dcap.core.errors import ConfigError
from dcap.model.saved_adapter import SavedAdapter

_VALUES = 64
"""Values of each parameter that count, at even distances."""
_KEPT = "dcap_weights_digest"
"""Attribute of a model with the digest of the weights that it had."""


def weights_digest(model: torch.nn.Module) -> str:
    """Return a digest of some values of every parameter, the same however the weights are stored and loaded.

    The values are rounded to bfloat16, as a model stored in float32 may be loaded in either. In float16, which has
    not the same range, the digest may differ. Of a quantised model it is that of the weights before.

    Args:
        model: A bare model, before adapters are put into it.
    """
    kept: str | None = getattr(model, _KEPT, None)
    if kept is not None:
        return kept
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _VALUES)][:_VALUES].to("cpu", torch.bfloat16)
        digest.update(f"{name}\0{tuple(parameter.shape)}\0".encode() + some.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def keep_digest(model: torch.nn.Module) -> None:
    """Let `weights_digest` go on to return the digest of the weights that a model has now."""
    setattr(model, _KEPT, weights_digest(model))


def check_base(digest: str, name: str, adapter: SavedAdapter, way_out: str) -> None:
    """Refuse an adapter of other weights: all of it would fit, and its answers would be wrong.

    Args:
        digest: `weights_digest` of the model.
        name: Option or field that names the model, with its value, for the message.
        adapter: The adapter. Nothing is known of one that no run of dcap wrote; it passes.
        way_out: Last sentence of the message.

    Raises:
        ConfigError: The adapter was trained on other weights.
    """
    wanted = adapter.base_digest
    if wanted is not None and wanted != digest:
        raise ConfigError(
            f"{name} must hold the weights that {adapter.folder} was trained on, those of {adapter.base} with digest "
            f"{wanted[:12]}, not others with digest {digest[:12]}. {way_out}"
        )
