"""Cases of training on two ranks, each with what one process does in its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dcap.data.collate import Batch
from dcap.demo.models import ModelSize, build_micro
from dcap.train import weights
from dcap.train.config import RunConfig, load_run_config
from dcap.train.loop import fit
from dcap.train.parallel import build_accelerator
from dcap.train.setup import build_learner, prepare
from dcap.train.step import StepResult, optimizer_step, validate
from dcap.train.token_weights import weighted_by_kind
from support.batches import fake_sample, packed

SMALL = ModelSize(hidden_size=64, num_layers=2, vision_hidden_size=32, num_deepstack=1, head_dim=32, rope_theta=1e4)

TEXT = packed([fake_sample(50, images=(), answer=9)])
IMAGES = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])
IMAGE = packed([fake_sample(53, images=((8, 4),), answer=7)])

STEPS: tuple[tuple[tuple[Batch, ...], tuple[Batch, ...]], ...] = (
    ((TEXT,), (IMAGES,)),
    ((IMAGE, TEXT), (TEXT, TEXT)),
    ((TEXT,), (TEXT,)),
    ((IMAGES,), (IMAGE,)),
)
"""Micro-batches of each rank in four steps: a rank without an image, one where only an earlier micro-batch has one, and
a step in which no rank has one."""

# What acts on the loss and on the rates. Steps of the usual size from such a start make much of rounding noise.
WEIGHTED = {
    "label_smoothing": 0.1, "token_weights": {"coordinate": 2.0}, "lora_plus_ratio": 4.0, "learning_rate": 1e-3,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "ddp lora": {"model": {"freeze_vit": False, "adapter": {"init": "olora"}}, "training": WEIGHTED},
    "ddp full": {"model": {"freeze_vit": False, "adapter": {"type": "full"}}},
    "fsdp lora": {"model": {"freeze_vit": False, "adapter": {"init": "olora"}}, "training": WEIGHTED},
    "fsdp full": {"model": {"freeze_vit": False, "adapter": {"type": "full"}}},
    "fsdp dora": {
        "model": {"adapter": {"type": "dora", "modules_to_save": ["merger"]}},
        "training": {"activation_checkpointing": True},
    },
    "fsdp llm": {"model": {"freeze_aligner": True, "dtype": "bfloat16"}, "training": {"fsdp_reshard": False}},
    "fsdp head": {"model": {"freeze_aligner": True, "adapter": {"type": "full"}}, "training": {"fsdp_reshard": False}},
}
"""Changes to a config. A rank of adapters of 3 cannot be halved; in the last two the vision side does not train."""


def small_model(folder: Path) -> Path:
    """Write the model of the cases."""
    return build_micro(folder, size=SMALL)


@dataclass(frozen=True)
class Outcome:
    """What a process did."""

    losses: list[float]
    norms: list[float]
    evaluated: dict[str, float]
    held: float
    """Share of the weights that train, as far as this process holds them."""


def make_steps(config: RunConfig, ranks: Sequence[int], file: Path) -> Outcome:
    """Make all steps and validate; the first rank writes the weights into `file`.

    Args:
        config: The run.
        ranks: Whose batches this process takes.
        file: Ends in ``.safetensors``.
    """
    learner = build_learner(config, build_accelerator(config))
    results: list[StepResult] = []
    for number, step in enumerate(STEPS, 1):
        batches = [weighted_by_kind(batch, config.training.token_weights) for rank in ranks for batch in step[rank]]
        results.append(optimizer_step(learner, batches, number, 1.0))
    parameters = learner.parameters.values()
    held = [p.to_local() if hasattr(p, "to_local") else p for p in parameters]
    weights.save_pieces(learner.parameters, file.parent, file.stem, on_first=lambda write: write() if 0 in ranks else 0)
    evaluated = validate(learner, [batch for rank in ranks for batch in (TEXT, IMAGE)[rank : rank + 1]])
    assert evaluated is not None
    again = optimizer_step(learner, [batch for rank in ranks for batch in STEPS[0][rank]], len(STEPS) + 1, 1.0)
    return Outcome(
        losses=[result.loss for result in (*results, again)],
        norms=[result.grad_norm for result in (*results, again)],
        evaluated=evaluated,
        held=sum(p.numel() for p in held) / sum(p.numel() for p in parameters),
    )


def go_on(out: Path, name: str, number: int, parallel: str, closing: ExitStack) -> None:
    """Make one step of a run, from the checkpoint that the hop before left.

    Args:
        out: Has the run's config, and gets ``NAME-NUMBER/``: the run in ``run``, and in ``copy`` the checkpoint that it
            goes on from, loaded and written once more.
        name: Of the run.
        number: Of the step.
        parallel: As ``training.parallel``.
        closing: Gets what must be closed at the end.
    """
    place = out / f"{name}-{number}"
    changes = [f"training.parallel={parallel}", f"training.max_steps={number}", f"training.output_dir={place / 'run'}"]
    if number > 1:
        changes.append(f"training.resume={last_checkpoint(out, name, number - 1)}")
    run = prepare(load_run_config(out / f"{name}.yaml", changes), closing)
    if number > 1:
        elsewhere = replace(run.config.training, output_dir=str(place / "copy"))
        copies = replace(run.checkpoints, config=replace(run.config, training=elsewhere))
        copies.save(run.checkpoints.restore(run.start))
    fit(run)


def last_checkpoint(out: Path, name: str, number: int) -> Path:
    """Return the checkpoint that a hop left."""
    return out / f"{name}-{number}" / "run" / "checkpoints" / f"step-{number:06d}"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return all weights and moments of a checkpoint, by the names in its files; it opens each."""
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        if file.name != "rng.safetensors":
            found |= {f"{file.parent.name if file.parent != folder else ''}:{k}": v for k, v in load_file(file).items()}
    return found
