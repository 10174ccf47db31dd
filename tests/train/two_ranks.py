"""What ``test_ranks.py`` runs on two processes: ``main(OUT)``.

OUT holds the configs of three runs: ``run.yaml``, ``vision.yaml`` and ``interrupted.yaml``.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dcap.core.errors import StoppedError, TrainingError
from dcap.data.collate import Batch
from dcap.train.config import load_run_config
from dcap.train.loop import fit
from dcap.train.setup import Run, prepare
from dcap.train.step import optimizer_step, validate
from support.batches import fake_sample, packed
from support.training_runs import at_step, recorded

TEXT_ONLY = packed([fake_sample(50, images=(), answer=9)])
WITH_IMAGE = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])


def refusal(run: Run, batches: list[Batch]) -> str:
    """Return the message with which a step is refused on this rank."""
    try:
        optimizer_step(run.learner, batches, 99, 1.0)
    except TrainingError as error:
        return str(error)
    return "no error"


def refusal_to_start(out: Path, closing: ExitStack) -> str:
    """Return the message with which a run is refused whose ranks read different files."""
    file = out / ("seven.jsonl" if os.environ["RANK"] == "1" else "vision.jsonl")
    changes = [f"data.train={file}", f"training.output_dir={out / 'differing'}"]
    with pytest.raises(TrainingError) as caught:
        prepare(load_run_config(out / "run.yaml", changes), closing)
    return str(caught.value)


def fit_and_probe(run: Run, out: Path) -> dict[str, Any]:
    """Train, and then make steps whose ranks differ in what they hold and in what is wrong with it."""
    rank = run.learner.accelerator.process_index
    fit(run)
    found: dict[str, Any] = {"world_size": run.learner.accelerator.num_processes}
    result = optimizer_step(run.learner, [WITH_IMAGE if rank else TEXT_ONLY], 90, 0.1, stop=lambda: rank == 1)
    found |= {"loss": result.loss, "samples": result.totals.samples, "stop": result.stop}
    found["eval"] = validate(run.learner, [WITH_IMAGE if rank else TEXT_ONLY])
    found["leaves validation"] = validate(run.learner, [TEXT_ONLY], lambda: rank == 1) is None
    save_weights(run, out / f"weights-{rank}.safetensors")
    nothing = packed([fake_sample(60, images=(), weight=0.0)])
    found["no weight"] = refusal(run, [nothing])
    unlabelled = packed([fake_sample(61, images=())])
    unlabelled["labels"][:] = -100
    found["no label"] = refusal(run, [TEXT_ONLY if rank else unlabelled])
    broken = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])
    broken["pixel_values"][-1, 0] = torch.nan
    found["not finite"] = refusal(run, [broken if rank else TEXT_ONLY])
    return found


def fit_without_an_image(run: Run, out: Path) -> dict[str, Any]:
    """Train the vision tower where a row has no image; then also where only an earlier micro-batch of one rank has."""
    rank = run.learner.accelerator.process_index
    with pytest.MonkeyPatch.context() as patch:
        seen = recorded(patch)
        fit(run)
    result = optimizer_step(run.learner, [TEXT_ONLY if rank else WITH_IMAGE, TEXT_ONLY], 90, 0.1)
    save_weights(run, out / f"vision-{rank}.safetensors")
    return {"vision samples": seen, "vision loss": result.loss}


def fit_until_stopped(run: Run) -> dict[str, Any]:
    """Train until the first rank gets SIGTERM in step 1."""
    rank = run.learner.accelerator.process_index
    with pytest.MonkeyPatch.context() as patch:
        seen = recorded(patch)
        at_step(patch, 1, lambda: None if rank else os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(StoppedError):
            fit(run)
    return {"samples until stopped": seen}


def save_weights(run: Run, path: Path) -> None:
    save_file({name: p.detach().clone() for name, p in run.learner.parameters.items()}, path)


def main(folder: str) -> None:
    out = Path(folder)
    torch.set_num_threads(1)
    with ExitStack() as closing:
        runs = [prepare(load_run_config(out / f"{name}.yaml"), closing) for name in ("run", "vision", "interrupted")]
        rank = runs[0].learner.accelerator.process_index
        found = {"differing": refusal_to_start(out, closing)}
        found |= fit_and_probe(runs[0], out) | fit_without_an_image(runs[1], out) | fit_until_stopped(runs[2])
    (out / f"found-{rank}.json").write_text(json.dumps(found))
