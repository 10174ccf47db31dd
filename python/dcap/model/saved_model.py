"""A whole model on the disk, in the published layout: weights, settings, and the files that any runtime needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dcap.answers.profile import AnswerProfile
from dcap.data.encode import END, Encoder

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

    def find(self, name: str) -> Path | None:
        """Return the path of a file of the source, downloaded if need be. `None`: it has none of that name."""
        from transformers.utils import cached_file

        found = cached_file(
            self.source,
            name,
            revision=self.revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if found is None else Path(found)


def save_model(
    model: Any,
    place: Path,
    base: BaseFiles,
    encoder: Encoder,
    *,
    dtype: torch.dtype | None = None,
    shard_size: str = "50GB",
) -> None:
    """Write a model with its tokenizer and processor settings.

    Args:
        model: A bare ``Qwen3VLForConditionalGeneration``.
        place: Folder to write; it may exist.
        base: Where the files beside the weights come from.
        encoder: Of the model's tokenizer.
        dtype: As `save_settings`.
        shard_size: Most bytes of one file of weights, such as ``5GB``.
    """
    model.save_pretrained(str(place), max_shard_size=shard_size)
    save_settings(model, place, base, encoder, dtype)


def save_settings(model: Any, place: Path, base: BaseFiles, encoder: Encoder, dtype: torch.dtype | None = None) -> None:
    """Write all that a folder of weights needs beside them.

    The settings are those of the training: any runtime shows the model images of the sizes that it saw, and stops where
    its answers end.

    Args:
        model: A bare ``Qwen3VLForConditionalGeneration``.
        place: Folder to write; it may exist.
        base: Where the files come from that the model does not hold.
        encoder: Of the model's tokenizer.
        dtype: Precision of the weights that are written, for ``config.json``. `None`: the settings say it already.
    """
    model.config.dtype = str(model.dtype).removeprefix("torch.")  # it may have been loaded in another one
    model.config.save_pretrained(place)
    model.generation_config.save_pretrained(place)
    for name in COMPANIONS:
        path = base.find(name)
        if path is not None:
            shutil.copyfile(path, place / name)
    _edit(place / "config.json", lambda config: _set_config(config, dtype))
    _edit(place / "generation_config.json", lambda config: _set_end(config, encoder))
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
