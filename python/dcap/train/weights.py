"""Saving and restoring trained weights: an adapter in PEFT's format, or a whole model in the published layout.

The files do not tell how many ranks wrote them. Where each rank holds a part of every weight, they are put together in
pieces, so that the first rank need not hold a whole model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import load_file, save_file

from dcap.core.errors import CheckpointError
from dcap.data.encode import Encoder, load_tokenizer
from dcap.model.lora import adapter_names, save_adapter, set_adapter
from dcap.model.saved_model import BaseFiles, save_settings
from dcap.train.parallel import spread, whole

OnFirst = Callable[[Callable[[], Any]], Any]
"""Does something on the first rank alone, and lets every rank know of a failure."""

PIECE_BYTES = 2 * 10**9
"""Most bytes of one file of weights, and of what is put together at a time; one larger tensor is a piece of its own."""


def here(action: Callable[[], Any]) -> Any:
    """Do something, where there is one process."""
    return action()


def save_weights(
    model: Any, folder: Path, base: BaseFiles, dtype: torch.dtype | None = None, on_first: OnFirst = here
) -> None:
    """Write ``adapter/`` for a model with adapters, else ``model/`` with its tokenizer and processor settings.

    All ranks call it; the first one writes.

    Args:
        model: Bare or with adapters.
        folder: Existing folder.
        base: Where the files beside the weights come from.
        dtype: Precision of a whole model's weights. `None`: each as it trains. Adapters are always as they train.
        on_first: Where files are written.
    """
    state = model.state_dict()
    if hasattr(model, "peft_config"):
        parts = {name: whole(state[name]) for name in adapter_names(model)}
        on_first(lambda: save_adapter(model, folder / "adapter", parts))
        return
    place = folder / "model"

    def settings() -> None:
        place.mkdir()
        save_settings(model, place, base, Encoder(load_tokenizer(base.source, base.revision)), dtype)

    on_first(settings)
    # A tied head is saved once, under the name of the embedding.
    named = {name: value for name, value in state.items() if name not in model.all_tied_weights_keys}
    save_pieces(named, place, "model", dtype, on_first)


def save_pieces(
    tensors: Mapping[str, torch.Tensor],
    folder: Path,
    stem: str,
    dtype: torch.dtype | None = None,
    on_first: OnFirst = here,
) -> None:
    """Write tensors as ``{stem}.safetensors``, or as several files with an index, as Hugging Face names them.

    All ranks call it with tensors of the same names; the first one writes.

    Args:
        tensors: By name; of each, a rank may hold a part.
        folder: Existing folder.
        stem: Name of the files.
        dtype: Precision in the files. `None`: that of each tensor.
        on_first: Where files are written.
    """
    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: tensor.numel() * (dtype or tensor.dtype).itemsize,
        filename_pattern=f"{stem}{{suffix}}.safetensors",
        max_shard_size=PIECE_BYTES,
    )
    for file, names in (plan.filename_to_tensors or {f"{stem}.safetensors": []}).items():
        piece = {name: whole(tensors[name]) for name in names}

        def write(file: str = file, piece: dict[str, torch.Tensor] = piece) -> None:
            values = {name: value.to(dtype or value.dtype).contiguous() for name, value in piece.items()}
            save_file(values, folder / file, metadata={"format": "pt"})

        on_first(write)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        text = json.dumps(index, indent=2) + "\n"
        on_first(lambda: (folder / f"{stem}.safetensors.index.json").write_text(text, "utf-8"))


def pieces(folder: Path, stem: str) -> list[Path]:
    """Return the files that `save_pieces` wrote."""
    return sorted(folder.glob(f"{stem}*.safetensors"))


def load_weights(model: Any, folder: Path) -> None:
    """Put saved weights back into a model of the same shape, every bit of them; on every rank.

    Raises:
        CheckpointError: The weights are those of another model.
    """
    part = folder / ("adapter" if hasattr(model, "peft_config") else "model")
    files = pieces(part, "")
    if not files:
        raise CheckpointError(
            f"checkpoint must hold {part.name}/*.safetensors, as model.adapter.type says, not {folder}"
        )
    try:
        adapted = part.name == "adapter"
        problems = set_adapter(model, load_file(files[0]), _as_held) if adapted else _load_model(model, files)
    except RuntimeError as error:
        raise CheckpointError(f"{part} must fit the model: {str(error).strip().splitlines()[-1].strip()}") from None
    if problems:
        raise CheckpointError(f"{part} must hold the weights of this model, but {problems[0]} is on one side only")


def _load_model(model: Any, files: list[Path]) -> list[str]:
    places = model.state_dict()
    missing, unexpected = set(places) - set(model.all_tied_weights_keys), []
    for file in files:
        tensors = load_file(file)
        unexpected += model.load_state_dict(_as_held(tensors, places), strict=False).unexpected_keys
        missing -= set(tensors)
    return sorted(missing) + sorted(unexpected)


def _as_held(tensors: Mapping[str, torch.Tensor], places: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors as the model holds those of their names; others stay, for the check that follows."""
    return {name: spread(value, places[name]) if name in places else value for name, value in tensors.items()}
