"""What ``test_ranks.py`` runs on two processes: ``torchrun --nproc_per_node 2 two_ranks.py CONFIG OUT``."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from batches import fake_sample, packed
from dcap.core.errors import TrainingError
from dcap.data.collate import Batch
from dcap.train.config import load_run_config
from dcap.train.loop import fit
from dcap.train.setup import Run, prepare
from dcap.train.step import optimizer_step, validate

TEXT_ONLY = packed([fake_sample(50, images=(), answer=9)])
WITH_IMAGE = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])


def refusal(run: Run, batches: list[Batch]) -> str:
    """Return the message with which a step is refused on this rank."""
    try:
        optimizer_step(run.learner, batches, 99, 1.0)
    except TrainingError as error:
        return str(error)
    return "no error"


def main(config: str, out: Path) -> None:
    torch.set_num_threads(1)
    with ExitStack() as closing:
        run = prepare(load_run_config(config), closing)
        rank = run.learner.accelerator.process_index
        fit(run)
        found: dict[str, Any] = {"world_size": run.learner.accelerator.num_processes}
        result = optimizer_step(run.learner, [WITH_IMAGE if rank else TEXT_ONLY], 90, 0.1, stop=lambda: rank == 1)
        found |= {"loss": result.loss, "samples": result.totals.samples, "stop": result.stop}
        found["eval"] = validate(run.learner, [WITH_IMAGE if rank else TEXT_ONLY])
        found["leaves validation"] = validate(run.learner, [TEXT_ONLY], lambda: rank == 1) is None
        tensors = {name: p.detach().clone() for name, p in run.learner.parameters.items()}
        save_file(tensors, out / f"weights-{rank}.safetensors")
        nothing = packed([fake_sample(60, images=(), weight=0.0)])
        found["no weight"] = refusal(run, [nothing])
        unlabelled = packed([fake_sample(61, images=())])
        unlabelled["labels"][:] = -100
        found["no label"] = refusal(run, [TEXT_ONLY if rank else unlabelled])
        broken = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])
        broken["pixel_values"][-1, 0] = torch.nan
        found["not finite"] = refusal(run, [broken if rank else TEXT_ONLY])
    (out / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
