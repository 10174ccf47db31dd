"""Runs of the trainer, and what of them must be the same whenever they were interrupted."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dcap.data.sample_losses import losses_folder
from dcap.train import loop
from dcap.train.config import RunConfig
from dcap.train.loop import train
from dcap.train.resume import all_checkpoints

RunMaker = Callable[..., RunConfig]


def final_weights(config: RunConfig) -> dict[str, torch.Tensor]:
    file = Path(config.training.output_dir) / "final" / "adapter" / "adapter_model.safetensors"
    tensors: dict[str, torch.Tensor] = load_file(file)
    return tensors


def metrics(config: RunConfig) -> list[dict[str, Any]]:
    text = (Path(config.training.output_dir) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def outcome(config: RunConfig) -> list[tuple[Any, ...]]:
    """What of the metrics must not depend on when a run was interrupted."""
    keys = ("step", "epoch", "loss", "grad_norm", "lr/llm", "tokens", "samples", "token_accuracy", "eval/loss")
    return [tuple(line.get(key) for key in keys) for line in metrics(config)]


def kept_losses(config: RunConfig) -> dict[str, bytes]:
    """The files of the losses of single samples."""
    folder = losses_folder(Path(config.training.output_dir))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def steps(config: RunConfig) -> list[str]:
    return [path.name for path in all_checkpoints(Path(config.training.output_dir))]


def standard(run_config: RunMaker, photo_file: Path, **training: Any) -> RunConfig:
    """5 steps over 3 epochs, with dropout, augmentation by a curriculum and validation.

    Labels are smoothed, tokens weigh by kind, and B has a rate of its own. A checkpoint at 2, 4 and the end.
    """
    loss = {"label_smoothing": 0.1, "token_weights": {"coordinate": 2.0}, "lora_plus_ratio": 4.0}
    turns = [{"name": "hflip", "prob": 0.2}, {"name": "rotate", "params": {"max_deg": 0}}]
    phases = [{"until_percent": 80, "ops": {"hflip": {"prob": 0.8}, "rotate": {"max_deg": 40}}}]
    return run_config(
        augmentation={"ops": turns, "box_policy": "aabb", "curriculum": phases},
        data={"val": str(photo_file)},
        training={"max_steps": 5, "eval_steps": 3, "save_total_limit": 9, "best_metric": None, **loss, **training},
    )


def run_standard(reference: dict[str, Any], run_config: RunMaker, photo_file: Path) -> dict[str, Any]:
    if not reference:
        config = standard(run_config, photo_file, output_dir=str(photo_file.parent / "reference"))
        train(config)
        reference.update(
            weights=final_weights(config), outcome=outcome(config), steps=steps(config), losses=kept_losses(config)
        )
    return reference


def assert_same_run(config: RunConfig, reference: dict[str, Any]) -> None:
    assert outcome(config) == reference["outcome"], "no step is missing, doubled or different"
    assert kept_losses(config) == reference["losses"]
    weights = final_weights(config)
    assert set(weights) == set(reference["weights"])
    assert all(torch.equal(weights[name], value) for name, value in reference["weights"].items())


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what becomes the samples of each step that this rank makes from now on, those that count."""
    original, seen = loop.optimizer_step, []

    def recording(learner: Any, batches: Any, *args: Any) -> Any:
        seen.append([sample.sample_id for batch in batches for sample in batch["samples"] if sample.weight])
        return original(learner, batches, *args)

    monkeypatch.setattr(loop, "optimizer_step", recording)
    return seen


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], None]) -> None:
    """Do something while step `number` is being made."""
    original = loop.optimizer_step

    def acting(learner: Any, batches: Any, step: int, *args: Any) -> Any:
        if step == number:
            action()
        return original(learner, batches, step, *args)

    monkeypatch.setattr(loop, "optimizer_step", acting)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """The system cuts every write beyond that short and refuses the next one, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
