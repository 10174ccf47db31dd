"""AdamW with a learning rate per tower, its state as named tensors, and its schedule.

The learning rate is a pure function of the step, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from dcap.core.errors import CheckpointError
from dcap.model.lora import trainable
from dcap.model.towers import TOWERS, Tower, tower_of
from dcap.train.config import TrainingConfig


def peak_rates(config: TrainingConfig) -> dict[Tower, float]:
    """Return the peak learning rate of each tower."""
    rate = config.learning_rate
    return {"llm": rate, "vit": config.vit_lr or rate, "aligner": config.aligner_lr or rate}


def build_optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW over the weights that train, grouped by tower and by whether weight decay applies.

    Decay applies to matrices only: neither to biases and norms nor to embeddings.
    """
    groups = []
    parameters = trainable(model)
    for tower, peak in peak_rates(config).items():
        members = {name: p for name, p in parameters.items() if tower_of(name) == tower}
        for decays in (True, False):
            chosen = [p for name, p in members.items() if _decays(name, p) == decays]
            if chosen:
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": chosen, "tower": tower, "peak_lr": peak, "lr": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=config.adam_betas, eps=config.adam_eps)


def _decays(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim >= 2 and "embed" not in name


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[Tower, float]:
    """Set every group to `factor` times its peak and return the rate of each tower that trains."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    rates: dict[Tower, float] = {group["tower"]: group["lr"] for group in optimizer.param_groups}
    return {tower: rates[tower] for tower in TOWERS if tower in rates}


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[str, torch.nn.Parameter]) -> dict[str, Any]:
    """Return the optimiser's state as ``{parameter name}/{entry}`` to tensor, on the CPU."""
    return {
        f"{name}/{entry}": value.detach().cpu().contiguous()
        for name, parameter in names.items()
        for entry, value in sorted(optimizer.state[parameter].items())
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Mapping[str, torch.nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put a saved state back.

    Raises:
        CheckpointError: The state is that of other parameters.
    """
    # A parameter that never had a gradient has no state, so some may be missing.
    unknown = sorted({key.rpartition("/")[0] for key in tensors} - set(names))
    if unknown:
        raise CheckpointError(f"optimizer state must be that of the parameters that train, not of {unknown[0]}")
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        parameter = names[name]
        if entry != "step" and value.shape != parameter.shape:
            raise CheckpointError(f"optimizer state {key} must be {tuple(parameter.shape)}, not {tuple(value.shape)}")
        # AdamW counts its steps on the CPU; the moments live beside their parameter.
        optimizer.state[parameter][entry] = value.clone() if entry == "step" else value.to(parameter.device)


def warmup_steps(total_steps: int, config: TrainingConfig) -> int:
    """Return how many steps warm up: `warmup_steps`, else `warmup_ratio` of all, rounded up."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    return math.ceil(config.warmup_ratio * total_steps)


def lr_factor(step: int, total_steps: int, config: TrainingConfig) -> float:
    r"""Return the share of the peak learning rate at which an optimiser step is made.

    ::

        1 |    ____            warmup       from 0 at step 0 to 1 at its last step
          |   /    \__          cosine       to min_lr_ratio, reached at the last step
          |  /        \___      linear       towards 0, reached right after the last step
        0 |_/________________   constant     1

    Args:
        step: Number of the step, from 1.
        total_steps: Steps of the whole run; later ones keep the last value.
        config: Schedule, warmup and floor.
    """
    warmup = warmup_steps(total_steps, config)
    if step < warmup:
        return step / warmup
    if config.lr_schedule == "constant":
        return 1.0
    step = min(step, max(total_steps, warmup))
    if config.lr_schedule == "linear":
        return (total_steps + 1 - step) / (total_steps + 1 - warmup) if total_steps >= warmup else 1.0
    progress = (step - warmup) / (total_steps - warmup) if total_steps > warmup else 0.0
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.min_lr_ratio + (1.0 - config.min_lr_ratio) * cosine
