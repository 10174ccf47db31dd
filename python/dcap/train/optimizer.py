"""AdamW with a learning rate per tower, its state as named tensors, and its schedule.

::

    training.optimizer   entries of the state of a parameter
    adamw                step, exp_avg, exp_avg_sq                 torch: float32
    adamw8bit            step, state1, state2                      bitsandbytes: uint8, or float32 where it is small
                         absmax1, absmax2, qmap1, qmap2            the scale of each 256 numbers, the values of a byte

The learning rate is a pure function of the step, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch

from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.model.lora import trainable
from dcap.model.memory import MIN_8BIT_SIZE, MOMENT_BLOCK
from dcap.model.quantization import check_bitsandbytes
from dcap.model.towers import TOWERS, Tower, tower_of
from dcap.train.config import SCHEDULE_PARAMS, TrainingConfig
from dcap.train.parallel import spread

log = get_logger(__name__)

DEFAULT_FLOOR = 0.1
"""Share of the peak at which a cosine with a floor ends where the config does not say."""


def peak_rates(config: TrainingConfig) -> dict[Tower, float]:
    """Return the peak learning rate of each tower."""
    rate = config.learning_rate
    return {"llm": rate, "vit": config.vit_lr or rate, "aligner": config.aligner_lr or rate}


def build_optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return AdamW over the weights that train, grouped by tower and by whether weight decay applies.

    Decay applies to matrices only: neither to biases and norms nor to embeddings. With LoRA+ the matrices B of adapters
    have groups of their own.

    Raises:
        MissingPackageError: Moments in 8 bits are asked for without bitsandbytes.

    Source of LoRA+: Hayou et al., "LoRA+: Efficient Low Rank Adaptation of Large Models", 2024.
    """
    groups, ratio = [], config.lora_plus_ratio
    parameters = trainable(model)
    for tower, peak in peak_rates(config).items():
        members = {name: p for name, p in parameters.items() if tower_of(name) == tower}
        # The matrices B come first: the rate of a tower, for logs, is that of its last group.
        for decays, is_fast in itertools.product((True, False), (True, False)):
            chosen = [
                p
                for name, p in members.items()
                if _decays(name, p) == decays and (ratio is not None and ".lora_B." in name) == is_fast
            ]
            if chosen:
                rate = peak * (ratio or 1.0) if is_fast else peak
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": chosen, "tower": tower, "peak_lr": rate, "lr": rate, "weight_decay": decay})
    return _optimizer_class(config)(groups, betas=config.adam_betas, eps=config.adam_eps)


def check_optimizer(config: TrainingConfig) -> None:
    """Check that the package of the optimiser is installed.

    Raises:
        MissingPackageError: It is not.
    """
    if config.optimizer == "adamw8bit":
        check_bitsandbytes(f"training.optimizer {config.optimizer}")


def _optimizer_class(config: TrainingConfig) -> Callable[..., torch.optim.Optimizer]:
    if config.optimizer == "adamw":
        return torch.optim.AdamW
    check_optimizer(config)
    from bitsandbytes.optim import AdamW8bit

    in_8_bits: Callable[..., torch.optim.Optimizer] = AdamW8bit
    return in_8_bits


def _decays(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim >= 2 and "embed" not in name


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[Tower, float]:
    """Set every group to `factor` times its peak and return the rate of each tower that trains."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    rates: dict[Tower, float] = {group["tower"]: group["lr"] for group in optimizer.param_groups}
    return {tower: rates[tower] for tower in TOWERS if tower in rates}


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return the optimiser's state as ``{parameter name}/{entry}`` to tensor; of moments, a rank may hold a part."""
    return {
        f"{name}/{entry}": _as_saved(entry, value)
        for name, parameter in names.items()
        for entry, value in sorted(optimizer.state[parameter].items())
    }


def _as_saved(entry: str, value: torch.Tensor | int) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):  # bitsandbytes counts its steps so
        return torch.tensor(value)
    # All parameters share one, which a file of safetensors does not take.
    return value.detach().clone() if entry in ("qmap1", "qmap2") else value.detach()


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Mapping[str, torch.nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put a saved state back, or a part of one.

    Raises:
        CheckpointError: The state is that of other parameters.
    """
    # A parameter that never had a gradient has no state, so some may be missing.
    unknown = sorted({key.rpartition("/")[0] for key in tensors} - set(names))
    if unknown:
        raise CheckpointError(f"optimizer state must be that of the parameters that train, not of {unknown[0]}")
    in_8_bits = not isinstance(optimizer, torch.optim.AdamW)
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        parameter = names[name]
        shapes = _shapes_of_8_bits(parameter) if in_8_bits else _shapes(parameter)
        if entry not in shapes:
            raise CheckpointError(f"optimizer state {key} must be that of training.optimizer: {', '.join(shapes)}")
        if value.shape != shapes[entry]:
            raise CheckpointError(f"optimizer state {key} must be {tuple(shapes[entry])}, not {tuple(value.shape)}")
        if entry != "step":
            optimizer.state[parameter][entry] = spread(value, parameter)  # beside the parameter
        else:
            optimizer.state[parameter][entry] = int(value) if in_8_bits else value.clone()  # on the CPU


def _shapes(parameter: torch.Tensor) -> dict[str, torch.Size]:
    return {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}


def _shapes_of_8_bits(parameter: torch.Tensor) -> dict[str, torch.Size]:
    shapes = {"step": torch.Size(), "state1": parameter.shape, "state2": parameter.shape}
    if parameter.numel() >= MIN_8BIT_SIZE:
        scales = torch.Size([math.ceil(parameter.numel() / MOMENT_BLOCK)])
        shapes |= {"absmax1": scales, "absmax2": scales, "qmap1": torch.Size([256]), "qmap2": torch.Size([256])}
    return shapes


def warmup_steps(total_steps: int, config: TrainingConfig) -> int:
    """Return how many steps warm up: `warmup_steps`, else `warmup_ratio` of all, rounded up."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    return math.ceil(config.warmup_ratio * total_steps)


def check_schedule(total_steps: int, config: TrainingConfig) -> None:
    """Check that a run is long enough for its schedule, and warn of a warmup that the run does not finish.

    Args:
        total_steps: Steps of the whole run.
        config: Schedule and warmup.

    Raises:
        ConfigError: The run is too short for the phases of the schedule.
    """
    last = lr_factor(total_steps, total_steps, config)
    warmup = warmup_steps(total_steps, config)
    if warmup > total_steps:
        log.warning(
            "the warmup has %s, and the run %s: the learning rate only rises, to %.0f%% of its peak. For a short trial "
            "at the full rate: training.warmup_steps=0",
            counted(warmup, "step"), counted(total_steps, "step"), 100 * last,
        )  # fmt: skip


def lr_factor(step: int, total_steps: int, config: TrainingConfig) -> float:
    r"""Return the share of the peak learning rate at which an optimiser step is made.

    ::

        1 |    ____            warmup       from 0 at step 0 to 1 at its last step
          |   /    \__          cosine       to the floor, reached at the last step
          |  /        \___      linear       towards 0, reached right after the last step
        0 |_/________________   constant     1

    A schedule of transformers has the value that its ``LambdaLR`` has when it makes that step.

    Args:
        step: Number of the step, from 1.
        total_steps: Steps of the whole run; later ones keep the last value.
        config: Schedule, warmup and floor.

    Raises:
        ConfigError: The run is too short for the phases of the schedule.
    """
    warmup = warmup_steps(total_steps, config)
    if config.lr_schedule in SCHEDULE_PARAMS:
        given = tuple(sorted(_transformers_params(config).items()))
        return _transformers_schedule(config.lr_schedule, config.learning_rate, warmup, total_steps, given)(
            min(step, total_steps) - 1
        )
    if step < warmup:
        return step / warmup
    if config.lr_schedule == "constant":
        return 1.0
    step = min(step, max(total_steps, warmup))
    if config.lr_schedule == "linear":
        return (total_steps + 1 - step) / (total_steps + 1 - warmup) if total_steps >= warmup else 1.0
    progress = (step - warmup) / (total_steps - warmup) if total_steps > warmup else 0.0
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    floor = DEFAULT_FLOOR if config.floor is None else config.floor
    return floor + (1.0 - floor) * cosine


def _transformers_params(config: TrainingConfig) -> dict[str, Any]:
    """Return what transformers' own function takes beside the numbers of steps."""
    params: dict[str, Any] = dict(config.lr_schedule_params)
    for name in ("num_decay_steps", "timescale"):
        if name in params:
            params[name] = int(params[name])
    if config.lr_schedule == "cosine_with_min_lr":
        params["min_lr_rate"] = DEFAULT_FLOOR if config.floor is None else config.floor
    elif config.floor is not None and config.lr_schedule == "polynomial":
        params["lr_end"] = config.floor * config.learning_rate
    elif config.floor is not None:
        params["min_lr_ratio"] = config.floor
    return params


@lru_cache(maxsize=8)
def _transformers_schedule(
    name: str, rate: float, warmup: int, total_steps: int, given: tuple[tuple[str, Any], ...]
) -> Callable[[int], float]:
    """Return the share of the peak that a schedule of transformers has by the number of steps made."""
    from transformers.optimization import get_scheduler

    params = dict(given)
    left = total_steps - warmup
    decay = params.get("num_decay_steps")
    if decay is not None and left <= 0:
        raise ConfigError(
            "the warmup (training.warmup_steps or warmup_ratio) must be shorter than the run of "
            f"{counted(total_steps, 'step')}, whose last steps are those of num_decay_steps, and has "
            f"{counted(warmup, 'step')}. For a short trial: training.warmup_steps=0 and a smaller num_decay_steps, or "
            "another lr_schedule"
        )
    if decay is not None and decay > left:
        raise ConfigError(
            f"training.lr_schedule_params.num_decay_steps must be at most {left}, the steps of the run behind its "
            f"warmup, not {decay}"
        )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=rate)
    schedule = get_scheduler(name, optimizer, warmup, total_steps, params)
    share: Callable[[int], float] = schedule.lr_lambdas[0]
    return share
