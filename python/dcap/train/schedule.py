"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from dcap.train.config import TrainingConfig


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
