"""Checkpoints: all that a run needs to go on as if it had never stopped, in files without pickle.

::

    OUT/checkpoints/step-000100/
        adapter/ or model/       what trains (safetensors)
        optimizer.safetensors    AdamW's moments by parameter name; more than 2 GB: in pieces, with an index
        rng.safetensors          random states of every rank
        config.yaml              the resolved config
        answer_profile.json      how answers are written and read
        trainer_state.json       position and counters, data files; sizes and digests of all files
    OUT/best -> checkpoints/step-000060
    OUT/final/                   adapter/ or model/ in the config's dtype, answer_profile.json, final.json
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file

from dcap.answers.profile import ResolvedProfile, save_profile
from dcap.core.config import dump_yaml, to_tree
from dcap.core.errors import CheckpointError
from dcap.core.files import point_at
from dcap.core.log import get_logger
from dcap.core.manifest import FINAL_MARKER, STATE_MARKER, check_digests
from dcap.core.words import counted
from dcap.model.saved_model import BaseFiles
from dcap.records.checking import BAD_RECORDS_FILE
from dcap.train.atomic import failures_named, whole_folder
from dcap.train.config import RunConfig
from dcap.train.data_files import Files
from dcap.train.optimizer import optimizer_tensors, restore_optimizer
from dcap.train.ranks import on_first_rank
from dcap.train.resume import Start, all_checkpoints, step_of
from dcap.train.state import RunState
from dcap.train.step import Learner
from dcap.train.weights import OnFirst, load_weights, pieces, save_pieces, save_weights

log = get_logger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Args:
        config: The run, with its folder, the number of checkpoints to keep, and the checkpoint to resume.
        profile: Answer profile, saved beside the weights.
        source: Folder or hub id of the base model, for its tokenizer files.
        learner: Model and optimiser to save and restore.
        data: The data files of each split, saved so that a resumed run notices others.
    """

    config: RunConfig
    profile: ResolvedProfile
    source: str
    learner: Learner
    data: Mapping[str, Files] = field(default_factory=dict)

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

        Raises:
            CheckpointError: It cannot be written; on every rank.
        """
        target = self.output / "checkpoints" / f"step-{state.step:06d}"
        states = gather_object([rng_tensors()])
        with self._whole_folder(target, STATE_MARKER) as (folder, on_first):
            self._write(folder, state, states, on_first)

        def publish() -> None:
            if best:
                point_at(self.output / "best", target)
            delete_surplus(self.output, self.config.training.save_total_limit)
            log.info("saved %s%s", target, ", the best so far" if best else "")

        on_first_rank(self._accelerator, publish)
        return target

    @contextmanager
    def _whole_folder(self, target: Path, marker: str) -> Iterator[tuple[Path, OnFirst]]:
        """Yield a scratch folder of the first rank, and what lets that rank write into it; see `whole_folder`.

        Between the writes, all ranks can put together what is written next.
        """
        with ExitStack() as closing:
            folder = on_first_rank(self._accelerator, lambda: closing.enter_context(whole_folder(target, marker)))

            def on_first(action: Callable[[], Any]) -> Any:
                return on_first_rank(self._accelerator, lambda: _named(target, action))

            yield folder, on_first
            on_first_rank(self._accelerator, closing.close)

    def _write(self, folder: Path, state: RunState, rng: list[dict[str, torch.Tensor]], on_first: OnFirst) -> None:
        learner = self.learner
        save_weights(learner.bare_module.model, folder, self._base, on_first=on_first)
        moments = optimizer_tensors(learner.optimizer, learner.parameters)
        save_pieces(moments, folder, "optimizer", on_first=on_first)
        meta = {
            "state": asdict(state),
            "world_size": self._accelerator.num_processes,
            "base": self.config.model.name_or_path,
            "base_digest": learner.base_digest,
            "revision": self.config.model.revision,
            "quantization": self.config.model.quantization,
            "init_adapter": to_tree(self.config.model.init_adapter),
            "data": self.data,
        }

        def rest() -> None:
            save_file(
                {f"rank{i}/{name}": value for i, tensors in enumerate(rng) for name, value in tensors.items()},
                folder / "rng.safetensors",
            )
            (folder / "config.yaml").write_text(dump_yaml(self.config), "utf-8")
            save_profile(folder, self.profile)
            (folder / STATE_MARKER).write_text(json.dumps(meta), "utf-8")

        on_first(rest)

    def has_final(self, state: RunState) -> bool:
        """Whether ``final/`` holds the weights of `state`, as the first rank sees it; all ranks must ask."""

        def step_of_final() -> Any:
            try:
                return check_digests(self.output / "final", FINAL_MARKER).get("step")
            except CheckpointError:
                return None

        return bool(on_first_rank(self._accelerator, step_of_final) == state.step)

    def save_final(self, state: RunState) -> Path:
        """Write ``final/``: the weights at `state`, ready for prediction and export.

        Raises:
            CheckpointError: It cannot be written; on every rank.
        """
        target, dtype = self.output / "final", getattr(torch, self.config.model.dtype)
        meta = {
            "base": self.config.model.name_or_path,
            "base_digest": self.learner.base_digest,
            "revision": self.config.model.revision,
            "quantization": self.config.model.quantization,
            "init_adapter": to_tree(self.config.model.init_adapter),
            "step": state.step,
        }
        with self._whole_folder(target, FINAL_MARKER) as (folder, on_first):
            save_weights(self.learner.bare_module.model, folder, self._base, dtype, on_first)

            def rest() -> None:
                save_profile(folder, self.profile)
                (folder / FINAL_MARKER).write_text(json.dumps(meta), "utf-8")

            on_first(rest)
        if self._accelerator.is_main_process:
            log.info("wrote %s", target)
        return target

    @property
    def _base(self) -> BaseFiles:
        return BaseFiles(self.source, self.config.model.revision, self.profile.answer)

    def restore(self, start: Start) -> RunState:
        """Load the checkpoint of `start`, on every rank, and move what is in the way of the run aside.

        Raises:
            CheckpointError: The checkpoint is that of another model, or cannot be read.
        """
        if start.folder is not None:
            self._load(start.folder, start)

        def clear() -> None:
            if self.config.training.resume == "none" or (start.folder is None and all_checkpoints(self.output)):
                # Checkpoints that cannot be used would count as the newest ones, and the new ones as surplus.
                set_aside(self.output)
            elif start.folder is not None:
                set_newer_aside(self.output, start.state.step)

        on_first_rank(self._accelerator, clear)
        return start.state

    def _load(self, folder: Path, start: Start) -> None:
        model = self.learner.bare_module.model
        if hasattr(model, "peft_config") and start.base_digest != self.learner.base_digest:
            raise CheckpointError(
                f"{folder} must be an adapter of the weights in {self.config.model.name_or_path}, but it was trained "
                "on others. Restore the model that the run began with, or start anew with training.resume=none"
            )
        load_weights(model, folder)
        for file in pieces(folder, "optimizer"):
            restore_optimizer(self.learner.optimizer, self.learner.parameters, load_file(file))
        prefix = f"rank{self._accelerator.process_index}/"
        rng = load_file(folder / "rng.safetensors")
        mine = {name.removeprefix(prefix): v for name, v in rng.items() if name.startswith(prefix)}
        if mine:  # a rank that did not exist begins as it is; dropout is seeded in every step
            restore_rng(mine)
        log.info("resumed from %s at step %d", folder, start.state.step)


def _named(target: Path, action: Callable[[], Any]) -> Any:
    with failures_named(target):
        return action()


def delete_surplus(output: Path, limit: int) -> None:
    """Keep the `limit` newest checkpoints and the best one."""
    best = (output / "best").resolve()
    for folder in all_checkpoints(output)[:-limit]:
        if folder.resolve() != best:
            shutil.rmtree(folder)


def set_aside(output: Path) -> None:
    """Move the files of an earlier run in `output` into ``previous-001``, so that they are neither lost nor resumed."""
    names = (
        "checkpoints", "best", "final", "metrics.jsonl", "losses", "tensorboard", "wandb", "swanlab", "config.yaml",
        "environment.json", BAD_RECORDS_FILE,
    )  # fmt: skip
    left = [output / name for name in names if (output / name).exists() or (output / name).is_symlink()]
    if not left:
        return
    folder = _make_previous(output)
    for path in left:
        path.rename(folder / path.name)
    log.info("moved an earlier run to %s", folder)


def set_newer_aside(output: Path, step: int) -> None:
    """Move checkpoints beyond `step`, where a run goes on, into ``previous-001``, and the final weights with them.

    If they stayed, they would count as the newest. New checkpoints would be deleted as surplus, and the next resume
    would load a checkpoint that this run went back from, or take its weights for the final ones of this run.
    """
    newer = [folder for folder in all_checkpoints(output) if step_of(folder) > step]
    if not newer:
        return
    folder = _make_previous(output) / "checkpoints"
    folder.mkdir()
    if (output / "best").resolve() in [path.resolve() for path in newer]:
        (output / "best").unlink()
    for path in newer:
        path.rename(folder / path.name)
    if (output / "final").exists():
        (output / "final").rename(folder.parent / "final")
    log.info("moved %s beyond step %d to %s", counted(len(newer), "checkpoint"), step, folder)


def _make_previous(output: Path) -> Path:
    number = next(n for n in range(1, 1_000_000) if not (output / f"previous-{n:03d}").exists())
    folder = output / f"previous-{number:03d}"
    folder.mkdir()
    return folder


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
