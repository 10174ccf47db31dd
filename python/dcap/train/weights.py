"""Saving and restoring trained weights: an adapter in PEFT's format, or a whole model in the published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dcap.core.errors import CheckpointError
from dcap.data.encode import Encoder, load_tokenizer
from dcap.model.lora import save_adapter, set_adapter
from dcap.model.saved_model import BaseFiles, save_model


def save_weights(model: Any, folder: Path, base: BaseFiles, dtype: torch.dtype | None = None) -> None:
    """Write ``adapter/`` for a model with adapters, else ``model/`` with its tokenizer and processor settings.

    The settings of a whole model are those of the training: any runtime shows it images of the sizes that it saw, and
    stops where its answers end.

    Args:
        model: Bare or with adapters.
        folder: Existing folder.
        base: Where the files beside the weights come from.
        dtype: Precision of a whole model's weights. `None`: each as it trains. Adapters are always as they train.
    """
    if hasattr(model, "peft_config"):
        save_adapter(model, folder / "adapter")
        return
    state = model.state_dict() if dtype is None else {k: v.to(dtype) for k, v in model.state_dict().items()}
    encoder = Encoder(load_tokenizer(base.source, base.revision))
    save_model(model, folder / "model", base, encoder, state=state, dtype=dtype)


def load_weights(model: Any, folder: Path) -> None:
    """Put saved weights back into a model of the same shape, every bit of them.

    Raises:
        CheckpointError: The weights are those of another model.
    """
    part = folder / ("adapter" if hasattr(model, "peft_config") else "model")
    files = sorted(part.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            f"checkpoint must hold {part.name}/*.safetensors, as model.adapter.type says, not {folder}"
        )
    tensors = {name: value for file in files for name, value in load_file(file).items()}
    try:
        problems = set_adapter(model, tensors) if part.name == "adapter" else _load_model(model, tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{part} must fit the model: {str(error).strip().splitlines()[-1].strip()}") from None
    if problems:
        raise CheckpointError(f"{part} must hold the weights of this model, but {problems[0]} is on one side only")


def _load_model(model: Any, tensors: dict[str, torch.Tensor]) -> list[str]:
    result = model.load_state_dict(tensors, strict=False)
    # A tied head is saved once, under the name of the embedding.
    tied = set(model.all_tied_weights_keys)
    return sorted(set(result.missing_keys) - tied) + sorted(result.unexpected_keys)
