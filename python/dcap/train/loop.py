"""The training loop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dcap.core.errors import StoppedError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.data.collate import Batch, num_bytes
from dcap.data.epoch import EpochPlan
from dcap.data.loader import EpochLoader
from dcap.data.workers import deaths_explained
from dcap.train.config import RunConfig
from dcap.train.distill_config import DistillConfig
from dcap.train.eval_generate import validate_by_answers
from dcap.train.loss_parts import LossParts
from dcap.train.optimizer import lr_factor
from dcap.train.run_folder import disk_errors_named
from dcap.train.setup import Run, prepare, write_run_files
from dcap.train.state import ANSWER_METRICS, RunState, metric_value
from dcap.train.step import StepResult, on_some_rank, optimizer_step, validate
from dcap.train.teacher_parts import TeacherParts
from dcap.train.token_weights import weighted_by_kind

log = get_logger(__name__)


def train(config: RunConfig) -> RunState:
    """Run a config from its start, or from where it was interrupted, to its end.

    After SIGTERM, the current step is finished and saved, even during the delay of checkpoints. A validation that runs
    is broken off and done again on resume. A run with the same config goes on from there.

    Raises:
        StoppedError: SIGTERM came, and the run is saved.
        DcapError: As `dcap.train.setup.prepare` and `dcap.train.step.optimizer_step`.
    """
    with disk_errors_named(Path(config.training.output_dir)), ExitStack() as closing, deaths_explained():
        return fit(prepare(config, closing))


def fit(run: Run) -> RunState:
    """Train until all steps are made.

    Raises:
        StoppedError: The run was asked to stop before, and is saved.
    """
    state = run.checkpoints.restore(run.start)
    write_run_files(run)
    _tell_new_schedule(run, state)
    run.tracker.start(state, run.total_steps(state))
    run.losses.start(state)
    if run.due.end(state) and not state.unvalidated and run.checkpoints.has_final(state):
        _tell_finished_before(run, state)
        return state
    with stop_on_sigterm() as stop:
        if state.unvalidated:
            state = _finish_step(run, state, stop, saves=True)
        for step in _steps_from(run, state):
            factor = lr_factor(state.step + 1, run.total_steps(state), run.config.training)
            result = optimizer_step(run.learner, step.batches, state.step + 1, factor, stop.is_set)
            state = state.advanced(step.plan, result.totals.tokens, result.totals.samples)
            run.tally.add(step.batches)
            run.losses.add(step.plan.epoch, state.step, step.batches, result.outputs)
            more = _more(run, step, result) if run.due.log(state) else None
            run.tracker.step(state, result, step.waited, more)
            validates = run.val_loader is not None and run.due.validate(state)
            state = replace(state, unvalidated=validates, lr_factor=factor)
            if result.stop and not run.due.end(state):
                _stop(run, state)
            state = _finish_step(run, state, stop, saves=run.due.save(state))
            if run.due.end(state):
                break
    run.losses.flush()
    run.checkpoints.save_final(state)
    _tell_finished(run, state)
    return state


@dataclass(frozen=True, slots=True)
class _LoadedStep:
    """A step that is ready to be made."""

    plan: EpochPlan
    """The plan of its epoch."""
    index: int
    """Which step of the epoch, from 0."""
    batches: list[Batch]
    """This rank's micro-batches."""
    waited: float
    """Seconds that it took to get them."""


def _steps_from(run: Run, state: RunState) -> Iterator[_LoadedStep]:
    """Yield the steps from `state` on, an epoch after the other; none where the run is at its end.

    Whoever takes them stops at the end of the run: a later epoch is planned only when its first step is asked for.
    """
    if run.due.end(state):
        return
    weights = run.config.training.token_weights
    start, index = time.perf_counter(), state.step_in_epoch
    for plan in run.epoch_plans(state):
        if run.learner.accelerator.is_main_process:
            log.info("%s", plan.summary(run.loader.num_ranks))
        for loaded in replace(run.loader, plan=plan).steps(index):
            batches = [weighted_by_kind(batch, weights) for batch in loaded]
            yield _LoadedStep(plan, index, batches, time.perf_counter() - start)
            start, index = time.perf_counter(), index + 1
        index = 0


def _more(run: Run, step: _LoadedStep, result: StepResult) -> dict[str, float]:
    """Return the other metrics of a line, which all ranks must ask for. The loss in parts is that of the step."""
    samples = sum(len(batch["samples"]) for batch in step.batches)
    distill = run.config.distill
    return {
        **run.tally.metrics(),
        **LossParts.of(step.batches, result.outputs).over_ranks().training_metrics(),
        "data/bytes_per_sample": sum(map(num_bytes, step.batches)) / samples,
        "data/imbalance": step.plan.steps[step.index].imbalance(run.loader.num_ranks),
        **({} if distill is None else _from_teacher(distill, step, result)),
    }


def _from_teacher(distill: DistillConfig, step: _LoadedStep, result: StepResult) -> dict[str, float]:
    parts = TeacherParts.of(step.batches, result.outputs, distill).over_ranks()
    return {**parts.metrics(distill, result.totals.weight), "time/teacher": result.teacher_seconds}


def _tell_new_schedule(run: Run, state: RunState) -> None:
    """Say what the learning rate does where a run was planned for another number of steps, or with another schedule."""
    training, total = run.config.training, run.total_steps(state)
    if not state.step or run.due.end(state) or not run.learner.accelerator.is_main_process:
        return
    planned = lr_factor(state.step, total, training)
    if math.isclose(planned, state.lr_factor, rel_tol=1e-9):
        return
    log.warning(
        "the learning rate is that of a run of %s from now on: it was %.3g of its peak in step %d, and is %.3g in step "
        "%d. To go on at the old rate: training.lr_schedule=constant training.learning_rate=%.3g",
        counted(total, "step"),
        state.lr_factor,
        state.step,
        lr_factor(state.step + 1, total, training),
        state.step + 1,
        state.lr_factor * training.learning_rate,
    )


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


def _tell_finished(run: Run, state: RunState) -> None:
    if run.learner.accelerator.is_main_process:
        total = run.total_steps(state)
        planned = "" if state.step == total else f"; {total} were expected from the first epoch"
        log.info("finished after %s%s", _made(state), planned)


def _finish_step(run: Run, state: RunState, stop: threading.Event, saves: bool) -> RunState:
    """Validate if the state asks for it, save if that is due or there is a new best, and return the new state.

    Both take long, so a stop request in the meantime does not wait for the next step.
    """
    best, validates = False, run.val_loader is not None and state.unvalidated
    if run.val_loader is not None and validates:
        metrics = _validation_metrics(run, run.val_loader, state, stop)
        if metrics is None:
            _stop(run, state)
        state = replace(state, unvalidated=False)
        run.tracker.evaluation(state, metrics)
        metric = run.config.training.best_metric
        if metric in ANSWER_METRICS and not run.due.answer(state):
            metric = None
        if metric is not None and run.due.best(value := metric_value(metrics, metric), state):
            state, best = state.with_best(value), True
    saved = best or saves
    if saved:
        _save(run, state, best)
    if (saved or validates) and not run.due.end(state) and on_some_rank(run.learner.accelerator, stop.is_set()):
        _stop(run, state, saved)
    return state


def _validation_metrics(
    run: Run, loader: EpochLoader, state: RunState, stop: threading.Event
) -> dict[str, float] | None:
    """Return the metrics of the validation that is due at `state`. `None`: some rank was asked to stop."""
    metrics = validate(run.learner, loader, stop.is_set, partial(run.losses.add_validated, step=state.step))
    if metrics is not None:
        run.losses.write_validated()
    config = run.config.training.eval_generate
    if metrics is None or config is None or not run.due.answer(state):
        return metrics
    if run.learner.accelerator.is_main_process:
        log.info("the model answers %s", counted(len(run.answered), "validation sample"))
    answers = validate_by_answers(run.learner, loader.dataset, run.answered, config, stop.is_set)
    return None if answers is None else metrics | answers


def _save(run: Run, state: RunState, best: bool = False) -> None:
    """Save a checkpoint, after all that a resume from it expects in the run folder."""
    run.losses.flush()
    run.checkpoints.save(state, best)


def _stop(run: Run, state: RunState, saved: bool = False) -> NoReturn:
    """Save, unless that is done, and leave; the log has the message, so that it is in the run's file too."""
    if not saved:
        _save(run, state)
    message = f"stopped by SIGTERM after step {state.step} and saved; the same command resumes"
    log.warning("%s", message)
    raise StoppedError(message)


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
