"""Putting a saved adapter on a model, with a check that every one of its weights arrived."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from dcap.core.errors import ConfigError
from dcap.model.lora import core, load_adapter


def with_adapter(model: Any, folder: Path) -> Any:
    """Return the model with the adapter's layers inside it, ready for ``generate``.

    Args:
        model: A bare ``Qwen3VLForConditionalGeneration``.
        folder: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        ConfigError: The adapter belongs to another model: a weight of it has no place, or a place no weight.
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with warnings.catch_warnings():
        # Said below as an error, with the name of the weight.
        warnings.filterwarnings("ignore", message="Found missing adapter keys", category=UserWarning)
        adapted = load_adapter(model, folder)
    with safe_open(str(folder / "adapter_model.safetensors"), framework="pt") as file:
        saved = set(file.keys())
    there = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    for names, what in ((saved - there, "has no place in the model"), (there - saved, "is not in the file")):
        if names:
            raise ConfigError(f"adapter {folder} must fit the model, but {sorted(names)[0]} {what} ({len(names)} such)")
    return core(adapted).eval()
