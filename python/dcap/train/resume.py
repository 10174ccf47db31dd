"""Resuming: the checkpoint that a run goes on from, and whether the run is still the one that made it.

All of it is known before a weight is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dcap.core.config import build, differences, to_tree
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.log import get_logger
from dcap.core.manifest import STATE_MARKER, check_digests, read_marker
from dcap.core.words import counted
from dcap.train.config import RunConfig, TrainingConfig
from dcap.train.data_files import Files, changed_files, check_data
from dcap.train.state import ANSWER_METRICS, RunState

log = get_logger(__name__)

# A change of these would make other samples, rows, models or moments: the run would be neither old nor new.
BINDING = (
    "seed",
    "model",
    "data",
    "augmentation",
    "training.per_device_batch_size",
    "training.optimizer",
)
# With a curriculum in percent, these make other samples too; the last one only where it decides on the steps.
LENGTH = ("training.num_epochs", "training.max_steps", "training.effective_batch_size")
# Inside those, these change neither samples nor what trains.
FREE = ("data.num_workers", "data.val", "data.root", "model.attention", "model.init_adapter.path")
# What only says how to go on.
SILENT = ("training.resume", "training.on_changed_data")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins, or goes on."""

    folder: Path | None = None
    """Checkpoint to load. `None`: a new run."""
    state: RunState = field(default_factory=RunState)
    """State from which the run goes on."""
    base_digest: str | None = None
    """Digest of the base model that the checkpoint was trained on; see `dcap.model.fingerprint`."""


def find_start(config: RunConfig, num_ranks: int, data: Mapping[str, Files] | None = None) -> Start:
    """Return where the run begins, after `training.resume`, and check that it may go on from there.

    Args:
        config: The run.
        num_ranks: Number of processes.
        data: The data files of each split; see `dcap.train.data_files`.

    Raises:
        CheckpointError: The given path is no whole checkpoint; or the checkpoint is that of another run, of other data
            or another version, or beyond the end that the config gives.
    """
    folder = _asked_for(config.training)
    if folder is None:
        return Start()
    meta = read_marker(folder, STATE_MARKER)
    saved = _with_new_fields(yaml.safe_load((folder / "config.yaml").read_text("utf-8")))
    current = to_tree(config)
    check_same_run(saved | {"world_size": meta["world_size"]}, current | {"world_size": num_ranks})
    state = _read_state(folder, meta)
    _check_end(state, config.training)
    if data is not None:
        state = _on_these_data(state, config, meta.get("data", {}), data)
    validation = [("training", "best_metric"), ("training", "best_mode"), ("training", "eval_limit"), ("data", "val")]
    if config.training.best_metric in ANSWER_METRICS:
        validation.append(("training", "eval_generate"))
    if any(saved[section].get(key) != current[section][key] for section, key in validation):
        # The best of one metric, or over some records, says nothing about another.
        state = state.without_best()
    rows = saved["training"]["effective_batch_size"] // config.training.per_device_batch_size
    if rows != config.training.rows_per_step:
        state = state.regrouped(rows)
        log.warning(
            "the steps had %s and have %d from now on; the samples left of epoch %d are shared out anew",
            counted(rows, "row"),
            config.training.rows_per_step,
            state.epoch,
        )
    return Start(folder, state, meta.get("base_digest"))


def _with_new_fields(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved config with the defaults of fields that it has not, as they are newer; else as it is."""
    try:
        tree: dict[str, Any] = to_tree(build(RunConfig, saved))
    except ConfigError:
        return saved
    return tree


def _asked_for(training: TrainingConfig) -> Path | None:
    if training.resume == "none":
        return None
    if training.resume == "auto":
        return newest_checkpoint(Path(training.output_dir))
    folder = Path(training.resume)
    if not folder.exists():
        there = ", ".join(path.name for path in all_checkpoints(Path(training.output_dir))) or "no checkpoint"
        raise CheckpointError(
            f"training.resume must be auto, none or the folder of a checkpoint, and {folder} does not exist; "
            f"{training.output_dir} has {there}"
        )
    if not folder.is_dir():
        raise CheckpointError(f"training.resume must be auto, none or a checkpoint's folder, not {folder}")
    read_marker(folder, STATE_MARKER)
    check_digests(folder, STATE_MARKER)
    return folder.resolve()


def _read_state(folder: Path, meta: Mapping[str, Any]) -> RunState:
    try:
        return build(RunState, meta.get("state", {}), "state")
    except ConfigError as error:
        raise CheckpointError(
            f"{folder / STATE_MARKER} must hold the state of a run as this version of dcap writes it, but {error}. "
            "Go on with the version that wrote it, or start anew with training.resume=none"
        ) from None


def _check_end(state: RunState, training: TrainingConfig) -> None:
    """Refuse an end of the run before the place where it is: its weights would be called those of an earlier step."""
    if training.max_steps is not None:
        name, least, given = "max_steps", state.step, training.max_steps
    else:
        name, least, given = "num_epochs", state.epoch + (state.step_in_epoch > 0), training.num_epochs
    if given < least:
        raise CheckpointError(
            f"training.{name} must be at least {least}, as the run in {training.output_dir} has made "
            f"{counted(state.step, 'step')}, {state.epochs_done:.2f} epochs, not {given}. Raise it, go back with "
            "training.resume=CHECKPOINT, or give another training.output_dir"
        )


def _on_these_data(
    state: RunState, config: RunConfig, saved: Mapping[str, Files], current: Mapping[str, Files]
) -> RunState:
    restarts = config.training.on_changed_data == "restart_epoch"
    check_data(saved, current, restarts=restarts)
    if restarts and (change := changed_files(saved.get("train", []), current.get("train", []))):
        log.warning("the data changed, as %s: epoch %d begins anew with the new records", change, state.epoch)
        state = state.with_epoch_begun_anew()
    if config.data.has("val") and "val" in saved and (change := changed_files(saved["val"], current.get("val", []))):
        log.warning("the validation data changed, as %s: the best value so far is forgotten", change)
        state = state.without_best()
    return state


def all_checkpoints(output: Path) -> list[Path]:
    """Return the checkpoints of a run folder, oldest first, whole or not."""
    found = (output / "checkpoints").glob("step-*")
    return sorted((p for p in found if re.fullmatch(r"step-\d+", p.name)), key=step_of)


def step_of(folder: Path) -> int:
    """Return the step of a checkpoint, by the name of its folder."""
    return int(folder.name.removeprefix("step-"))


def newest_checkpoint(output: Path) -> Path | None:
    """Return the newest whole checkpoint of a run folder. A torn or damaged one is reported and skipped."""
    for folder in reversed(all_checkpoints(output)):
        try:
            read_marker(folder, STATE_MARKER)
            check_digests(folder, STATE_MARKER)
        except CheckpointError as error:
            log.warning("%s; passed over", error)
            continue
        return folder
    return None


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Compare two resolved configs (`dcap.core.config.to_tree`, plus ``world_size``).

    A change that keeps samples, rows and model, such as the number of epochs, of processes or of rows per step, is
    logged and followed.

    Raises:
        CheckpointError: A binding field differs; the message names every one with both values.
    """
    changes = sorted(differences(saved, current))
    in_percent = any(phase.get("until_percent") for phase in current["augmentation"].get("curriculum", ()))
    decisive = LENGTH[:-1] if current["training"].get("max_steps") else LENGTH
    binding_names = (*BINDING, *decisive) if in_percent else BINDING
    binding = [text for name, text in changes if _below(name, binding_names) and not _below(name, FREE)]
    if binding:
        raise CheckpointError(
            f"a run must be resumed with the config it began with, but {'; '.join(binding)}. "
            "Restore the value, or start anew with training.resume=none"
        )
    for name, text in changes:
        if name not in SILENT:
            log.warning("resuming with a change: %s", text)


def _below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
