"""Checkpoints: all that a run needs to go on as if it had never stopped, in files without pickle.

::

    OUT/checkpoints/step-000100/
        adapter/ or model/       what trains (safetensors)
        optimizer.safetensors    AdamW's moments by parameter name
        rng.safetensors          random states of every rank
        config.yaml              the resolved config
        answer_profile.json      how answers are written and read
        trainer_state.json       position and counters; the sizes of all files
    OUT/best -> checkpoints/step-000060
    OUT/final/                   adapter/ or model/ in the config's dtype, and answer_profile.json
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors.torch import load_file, save_file

from dcap.answers.profile import ResolvedProfile, save_profile
from dcap.core.config import build, differences, dump_yaml, to_tree
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.files import point_at
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.records.checking import BAD_RECORDS_FILE
from dcap.train.atomic import read_marker, whole_folder
from dcap.train.config import RunConfig
from dcap.train.optimizer import optimizer_tensors, restore_optimizer
from dcap.train.state import RunState
from dcap.train.step import Learner
from dcap.train.weights import load_weights, save_weights

log = get_logger(__name__)

MARKER = "trainer_state.json"

# A change of these would make other samples, other rows or another model: the run would be neither old nor new.
BINDING = (
    "seed",
    "model",
    "data",
    "augmentation",
    "training.per_device_batch_size",
)
# With a curriculum in percent, these make other samples too; the last one only where it decides on the steps.
LENGTH = ("training.num_epochs", "training.max_steps", "training.effective_batch_size")
# Inside those, these change neither samples nor what trains.
FREE = ("data.num_workers", "data.val", "data.root", "model.attention")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Args:
        config: The run, with its folder, the number of checkpoints to keep, and the checkpoint to resume.
        profile: Answer profile, saved beside the weights.
        source: Folder or hub id of the base model, for its tokenizer files.
        learner: Model and optimiser to save and restore.
    """

    config: RunConfig
    profile: ResolvedProfile
    source: str
    learner: Learner

    @property
    def output(self) -> Path:
        """Run folder."""
        return Path(self.config.training.output_dir)

    @property
    def _accelerator(self) -> Accelerator:
        return self.learner.accelerator

    def save(self, state: RunState, best: bool = False) -> Path:
        """Write a checkpoint of `state`, point ``best`` at it if asked, and delete what is over the limit.

        All ranks call it; the first one writes.
        """
        target = self.output / "checkpoints" / f"step-{state.step:06d}"
        states = gather_object([rng_tensors()])
        if self._accelerator.is_main_process:
            with whole_folder(target, MARKER) as folder:
                self._write(folder, state, states)
            if best:
                point_at(self.output / "best", target)
            delete_surplus(self.output, self.config.training.save_total_limit)
            log.info("saved %s%s", target, ", the best so far" if best else "")
        self._accelerator.wait_for_everyone()
        return target

    def _write(self, folder: Path, state: RunState, rng: list[dict[str, torch.Tensor]]) -> None:
        learner = self.learner
        save_weights(learner.bare_module.model, folder, self.source, revision=self.config.model.revision)
        save_file(optimizer_tensors(learner.optimizer, learner.parameters), folder / "optimizer.safetensors")
        save_file(
            {f"rank{i}/{name}": value for i, tensors in enumerate(rng) for name, value in tensors.items()},
            folder / "rng.safetensors",
        )
        (folder / "config.yaml").write_text(dump_yaml(self.config), "utf-8")
        save_profile(folder, self.profile)
        meta = {"state": asdict(state), "world_size": self._accelerator.num_processes}
        (folder / MARKER).write_text(json.dumps(meta), "utf-8")

    def has_final(self, state: RunState) -> bool:
        """Whether ``final/`` holds the weights of `state`, as the first rank sees it; all ranks must ask."""
        found: list[Any] = [None]
        if self._accelerator.is_main_process:
            with suppress(CheckpointError):
                found = [read_marker(self.output / "final", "final.json").get("step")]
        broadcast_object_list(found)
        return bool(found[0] == state.step)

    def save_final(self, state: RunState) -> Path:
        """Write ``final/``: the weights at `state`, ready for prediction and export."""
        target = self.output / "final"
        if self._accelerator.is_main_process:
            with whole_folder(target, "final.json") as folder:
                dtype = getattr(torch, self.config.model.dtype)
                save_weights(self.learner.bare_module.model, folder, self.source, dtype, self.config.model.revision)
                save_profile(folder, self.profile)
                meta = {"base": self.config.model.name_or_path, "step": state.step}
                (folder / "final.json").write_text(json.dumps(meta), "utf-8")
            log.info("wrote %s", target)
        self._accelerator.wait_for_everyone()
        return target

    def restore(self) -> RunState:
        """Load the checkpoint that `training.resume` asks for, on every rank, and return its state or a new one.

        Raises:
            CheckpointError: The given path is no whole checkpoint, or the checkpoint is that of another run.
        """
        found: list[Any] = [self._find() if self._accelerator.is_main_process else None]
        broadcast_object_list(found)
        if found[0] is None:
            return RunState()
        state = self.load(Path(found[0]))
        if self._accelerator.is_main_process:
            set_newer_aside(self.output, state.step)
        self._accelerator.wait_for_everyone()
        return state

    def load(self, folder: Path) -> RunState:
        """Load one checkpoint.

        Raises:
            CheckpointError: It is torn, that of another run, or that of another version of dcap.
        """
        meta = read_marker(folder, MARKER)
        saved = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
        world_size = self._accelerator.num_processes
        check_same_run(saved | {"world_size": meta["world_size"]}, to_tree(self.config) | {"world_size": world_size})
        load_weights(self.learner.bare_module.model, folder)
        tensors = load_file(folder / "optimizer.safetensors")
        restore_optimizer(self.learner.optimizer, self.learner.parameters, tensors)
        prefix = f"rank{self._accelerator.process_index}/"
        rng = load_file(folder / "rng.safetensors")
        mine = {name.removeprefix(prefix): v for name, v in rng.items() if name.startswith(prefix)}
        if mine:  # a rank that did not exist begins as it is; dropout is seeded in every step
            restore_rng(mine)
        state = _read_state(folder, meta)
        rows = saved["training"]["effective_batch_size"] // self.config.training.per_device_batch_size
        if rows != self.config.training.rows_per_step:
            state = state.regrouped(rows)
            log.warning(
                "the steps had %s and have %d from now on; the samples left of epoch %d are shared out anew",
                counted(rows, "row"),
                self.config.training.rows_per_step,
                state.epoch,
            )
        current = to_tree(self.config)
        validation = (("training", "best_metric"), ("training", "best_mode"), ("data", "val"))
        if any(saved[section].get(key) != current[section][key] for section, key in validation):
            # The best of one metric, or over some records, says nothing about another.
            state = replace(state, best_value=None, best_step=None)
        log.info("resumed from %s at step %d", folder, state.step)
        return state

    def _find(self) -> str | None:
        resume = self.config.training.resume
        if resume == "none":
            set_aside(self.output)
            return None
        if resume == "auto":
            newest = newest_checkpoint(self.output)
            return None if newest is None else str(newest)
        if not Path(resume).is_dir():
            raise CheckpointError(f"training.resume must be auto, none or a checkpoint's folder, not {resume}")
        return str(Path(resume).resolve())


def _read_state(folder: Path, meta: Mapping[str, Any]) -> RunState:
    try:
        return build(RunState, meta.get("state", {}), "state")
    except ConfigError as error:
        raise CheckpointError(
            f"{folder / MARKER} must hold the state of a run as this version of dcap writes it, but {error}. "
            "Go on with the version that wrote it, or start anew with training.resume=none"
        ) from None


def all_checkpoints(output: Path) -> list[Path]:
    """Return the checkpoints of a run folder, oldest first, whole or not."""
    found = (output / "checkpoints").glob("step-*")
    return sorted((p for p in found if re.fullmatch(r"step-\d+", p.name)), key=_step_of)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def newest_checkpoint(output: Path) -> Path | None:
    """Return the newest whole checkpoint of a run folder. A torn one is reported and skipped."""
    for folder in reversed(all_checkpoints(output)):
        try:
            read_marker(folder, MARKER)
        except CheckpointError as error:
            log.warning("%s; passed over", error)
            continue
        return folder
    return None


def delete_surplus(output: Path, limit: int) -> None:
    """Keep the `limit` newest checkpoints and the best one."""
    best = (output / "best").resolve()
    for folder in all_checkpoints(output)[:-limit]:
        if folder.resolve() != best:
            shutil.rmtree(folder)


def set_aside(output: Path) -> None:
    """Move the files of an earlier run in `output` into ``previous-001``, so that they are neither lost nor resumed."""
    names = (
        "checkpoints", "best", "final", "metrics.jsonl", "tensorboard", "config.yaml", "environment.json",
        BAD_RECORDS_FILE,
    )  # fmt: skip
    left = [output / name for name in names if (output / name).exists() or (output / name).is_symlink()]
    if not left:
        return
    folder = _make_previous(output)
    for path in left:
        path.rename(folder / path.name)
    log.info("moved an earlier run to %s", folder)


def set_newer_aside(output: Path, step: int) -> None:
    """Move checkpoints beyond `step`, where a run goes on, into ``previous-001``.

    If they stayed, they would count as the newest. New checkpoints would be deleted as surplus, and the next resume
    would load a checkpoint that this run went back from.
    """
    newer = [folder for folder in all_checkpoints(output) if _step_of(folder) > step]
    if not newer:
        return
    folder = _make_previous(output) / "checkpoints"
    folder.mkdir()
    if (output / "best").resolve() in [path.resolve() for path in newer]:
        (output / "best").unlink()
    for path in newer:
        path.rename(folder / path.name)
    log.info("moved %s beyond step %d to %s", counted(len(newer), "checkpoint"), step, folder)


def _make_previous(output: Path) -> Path:
    number = next(n for n in range(1, 1_000_000) if not (output / f"previous-{n:03d}").exists())
    folder = output / f"previous-{number:03d}"
    folder.mkdir()
    return folder


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
        if name != "training.resume":
            log.warning("resuming with a change: %s", text)


def _below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def rng_tensors() -> dict[str, torch.Tensor]:
    """Return the states of torch, CUDA (this process's device), NumPy and Python."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one is meant
    assert isinstance(numpy_state, dict)
    twister = numpy_state["state"]
    version, words, next_gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*twister["key"].tolist(), twister["pos"], numpy_state["has_gauss"]]),
        "numpy_gauss": torch.tensor([numpy_state["gauss"]], dtype=torch.float64),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([math.nan if next_gauss is None else next_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore_rng(tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `rng_tensors` returned; a CUDA state is left alone where there is no CUDA."""
    torch.set_rng_state(tensors["torch"])
    *keys, position, has_gauss = tensors["numpy"].tolist()
    state = ("MT19937", np.array(keys, np.uint32), position, has_gauss, float(tensors["numpy_gauss"]))
    np.random.set_state(state)  # noqa: NPY002 - the global one is meant
    version, *words = tensors["python"].tolist()
    gauss = float(tensors["python_gauss"])
    random.setstate((version, tuple(words), None if math.isnan(gauss) else gauss))
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
