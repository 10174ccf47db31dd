"""The answer profile beside a checkpoint: what training, prediction and evaluation must agree on, in one file.

Owns ``answer_profile.json``. Prompts are saved as texts, so that prediction needs neither the config nor its files.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcap.core.config import build, to_tree
from dcap.core.errors import CheckpointError, ConfigError, nearest_hint
from dcap.data.config import AnswerProfile, DataConfig, Mode
from dcap.data.prompts import Prompts, resolve

FILE_NAME = "answer_profile.json"
VERSION = 1
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class DatasetProfile:
    """What one data set of a mixture is asked and answers."""

    answer: AnswerProfile
    """As that of `ResolvedProfile`."""
    prompts: Prompts
    """The texts."""
    mode: Mode
    """What the model was trained to answer."""


@dataclass(frozen=True)
class ResolvedProfile:
    """An answer profile whose prompts are texts."""

    answer: AnswerProfile
    """Format, grid, order and image size."""
    prompts: Prompts
    """The texts; `answer.prompts` only says where they came from."""
    mode: Mode = "dense"
    """What the model was trained to answer."""
    datasets: dict[str, DatasetProfile] = field(default_factory=dict)
    """The same of each data set of a mixture, by name."""

    @property
    def is_trained(self) -> bool:
        """Whether some data set was trained with this very profile; true without a mixture."""
        return not self.datasets or DatasetProfile(self.answer, self.prompts, self.mode) in self.datasets.values()

    def of_dataset(self, name: str) -> ResolvedProfile:
        """Return the profile of one data set.

        Raises:
            ConfigError: There is none of that name.
        """
        if name not in self.datasets:
            known = nearest_hint(name, self.datasets) if self.datasets else "; the model was not trained on a mixture"
            raise ConfigError(f"data set must be one of the mixture that the model was trained on, not {name!r}{known}")
        own = self.datasets[name]
        return ResolvedProfile(own.answer, own.prompts, own.mode)


def resolve_profile(config: DataConfig, base_dir: str | Path = ".") -> ResolvedProfile:
    """Return the profile that a data config means.

    Raises:
        ConfigError: As `dcap.data.prompts.resolve`.
    """
    datasets = {}
    for entry in config.mixture:
        own = config.of_entry(entry)
        datasets[entry.name] = DatasetProfile(own.answer, resolve(own.answer.prompts, base_dir), own.mode)
    return ResolvedProfile(config.answer, resolve(config.answer.prompts, base_dir), config.mode, datasets)


def save_profile(folder: str | Path, profile: ResolvedProfile) -> Path:
    """Write ``answer_profile.json`` into a folder, whole or not at all, and return its path."""
    path = Path(folder) / FILE_NAME
    text = json.dumps({"version": VERSION, **to_tree(profile)}, ensure_ascii=False, indent=2)
    part = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    part.write_text(text + "\n", "utf-8")
    os.replace(part, path)
    return path


def load_profile(folder: str | Path) -> ResolvedProfile:
    """Read the profile of a checkpoint folder.

    Raises:
        CheckpointError: The file is missing, torn, from a newer version, or has a field that dcap does not know.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{path}: answer profile must exist beside the weights. Name the folder that dcap train wrote, "
            f"or copy its {FILE_NAME} here."
        )
    tree = _read(path)
    version = tree.pop("version", None)
    if version != VERSION:
        raise CheckpointError(f"{path}: version must be {VERSION}, not {version!r}. Use the dcap that wrote it.")
    try:
        return build(ResolvedProfile, tree)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}. Use the dcap that wrote it, or restore the file.") from None


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: answer profile must be at most {_MAX_BYTES} bytes. Restore it from the run.")
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: answer profile must be JSON ({error}). Restore it from the run.") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: answer profile must be a JSON object. Restore it from the run.")
    return tree
