"""Reports of a run: metrics.jsonl, trackers, and a progress bar on a terminal or lines in a log."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from accelerate.utils import gather_object
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dcap.augment.telemetry import averages
from dcap.core.errors import TrainingError
from dcap.core.files import write_whole
from dcap.core.log import console, get_logger
from dcap.data.collate import Batch
from dcap.model.flops import Utilization, Work
from dcap.train.config import RunConfig
from dcap.train.state import RunState
from dcap.train.step import StepResult
from dcap.train.trackers import Trackers

log = get_logger(__name__)


class Tracker:
    """Writes the metrics of one run; on ranks other than the first it does nothing.

    Args:
        config: The run.
        active: Whether this is the rank that writes.
        utilization: Counts how much of the devices' work the model gets. `None`: the metrics leave it out.
    """

    def __init__(self, config: RunConfig, *, active: bool, utilization: Utilization | None = None) -> None:
        self._config = config
        self._utilization = utilization
        self._work = Work()
        self._path = Path(config.training.output_dir) / "metrics.jsonl"
        self._total = 0
        self._active = active
        self._trackers: Trackers | None = None
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._seconds = self._waited = 0.0
        self._tokens = 0
        self._all_seconds, self._all_steps = 0.0, 0

    def start(self, state: RunState, total_steps: int) -> None:
        """Open the files at `state`. Cut later lines of an interrupted run, so that no step counts twice.

        Args:
            state: Where the run is.
            total_steps: Steps of the whole run.

        Raises:
            PluginError: A tracker does not start.
        """
        self._total = total_steps
        if not self._active:
            return
        keep_until(self._path, state.step)
        self._trackers = Trackers(self._config, state.step)
        if console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._progress = Progress(*columns, console=console)
            self._task = self._progress.add_task("", total=self._total, completed=state.step)
            self._progress.start()

    def step(self, state: RunState, result: StepResult, waited: float, more: Mapping[str, float] | None) -> None:
        """Take note of a step, and write it when it is due.

        Args:
            state: After the step.
            result: What the step did.
            waited: Seconds that the step waited for data.
            more: Other metrics to write with it. `None`: nothing is due. Times count from the last line written.
        """
        self._seconds += result.seconds + waited
        self._all_seconds += result.seconds + waited
        self._all_steps += 1
        self._waited += waited
        self._tokens += result.totals.tokens
        self._work += result.totals.work
        if not self._active or more is None:
            return
        speed = self._tokens / max(self._seconds, 1e-9)
        wait_share = self._waited / max(self._seconds, 1e-9)
        values = {
            "loss": result.loss,
            "token_accuracy": result.token_accuracy,
            "grad_norm": result.grad_norm,
            **{f"lr/{tower}": rate for tower, rate in result.learning_rates.items()},
            "tokens": state.tokens,
            "samples": state.samples,
            "step_time_s": result.seconds,
            "data_wait_s": waited,
            "data_wait_share": wait_share,
            "tokens_per_s": speed,
            **(self._utilization.metrics(self._work, self._seconds) if self._utilization else {}),
            **more,
        }
        self._seconds = self._waited = 0.0
        self._tokens, self._work = 0, Work()
        self._write(state, values)
        self._show(state, result, speed, wait_share)

    def evaluation(self, state: RunState, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a validation."""
        if not self._active:
            return
        self._write(state, metrics)
        log.info("step %d: %s", state.step, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def close(self) -> None:
        """Flush and close; may be called at any time."""
        if self._progress is not None:
            self._progress.stop()
        if self._trackers is not None:
            self._trackers.close()

    def _write(self, state: RunState, values: Mapping[str, float]) -> None:
        line = {"step": state.step, "epoch": round(state.epochs_done, 6), **values}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self._path} must be writable, not {error.strerror}. "
                "The same command resumes from the newest checkpoint"
            ) from error
        if self._trackers is not None:
            self._trackers.log(values, state.step)

    def _show(self, state: RunState, result: StepResult, speed: float, wait_share: float) -> None:
        text = f"loss {result.loss:.4f}  {speed:,.0f} tokens/s  waiting {wait_share:.0%}"
        if self._progress is not None:
            self._progress.update(self._task, completed=state.step, description=text)
            return
        # Rows differ in length, so the last row says little about the next ones.
        left = timedelta(seconds=round((self._total - state.step) * self._all_seconds / self._all_steps))
        log.info("step %d/%d  epoch %.2f  %s  ETA %s", state.step, self._total, state.epochs_done, text, left)


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of metrics.jsonl beyond `step`, and a last line that a crash cut."""
    if not path.is_file():
        return
    kept = []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            reached = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, RecursionError):
            if number < len(lines) or line.endswith(b"\n"):
                log.warning("%s:%d: line must be a JSON object with a step, and is damaged; left out", path, number)
            continue
        if reached <= step:
            kept.append(line)
    write_whole(path, b"".join(kept))


class AugmentTally:
    """Adds up the telemetry of this rank's samples; plain numbers, so nothing is exchanged until they are wanted."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)

    def add(self, batches: Sequence[Batch]) -> None:
        """Count the samples of a step."""
        for batch in batches:
            for sample in batch["samples"]:
                _add(self._sums, sample.tally)

    def metrics(self) -> dict[str, float]:
        """Return ``augment/...`` of the samples counted since the last call, over all ranks, which must all call it."""
        total: defaultdict[str, float] = defaultdict(float)
        for sums in gather_object([dict(self._sums)]):
            _add(total, sums)
        self._sums.clear()
        return {f"augment/{name}": value for name, value in averages(total).items()}


def _add(sums: defaultdict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        sums[name] += value
