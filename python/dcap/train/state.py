"""The state of a run, which checkpoints keep, and what is due at a state by the config."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dcap.core.errors import ConfigError, TrainingError, nearest_hint
from dcap.data.epoch import EpochPlan
from dcap.data.steps import Parts
from dcap.train.config import TrainingConfig

VALIDATION_METRICS = ("eval/loss", "eval/token_accuracy")
"""Metrics of every validation. With several data sets there is also ``eval/NAME/loss`` for each."""
ANSWER_METRICS = ("eval/f1", "eval/f1_75", "eval/parse_rate", "eval/repeats")
"""Metrics of a validation in which samples are answered."""

_OF_DATASET = re.compile(r"eval/(.+)/loss")
_NOISE = 1e-6
"""Float noise of a number of steps."""


@dataclass(frozen=True, slots=True)
class RunState:
    """Progress of a run. The position is that of the next step."""

    step: int = 0
    """Optimiser steps made."""
    epoch: int = 0
    """Epoch of the next step."""
    step_in_epoch: int = 0
    """Steps made in that epoch."""
    epochs_done: float = 0.0
    """Passes over the data made, with the part of the current one."""
    tokens: int = 0
    """Tokens seen, over all ranks."""
    samples: int = 0
    """Samples seen, over all ranks."""
    best_value: float | None = None
    """Best value of `best_metric` so far; values before the end of the delay do not count."""
    best_step: int | None = None
    """Step of `best_value`."""
    unvalidated: bool = False
    """Whether the validation that was due after the last step is still to be made."""
    parts: Parts = ()
    """Parts of the current epoch that were made with other numbers of rows per step; they tell what is left."""
    since_step: int = 0
    """Steps made before the number of rows per step last changed."""
    since_epochs: float = 0.0
    """Passes over the data made before it last changed."""
    lr_factor: float = 0.0
    """Share of the peak learning rate at which the last step was made."""

    @property
    def first_step(self) -> int:
        """Steps that the epochs before took."""
        return self.step - self.step_in_epoch

    def advanced(self, plan: EpochPlan, tokens: int, samples: int) -> RunState:
        """Return the state after the next step.

        Args:
            plan: The plan of the current epoch.
            tokens: Tokens of the step, over all ranks.
            samples: Samples of the step, over all ranks.
        """
        done = self.step_in_epoch + 1
        last = done == len(plan.steps)
        # Where steps changed their size in this epoch, only those since then are alike.
        behind = sum(steps for _, steps in self.parts)
        begin = self.since_epochs if self.parts else self.epoch
        share = (done - behind) / (len(plan.steps) - behind)
        return replace(
            self,
            step=self.step + 1,
            epoch=self.epoch + last,
            step_in_epoch=0 if last else done,
            epochs_done=self.epoch + 1.0 if last else begin + (self.epoch + 1 - begin) * share,
            tokens=self.tokens + tokens,
            samples=self.samples + samples,
            parts=() if last else self.parts,
        )

    def regrouped(self, rows_per_step: int) -> RunState:
        """Return the state from which a run goes on with another number of rows per step.

        Args:
            rows_per_step: That of the steps so far.
        """
        steps = self.step_in_epoch - sum(steps for _, steps in self.parts)
        parts = (*self.parts, (rows_per_step, steps)) if steps else self.parts
        return replace(self, parts=parts, since_step=self.step, since_epochs=self.epochs_done)

    def total_steps(self, num_epochs: int, steps_per_epoch: int) -> int:
        """Return the steps of the whole run, made and to come.

        Args:
            num_epochs: Epochs of the whole run.
            steps_per_epoch: Steps of a whole epoch, with the present number of rows per step.
        """
        return self.since_step + math.ceil((num_epochs - self.since_epochs) * steps_per_epoch - _NOISE)

    def with_best(self, value: float) -> RunState:
        """Return the state with a new best at the current step."""
        return replace(self, best_value=value, best_step=self.step)

    def without_best(self) -> RunState:
        """Return the state as if no validation had been made so far."""
        return replace(self, best_value=None, best_step=None)

    def with_epoch_begun_anew(self) -> RunState:
        """Return the state at the beginning of the current epoch; the steps made in it stay counted."""
        return replace(
            self,
            step_in_epoch=0,
            epochs_done=float(self.epoch),
            parts=(),
            since_step=self.step,
            since_epochs=float(self.epoch),
        )


@dataclass(frozen=True, slots=True)
class Due:
    """The actions that are due at a state, by the config.

    Args:
        config: Steps, epochs and delays.
    """

    config: TrainingConfig

    def end(self, state: RunState) -> bool:
        """Whether the run has made all its steps."""
        if self.config.max_steps is not None:
            return state.step >= self.config.max_steps
        return state.epoch >= self.config.num_epochs

    def log(self, state: RunState) -> bool:
        """Whether the step just made is logged: the first, each `log_steps`-th and the last."""
        return state.step == 1 or state.step % self.config.log_steps == 0 or self.end(state)

    def validate(self, state: RunState) -> bool:
        """Whether to validate now: each `eval_steps`-th step or each epoch's end, and at the end."""
        return self._each(self.config.eval_steps, state)

    def answer(self, state: RunState) -> bool:
        """Whether samples are answered in the validation of `state`: in each N-th one, and at the end."""
        config = self.config.eval_generate
        if config is None or self.end(state):
            return config is not None
        number = state.epoch if self.config.eval_steps is None else state.step // self.config.eval_steps
        return number % config.every == 0

    def save(self, state: RunState) -> bool:
        """Whether a checkpoint is due now: each `save_steps`-th step or each epoch's end, and at the end."""
        return self.may_save(state) and self._each(self.config.save_steps, state)

    def may_save(self, state: RunState) -> bool:
        """Whether the delay is over. Before that, no checkpoint is kept, not even the best."""
        late = state.step >= self.config.save_delay_steps
        return late and state.epochs_done >= self.config.save_delay_epochs

    def best(self, value: float, state: RunState) -> bool:
        """Whether `value` of the best metric beats what `state` holds, after the delay."""
        if not self.may_save(state):
            return False
        if state.best_value is None:
            return True
        smaller = str(self.config.best_metric).endswith(("loss", "repeats"))
        mode = self.config.best_mode or ("min" if smaller else "max")
        return value < state.best_value if mode == "min" else value > state.best_value

    def _each(self, steps: int | None, state: RunState) -> bool:
        if self.end(state):
            return True
        return state.step_in_epoch == 0 if steps is None else state.step % steps == 0


def check_metric(config: TrainingConfig, datasets: Sequence[str] | None = None) -> None:
    """Refuse a ``training.best_metric`` that no validation will have.

    Args:
        config: Names the metric, and says whether samples are answered.
        datasets: Names of the validation data sets. `None`: not known yet, so any name is accepted.

    Raises:
        ConfigError: It is none of `VALIDATION_METRICS` and, with ``training.eval_generate``, of `ANSWER_METRICS`; nor,
            where there are several data sets, ``eval/NAME/loss`` of one of them.
    """
    metric = config.best_metric
    if metric is None or metric in VALIDATION_METRICS:
        return
    if metric in ANSWER_METRICS:
        if config.eval_generate is None:
            raise ConfigError(
                f"training.best_metric must be a metric of every validation, not {metric}, which needs answers. Set "
                "training.eval_generate={}"
            )
        return
    if datasets is None and _OF_DATASET.fullmatch(metric):
        return
    several = datasets if datasets is not None and len(datasets) > 1 else ()
    known = (*VALIDATION_METRICS, *ANSWER_METRICS, *(f"eval/{name}/loss" for name in several))
    if metric not in known:
        hint = nearest_hint(metric, known)
        raise ConfigError(f"training.best_metric must be a validation metric, not {metric!r}{hint}")


def metric_value(metrics: Mapping[str, float], metric: str) -> float:
    """Return the value of the best metric.

    Raises:
        TrainingError: The validation has none, since all samples of the data set were left out.
    """
    if metric not in metrics:
        raise TrainingError(f"validation must have {metric}, the training.best_metric, but every sample was left out")
    return metrics[metric]
