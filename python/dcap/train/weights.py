"""Saving and restoring trained weights: an adapter in PEFT's format, or a whole model in the published layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dcap.answers.profile import AnswerProfile
from dcap.core.errors import CheckpointError
from dcap.data.encode import END, Encoder, load_tokenizer

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
# Beside the weights, these make a folder that any runtime can load.
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    PREPROCESSOR,
    PROCESSOR,
    "video_preprocessor_config.json",
)


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """Where the files beside the weights come from, and what of them the training decides."""

    source: str
    """Folder or hub id of the model that training began with."""
    revision: str | None = None
    """Hub revision of `source`."""
    answer: AnswerProfile = field(default_factory=AnswerProfile)
    """Gives the sizes of images that the model saw."""


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
        # True or "auto" would look for the base model on the hub.
        model.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
        (folder / "adapter" / "README.md").unlink(missing_ok=True)
        return
    place = folder / "model"
    state = model.state_dict() if dtype is None else {k: v.to(dtype) for k, v in model.state_dict().items()}
    model.save_pretrained(str(place), state_dict=state)
    for name in COMPANIONS:
        path = _file_of(base.source, name, base.revision)
        if path is not None:
            shutil.copyfile(path, place / name)
    _edit(place / "config.json", lambda config: _set_config(config, dtype))
    _edit(place / "generation_config.json", lambda config: _set_end(config, Encoder(load_tokenizer(str(place)))))
    _write_image_sizes(place, base.answer)


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file; a missing one counts as empty."""
    tree = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    change(tree)
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _set_config(config: dict[str, Any], dtype: torch.dtype | None) -> None:
    for part in (config, config.get("text_config", {})):
        if part.get("use_cache") is False:
            # Of training alone: a runtime that follows it would generate many times slower.
            del part["use_cache"]
        if dtype is not None and "dtype" in part:
            part["dtype"] = str(dtype).removeprefix("torch.")


def _set_end(config: dict[str, Any], encoder: Encoder) -> None:
    ends = [encoder.tokenizer.convert_tokens_to_ids(END), encoder.pad_id]
    given = config.get("eos_token_id") or []
    others = given if isinstance(given, list) else [given]
    config["eos_token_id"] = [*ends, *(each for each in others if each not in ends)]
    config.setdefault("pad_token_id", encoder.pad_id)


def _write_image_sizes(place: Path, answer: AnswerProfile) -> None:
    """Let the image processor make the sizes of the answer profile, in either of the two layouts of its settings."""

    def set_sizes(settings: dict[str, Any]) -> None:
        settings["size"] = {"shortest_edge": answer.min_pixels, "longest_edge": answer.max_pixels}
        for name, value in (("min_pixels", answer.min_pixels), ("max_pixels", answer.max_pixels)):
            if name in settings:
                settings[name] = value

    nested: dict[str, Any] = {}
    if (place / PROCESSOR).is_file():
        nested = json.loads((place / PROCESSOR).read_text("utf-8")).get("image_processor", {})
        _edit(place / PROCESSOR, lambda processor: set_sizes(processor.setdefault("image_processor", {})))
    if nested and not (place / PREPROCESSOR).is_file():
        # The layout that other runtimes look for.
        _edit(place / PREPROCESSOR, lambda settings: settings.update(nested))
    if (place / PREPROCESSOR).is_file():
        _edit(place / PREPROCESSOR, set_sizes)


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
