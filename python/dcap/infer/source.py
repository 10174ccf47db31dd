"""The model, adapter and answer profile of a prediction: how they are found and identified."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from dcap.answers.profile import FILE_NAME, ResolvedProfile, load_profile
from dcap.core.config import to_tree
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.data.config import DataConfig, resolve_profile
from dcap.demo.models import base_name, resolve_model
from dcap.model.config import Quantization
from dcap.model.saved_adapter import SETTINGS, WEIGHTS, SavedAdapter, checked_mark, find_adapter, inside

log = get_logger(__name__)

DType = Literal["float32", "bfloat16", "float16"]

_READ = (".json", ".safetensors", ".jinja")
"""Endings of the files that count."""
END_BYTES = 1 << 20
"""Bytes at each end of a large file that count in its digest."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Everything that prediction loads.

    Attributes:
        model: Folder or hub id of the base model, or of one tuned in full.
        saved: The adapter, if any.
        profile: How answers are written; the one saved with the weights, or the defaults.
        has_profile: Whether it was saved with the weights.
        quantization: How the model's weights are held, as ``model.quantization``.
    """

    model: str
    saved: SavedAdapter | None
    profile: ResolvedProfile
    has_profile: bool
    quantization: Quantization = "none"

    @property
    def adapter(self) -> Path | None:
        """Folder with ``adapter_config.json``, if any."""
        return self.saved.folder if self.saved else None

    @property
    def base_digest(self) -> str | None:
        """Digest of the weights that the adapter was trained on, if a run wrote it; see `dcap.model.fingerprint`."""
        return self.saved.base_digest if self.saved else None

    @property
    def mode(self) -> Literal["dense", "summary"]:
        """The kind of answer that the model was trained for; located objects if it was trained for both."""
        return "summary" if self.profile.mode == "summary" else "dense"

    def of_any_base(self) -> ModelSource:
        """Return the source with an adapter that may be given other weights than it was trained on."""
        return replace(self, saved=self.saved and replace(self.saved, mark={}))

    def not_quantised(self) -> ModelSource:
        """Return the source with the weights of `model` as they are: what an export has, and a server."""
        return replace(self, quantization="none")

    def fingerprint(self) -> dict[str, Any]:
        """Return what predictions depend on, as plain data: digests of folders, names of hub models."""
        folder = Path(self.model)
        return {
            "model": digest_folder(folder) if folder.is_dir() else self.model,
            "adapter": digest_folder(self.adapter) if self.adapter else None,
            "profile": to_tree(self.profile),
            **({} if self.quantization == "none" else {"quantization": self.quantization}),
        }


def find_source(
    model: str,
    adapter: Path | None,
    dataset: str | None = None,
    *,
    needs_weights: bool = True,
    is_asked: bool = True,
    quantization: Quantization | None = None,
) -> ModelSource:
    """Find model, adapter and answer profile.

    Args:
        model: Built-in model, hub id or folder; a folder that ``dcap train`` wrote may hold the model in ``model/``.
        adapter: Folder of an adapter, or one that ``dcap train`` wrote, with the adapter in ``adapter/``.
        dataset: Data set of the mixture that the model was trained on, whose prompts and answers are wanted.
        needs_weights: Whether the weights must be there. Where a server has them, the answer profile and what the
            tokenizer needs are enough.
        is_asked: Whether the model will be asked by this profile. Then one that no data set was trained with is told.
        quantization: How the model's weights are held. `None`: as they were when the adapter was trained.

    Raises:
        ConfigError: A folder holds no model or no safetensors adapter, or the model knows no such data set.
        CheckpointError: The answer profile is torn or unknown, or a file that a run wrote is damaged.
    """
    base = Path(resolve_model(model))
    found = inside(base, "model", "config.json") if base.is_dir() else None
    if base.is_dir() and found is None and needs_weights:
        hint = " Give it as --adapter, and its base model as --model." if inside(base, "adapter", SETTINGS) else ""
        raise ConfigError(f"--model must be a folder with config.json, not {base}.{hint}")
    no_weights = adapter is not None and (adapter / FILE_NAME).is_file() and inside(adapter, "adapter", WEIGHTS) is None
    saved = None if adapter is None or (no_weights and not needs_weights) else find_adapter(adapter)
    if saved is not None:
        _compare_base(saved, model)
    if found is not None:
        checked_mark(found)
    attached = saved.folder if saved is not None else None
    places = [folder for folder in (adapter, attached, base, found) if folder is not None]
    # If the inner folder itself is given, the profile is beside it.
    places += [folder.parent for folder in places if folder.name in ("adapter", "model")]
    profile = next((load_profile(folder) for folder in places if (folder / FILE_NAME).is_file()), None)
    has_profile = profile is not None
    if profile is None:
        log.info("no %s beside the weights: the default answer profile and English prompts are used", FILE_NAME)
        profile = resolve_profile(DataConfig())
    if dataset is not None:
        profile = profile.of_dataset(dataset)
    elif is_asked:
        warn_of_untrained(profile)
    held = quantization or (_trained_with(saved) if saved is not None and needs_weights else "none")
    return ModelSource(str(found) if found else resolve_model(model), saved, profile, has_profile, held)


def _trained_with(saved: SavedAdapter) -> Quantization:
    """Return how the weights below an adapter were held when it was trained."""
    for known in get_args(Quantization):
        if saved.quantization == known:
            return cast(Quantization, known)
    names = " or ".join(get_args(Quantization))
    raise ConfigError(
        f"{saved.folder} must have been trained with model.quantization {names}, not {saved.quantization}. Use the "
        "version of dcap that trained it"
    )


def tuned_source(model: str, adapter: Path) -> tuple[ModelSource, SavedAdapter]:
    """Find a base and an adapter that says how the model is asked.

    Args:
        model: Built-in model, hub id or folder of the base model.
        adapter: Folder of the adapter, or the one that ``dcap train`` wrote.

    Raises:
        ConfigError: There is no model, no adapter, or no answer profile beside the adapter.
        CheckpointError: The profile is torn or of another version, or a file that a run wrote is damaged.
    """
    source = find_source(model, adapter, is_asked=False)
    if not source.has_profile:
        raise ConfigError(
            f"--adapter must have {FILE_NAME} beside it, which says how the model is asked, and {adapter} has none. "
            "Give the folder that dcap train wrote, or a copy of all of it"
        )
    assert source.saved is not None
    return source, source.saved


def warn_of_untrained(profile: ResolvedProfile) -> None:
    """Tell where no data set of the mixture was trained with a profile."""
    if not profile.is_trained:
        names = ", ".join(profile.datasets)
        log.warning("every data set had prompts or answers of its own in training; give --dataset, one of %s", names)


def _compare_base(adapter: SavedAdapter, model: str) -> None:
    """Point out an adapter that was trained on another model: all its weights may fit, and its answers be wrong."""
    base = adapter.base
    if base and base not in (model, base_name(model)):
        log.warning("%s was trained on %s, and --model is %s. They must hold the same weights", adapter.folder, base,
                    model)  # fmt: skip


def model_files(model: str, adapter: Path | None) -> list[Path]:
    """Return the files of a model and an adapter that prediction may read, where these are folders."""
    folders = [folder for folder in (Path(model), adapter) if folder is not None and folder.is_dir()]
    found = [path for folder in folders for pattern in ("*", "*/*") for path in folder.glob(pattern)]
    return [path for path in found if path.suffix in _READ]


def digest_folder(folder: Path, end_bytes: int = END_BYTES) -> str:
    """Return a digest of a model's or adapter's configs and weights.

    Args:
        folder: Whose ``.json``, ``.safetensors`` and ``.jinja`` files count.
        end_bytes: Of a file larger than this, only its size and this many bytes at each end count.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in _READ):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(end_bytes))
            if size > end_bytes:
                file.seek(max(end_bytes, size - end_bytes))
                digest.update(file.read())
    return digest.hexdigest()
