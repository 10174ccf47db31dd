"""The training loop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from dcap.core.log import get_logger
from dcap.data.collate import Batch
from dcap.train.config import RunConfig
from dcap.train.schedule import lr_factor
from dcap.train.setup import Run, describe, prepare
from dcap.train.state import Position, RunState
from dcap.train.step import optimizer_step, validate

log = get_logger(__name__)


def train(config: RunConfig) -> RunState:
    """Run a config from its start, or from where it was interrupted, to its end.

    After SIGTERM the step at hand is finished and saved, whatever the delay of checkpoints says, and the function
    returns; a run with the same config goes on from there.

    Raises:
        DcapError: As `dcap.train.setup.prepare` and `dcap.train.step.optimizer_step`.
    """
    with ExitStack() as closing:
        return fit(prepare(config, closing))


def fit(run: Run) -> RunState:
    """Train until all steps are made or the run is asked to stop."""
    state = run.checkpoints.restore()
    describe(run)
    run.tracker.start(state)
    with stop_on_sigterm() as stop:
        while not run.due.end(state):
            for position, batches, waited in _epoch(run, state):
                factor = lr_factor(state.step + 1, run.total_steps, run.config.training)
                result = optimizer_step(run.learner, batches, state.step + 1, factor, stop.is_set)
                state = state.advanced(position, result.totals.tokens, result.totals.samples)
                run.tracker.step(state, result, waited, run.due.log(state))
                best = False
                if run.val_loader is not None and run.due.validate(state):
                    state, best = _validated(run, state)
                if best or result.stop or run.due.save(state):
                    run.checkpoints.save(state, best)
                if result.stop:
                    log.warning("stopped by SIGTERM after step %d; the same command resumes", state.step)
                    return state
                if run.due.end(state):
                    break
    run.checkpoints.save_final()
    return state


def _epoch(run: Run, state: RunState) -> Iterator[tuple[Position, list[Batch], float]]:
    """Yield the remaining steps of the state's epoch: position, this rank's micro-batches, seconds waited for them."""
    start = time.perf_counter()
    steps = run.loader.steps_per_epoch(state.epoch)
    for index, batches in enumerate(run.loader.steps_from(state.epoch, state.step_in_epoch), state.step_in_epoch):
        yield Position(state.epoch, index, steps), batches, time.perf_counter() - start
        start = time.perf_counter()


def _validated(run: Run, state: RunState) -> tuple[RunState, bool]:
    """Validate; return the state with a new best if there is one, and whether there is."""
    assert run.val_loader is not None
    metrics = validate(run.learner, run.val_loader.batches())
    run.tracker.evaluation(state, metrics)
    metric = run.config.training.best_metric
    if metric is None or not run.due.best(metrics[metric], state):
        return state, False
    return state.with_best(metrics[metric]), True


@contextmanager
def stop_on_sigterm() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets; the former handler is put back. Outside the main thread it is never set."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    former = signal.signal(signal.SIGTERM, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, former)
