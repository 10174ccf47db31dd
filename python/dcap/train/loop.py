"""The training loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import NoReturn

from dcap.core.errors import StoppedError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.data.collate import Batch, num_bytes
from dcap.data.workers import deaths_explained
from dcap.train.config import RunConfig
from dcap.train.loss_parts import LossParts
from dcap.train.schedule import lr_factor
from dcap.train.selection import value_of
from dcap.train.setup import Run, describe, prepare
from dcap.train.state import Position, RunState
from dcap.train.step import StepResult, on_some_rank, optimizer_step, validate
from dcap.train.stopping import stop_on_sigterm

log = get_logger(__name__)


def train(config: RunConfig) -> RunState:
    """Run a config from its start, or from where it was interrupted, to its end.

    After SIGTERM the step at hand is finished and saved, whatever the delay of checkpoints says; a validation is
    left and made up for later. A run with the same config goes on from there.

    Raises:
        StoppedError: SIGTERM came, and the run is saved.
        DcapError: As `dcap.train.setup.prepare` and `dcap.train.step.optimizer_step`.
    """
    with ExitStack() as closing, deaths_explained():
        return fit(prepare(config, closing))


def fit(run: Run) -> RunState:
    """Train until all steps are made.

    Raises:
        StoppedError: The run was asked to stop before, and is saved.
    """
    state = run.checkpoints.restore()
    describe(run)
    run = run.resumed(state)
    run.tracker.start(state, run.total_steps)
    if run.due.end(state) and not state.unvalidated and run.checkpoints.has_final(state):
        _tell_finished_before(run, state)
        return state
    with stop_on_sigterm() as stop:
        if state.unvalidated:
            state = _finish_step(run, state, stop, saves=True)
        while not run.due.end(state):
            for position, batches, waited in _epoch(run, state):
                factor = lr_factor(state.step + 1, run.total_steps, run.config.training)
                result = optimizer_step(run.learner, batches, state.step + 1, factor, stop.is_set)
                state = state.advanced(position, result.totals.tokens, result.totals.samples)
                run.tally.add(batches)
                more = _more(run, state, position, batches, result) if run.due.log(state) else None
                run.tracker.step(state, result, waited, more)
                state = replace(state, unvalidated=run.val_loader is not None and run.due.validate(state))
                if result.stop and not run.due.end(state):
                    _stop(run, state)
                state = _finish_step(run, state, stop, saves=run.due.save(state))
                if run.due.end(state):
                    break
    run.checkpoints.save_final(state)
    if run.learner.accelerator.is_main_process:
        planned = "" if state.step == run.total_steps else f"; {run.total_steps} were expected from the first epoch"
        log.info("finished after %s%s", _made(state), planned)
    return state


def _more(run: Run, state: RunState, position: Position, batches: list[Batch], result: StepResult) -> dict[str, float]:
    """Return the other metrics of a line, for the step at `position`, after which the run stands at `state`.

    All ranks must ask. The loss in parts is of the step, as its loss is.
    """
    samples = sum(len(batch["samples"]) for batch in batches)
    first_step = state.step - 1 - position.step_in_epoch
    return {
        **run.tally.metrics(),
        **LossParts.of(batches, result.outputs).over_ranks().training_metrics(),
        "data/bytes_per_sample": sum(map(num_bytes, batches)) / samples,
        "data/imbalance": run.loader.imbalance(position.epoch, position.step_in_epoch, first_step),
    }


def _made(state: RunState) -> str:
    return f"{counted(state.step, 'step')}, {state.epochs_done:.2f} epochs"


def _tell_finished_before(run: Run, state: RunState) -> None:
    """Say that there is nothing left to do, and how to go on."""
    training = run.config.training
    if run.learner.accelerator.is_main_process:
        log.warning(
            "nothing to train: the run in %s was finished before (%s). To train on, raise %s; for another run, give "
            "another training.output_dir, or training.resume=none to start anew here",
            training.output_dir,
            _made(state),
            "training.num_epochs" if training.max_steps is None else "training.max_steps",
        )


def _epoch(run: Run, state: RunState) -> Iterator[tuple[Position, list[Batch], float]]:
    """Yield the remaining steps of the state's epoch: position, this rank's micro-batches, seconds waited for them."""
    start = time.perf_counter()
    first_step = state.step - state.step_in_epoch
    steps = run.loader.steps_per_epoch(state.epoch, first_step)
    if run.learner.accelerator.is_main_process:
        log.info("%s", run.loader.summary(state.epoch, first_step))
    shares = run.loader.steps_from(state.epoch, state.step_in_epoch, first_step)
    for index, batches in enumerate(shares, state.step_in_epoch):
        yield Position(state.epoch, index, steps), batches, time.perf_counter() - start
        start = time.perf_counter()


def _finish_step(run: Run, state: RunState, stop: threading.Event, saves: bool) -> RunState:
    """Validate if that is to be done, and save if that is due or there is a new best; return the state then.

    Both take long, so a stop that was asked for meanwhile is not left to the next step.
    """
    best, validates = False, run.val_loader is not None and state.unvalidated
    if run.val_loader is not None and validates:
        metrics = validate(run.learner, run.val_loader.batches(), stop.is_set)
        if metrics is None:
            _stop(run, state)
        state = replace(state, unvalidated=False)
        run.tracker.evaluation(state, metrics)
        metric = run.config.training.best_metric
        if metric is not None and run.due.best(value := value_of(metrics, metric), state):
            state, best = state.with_best(value), True
    saved = best or saves
    if saved:
        run.checkpoints.save(state, best)
    if (saved or validates) and not run.due.end(state) and on_some_rank(run.learner.accelerator, stop.is_set()):
        _stop(run, state, saved)
    return state


def _stop(run: Run, state: RunState, saved: bool = False) -> NoReturn:
    """Save, unless that is done, and leave; the log has the message, so that it is in the run's file too."""
    if not saved:
        run.checkpoints.save(state)
    message = f"stopped by SIGTERM after step {state.step} and saved; the same command resumes"
    log.warning("%s", message)
    raise StoppedError(message)
