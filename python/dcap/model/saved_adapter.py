"""An adapter on the disk: found, checked against what its run wrote, and described."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dcap.answers.profile import FILE_NAME
from dcap.core.config import build
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.manifest import EXPORT_MARKER, FINAL_MARKER, STATE_MARKER, check_digests, digest_file
from dcap.core.words import show

SETTINGS = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class SavedAdapter:
    """The folder of an adapter in PEFT's format."""

    folder: Path
    """Holds ``adapter_config.json`` and ``adapter_model.safetensors``."""
    settings: Mapping[str, Any]
    """PEFT's settings; those that dcap reads have the types of `_Settings`."""
    mark: Mapping[str, Any]
    """What the run that wrote the adapter says about it. Empty where no run did."""

    @property
    def base(self) -> str | None:
        """The model that it was trained on, by hub id or folder."""
        return self.settings.get("base_model_name_or_path") or None

    @property
    def base_digest(self) -> str | None:
        """Digest of the weights that it was trained on; see `dcap.model.fingerprint`. `None`: no run wrote it."""
        digest = self.mark.get("base_digest")
        return None if digest is None else str(digest)

    @property
    def quantization(self) -> str:
        """As ``model.quantization`` of the run that wrote it. An export answers on weights that are not quantised."""
        return str(self.mark.get("quantization", "none"))

    @property
    def kind(self) -> str:
        """As ``model.adapter.type``: ``lora``, ``rslora`` or ``dora``; else PEFT's own word."""
        kind = str(self.settings.get("peft_type", "LORA")).lower()
        if kind == "lora" and self.settings.get("use_dora"):
            return "dora"
        return "rslora" if kind == "lora" and self.settings.get("use_rslora") else kind

    @property
    def rank(self) -> int:
        """Largest inner dimension of its updates; 0 where the settings do not say."""
        ranks = [self.settings.get("r"), *(self.settings.get("rank_pattern") or {}).values()]
        return max((rank for rank in ranks if isinstance(rank, int)), default=0)

    @property
    def modules_to_save(self) -> tuple[str, ...]:
        """Modules that were trained in full."""
        return tuple(self.settings.get("modules_to_save") or ())

    def digest(self) -> str:
        """Return the SHA-256 of its weights."""
        return digest_file(self.folder / WEIGHTS)


def find_adapter(folder: Path, name: str = "--adapter") -> SavedAdapter:
    """Find an adapter and compare its files and answer profile with what its run wrote, byte for byte.

    Args:
        folder: What ``dcap train`` wrote, with the adapter in ``adapter/``; or the folder of an adapter.
        name: Option or field that names the folder, for messages.

    Raises:
        ConfigError: There is no adapter, or none in safetensors, or its settings are damaged.
        CheckpointError: A file that the run wrote is damaged.
    """
    found = inside(folder, "adapter", SETTINGS)
    if found is None:
        full = inside(folder, "model", "config.json") is not None
        hint = " It holds a whole model: give it as {}.".format("--model" if name[0] == "-" else "model.name_or_path")
        raise ConfigError(f"{name} must be a folder with {SETTINGS}, not {folder}.{hint if full else ''}")
    if not (found / WEIGHTS).is_file():
        # A .bin file is a pickle: loading one runs whatever code is inside.
        raise ConfigError(f"{name} must hold {WEIGHTS}, and {found} does not")
    mark = checked_mark(found)  # first: it knows that a run wrote the file, and what to do
    return SavedAdapter(found, read_settings(found / SETTINGS), mark)


@dataclass(frozen=True, slots=True)
class _Settings:
    """The settings of PEFT that dcap reads, or that PEFT uses before it looks at them."""

    peft_type: str = "LORA"
    base_model_name_or_path: str | None = None
    r: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    target_modules: str | tuple[str, ...] | None = None
    exclude_modules: str | tuple[str, ...] | None = None
    layers_pattern: str | tuple[str, ...] | None = None
    modules_to_save: tuple[str, ...] | None = None
    bias: str = "none"
    use_dora: bool = False
    use_rslora: bool = False


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings of an adapter, which may come from anywhere.

    Raises:
        ConfigError: They are damaged, or the adapter is of a kind that no command can use.
    """
    way_out = "Restore the file, or take another adapter"
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: settings of an adapter must be JSON ({error}). {way_out}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: settings of an adapter must be a JSON object, not {show(tree)}. {way_out}")
    known = {field.name for field in fields(_Settings)}
    try:
        build(_Settings, {name: value for name, value in tree.items() if name in known})
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error).rstrip('.')}. {way_out}") from None
    _check_kind(tree, path)
    return tree


_MOST_ALPHA = 1e6
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of ``init_lora_weights`` that leave the weights below the adapter as they are."""
_FOR_SOME_TOKENS = ("alora_invocation_tokens", "arrow_config")
"""Settings of adapters that act on a part of a text only, or choose among others."""


def _check_kind(settings: Mapping[str, Any], path: Path) -> None:
    if settings.get("r", 1) is None and settings.get("peft_type", "LORA") == "LORA":
        raise ConfigError(f"{path}: r must be the rank of the adapter, not null")
    if abs(settings.get("lora_alpha") or 0) > _MOST_ALPHA:
        raise ConfigError(f"{path}: lora_alpha must be at most {_MOST_ALPHA:g}, not {show(settings['lora_alpha'])}")
    start = settings.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ConfigError(
            f"{path}: init_lora_weights must leave the model as it is, not {show(start)}: such an adapter belongs on a "
            "model with other weights, which PEFT computes anew and not to the bit. Save it as a plain one with PEFT: "
            "save_pretrained(FOLDER, path_initial_model_for_weight_conversion=...)"
        )
    for name in _FOR_SOME_TOKENS:
        if settings.get(name) is not None:
            raise ConfigError(
                f"{path}: {name} must be null, not {show(settings[name])}: the adapter must act on each token, as no "
                "server or merged model could leave some out"
            )
    if settings.get("layer_replication"):
        raise ConfigError(f"{path}: layer_replication must be null, as it changes the layers of the model")


def inside(folder: Path, name: str, file: str) -> Path | None:
    """Return `folder`, or the folder `name` in it: the first that holds `file`. `None`: neither does."""
    return next((place for place in (folder, folder / name) if (place / file).is_file()), None)


def checked_mark(folder: Path) -> dict[str, Any]:
    """Return what the run or export that wrote weights left beside them; else nothing.

    Every byte of the weights, their settings and the answer profile is compared first.

    Args:
        folder: The ``adapter/`` or ``model/`` of a run, or the folder of an export.

    Raises:
        CheckpointError: A file is damaged.
    """
    places: list[tuple[Path, str, tuple[str, ...]]] = [(folder, EXPORT_MARKER, ("model", "adapter", FILE_NAME))]
    if folder.name in ("adapter", "model"):
        places += [(folder.parent, marker, (f"{folder.name}/", FILE_NAME)) for marker in (FINAL_MARKER, STATE_MARKER)]
    for place, marker, names in places:
        if (place / marker).is_file():
            try:
                return check_digests(place, marker, names)
            except CheckpointError as error:
                raise CheckpointError(f"{error}. If it was changed on purpose, delete {place / marker}") from None
    return {}
