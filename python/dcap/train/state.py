"""Where a run stands, and what is due there: plain values, one kept in checkpoints, one given by the config."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dcap.train.config import TrainingConfig

_NOISE = 1e-6
"""Float noise of a number of steps."""


@dataclass(frozen=True, slots=True)
class Position:
    """A step within its epoch."""

    epoch: int
    """Epoch, from 0."""
    step_in_epoch: int
    """Step within the epoch, from 0."""
    steps_in_epoch: int
    """Steps of the epoch."""


@dataclass(frozen=True, slots=True)
class BatchChange:
    """Where a run went on with another number of rows per step; the start of the run when it never did."""

    step: int = 0
    """Optimiser steps made before."""
    epochs_done: float = 0.0
    """Passes over the data made before."""

    def total_steps(self, num_epochs: int, steps_per_epoch: int) -> int:
        """Return the steps of the whole run, made and to come.

        Args:
            num_epochs: Of the whole run.
            steps_per_epoch: Of a whole epoch, with the rows per step since then.
        """
        return self.step + math.ceil((num_epochs - self.epochs_done) * steps_per_epoch - _NOISE)


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run has done so far; the position is that of the next step."""

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
    """Best value of `best_metric` so far, of those after the delay."""
    best_step: int | None = None
    """Step of `best_value`."""
    unvalidated: bool = False
    """Whether the validation due after the last step was interrupted, and is to be made up for."""
    segments: tuple[tuple[int, int], ...] = ()
    """Parts of the current epoch that were made with other numbers of rows per step: rows per step and steps of each;
    with them the samples left are known."""
    change: BatchChange = BatchChange()
    """When the rows per step last changed."""

    def advanced(self, position: Position, tokens: int, samples: int) -> RunState:
        """Return the state after the step at `position`."""
        done = position.step_in_epoch + 1
        last = done >= position.steps_in_epoch
        # Where steps changed their size in this epoch, only those since then are alike.
        behind = sum(steps for _, steps in self.segments)
        begin = self.change.epochs_done if self.segments else position.epoch
        share = (done - behind) / (position.steps_in_epoch - behind)
        return replace(
            self,
            step=self.step + 1,
            epoch=position.epoch + last,
            step_in_epoch=0 if last else done,
            epochs_done=position.epoch + 1.0 if last else begin + (position.epoch + 1 - begin) * share,
            tokens=self.tokens + tokens,
            samples=self.samples + samples,
            segments=() if last else self.segments,
        )

    def regrouped(self, rows_per_step: int) -> RunState:
        """Return the state from which a run goes on with another number of rows per step.

        Args:
            rows_per_step: That of the steps so far.
        """
        steps = self.step_in_epoch - sum(steps for _, steps in self.segments)
        segments = (*self.segments, (rows_per_step, steps)) if steps else self.segments
        return replace(self, segments=segments, change=BatchChange(self.step, self.epochs_done))

    def with_best(self, value: float) -> RunState:
        """Return the state with a new best at the current step."""
        return replace(self, best_value=value, best_step=self.step)


@dataclass(frozen=True, slots=True)
class Due:
    """What the config asks for at a state.

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

    def save(self, state: RunState) -> bool:
        """Whether a checkpoint is due now: each `save_steps`-th step or each epoch's end, and at the end."""
        return self.may_save(state) and self._each(self.config.save_steps, state)

    def may_save(self, state: RunState) -> bool:
        """Whether the delay is over, before which neither a checkpoint nor a best one is kept."""
        late = state.step >= self.config.save_delay_steps
        return late and state.epochs_done >= self.config.save_delay_epochs

    def best(self, value: float, state: RunState) -> bool:
        """Whether `value` of the best metric beats what `state` holds, after the delay."""
        if not self.may_save(state):
            return False
        if state.best_value is None:
            return True
        mode = self.config.best_mode or ("min" if str(self.config.best_metric).endswith("loss") else "max")
        return value < state.best_value if mode == "min" else value > state.best_value

    def _each(self, steps: int | None, state: RunState) -> bool:
        if self.end(state):
            return True
        return state.step_in_epoch == 0 if steps is None else state.step % steps == 0
