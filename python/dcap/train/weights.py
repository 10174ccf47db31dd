"""Saving and restoring trained weights: an adapter in PEFT's format, or a whole model in the published layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dcap.core.errors import CheckpointError

# Beside the weights, these make a folder that any runtime can load.
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)


def save_weights(
    model: Any, folder: Path, source: str, dtype: torch.dtype | None = None, revision: str | None = None
) -> None:
    """Write ``adapter/`` for a model with adapters, else ``model/`` with its tokenizer and processor settings.

    Args:
        model: Bare or with adapters.
        folder: Existing folder.
        source: Folder or hub id that the model came from; its tokenizer files are copied.
        dtype: Precision of a whole model's weights. `None`: each as it trains. Adapters are always as they train.
        revision: Hub revision of `source`.
    """
    if hasattr(model, "peft_config"):
        # True or "auto" would look for the base model on the hub.
        model.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
        (folder / "adapter" / "README.md").unlink(missing_ok=True)
        return
    state = model.state_dict() if dtype is None else {k: v.to(dtype) for k, v in model.state_dict().items()}
    model.save_pretrained(str(folder / "model"), state_dict=state)
    for name in COMPANIONS:
        path = _file_of(source, name, revision)
        if path is not None:
            shutil.copyfile(path, folder / "model" / name)


def _file_of(source: str, name: str, revision: str | None) -> Path | None:
    from transformers.utils import cached_file

    found = cached_file(
        source,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


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
        problems = _load_adapter(model, tensors) if part.name == "adapter" else _load_model(model, tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{part} must fit the model: {str(error).strip().splitlines()[-1].strip()}") from None
    if problems:
        raise CheckpointError(f"{part} must hold the weights of this model, but {problems[0]} is on one side only")


def _load_adapter(model: Any, tensors: dict[str, torch.Tensor]) -> list[str]:
    from peft import set_peft_model_state_dict
    from peft.utils import get_peft_model_state_dict

    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    odd = sorted(expected ^ set(tensors))
    if not odd:
        set_peft_model_state_dict(model, tensors)
    return odd


def _load_model(model: Any, tensors: dict[str, torch.Tensor]) -> list[str]:
    result = model.load_state_dict(tensors, strict=False)
    # A tied head is saved once, under the name of the embedding.
    tied = set(model.all_tied_weights_keys)
    return sorted(set(result.missing_keys) - tied) + sorted(result.unexpected_keys)
