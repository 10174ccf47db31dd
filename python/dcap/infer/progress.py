"""How far a prediction run is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from dcap.core.log import console, get_logger

log = get_logger(__name__)

LOG_EVERY_S = 30.0


class Progress:
    """Images done, rate and time left.

    Args:
        total: Images of the whole run.
        done: Images that an earlier run has done.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.first = total, done, done
        self.started = self.logged = time.monotonic()
        self.bar: RichProgress | None = None
        if console.is_terminal:
            columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
            self.bar = RichProgress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)
            self.task = self.bar.add_task("predict", total=total, completed=done, rate="")

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, images: int) -> None:
        """Count images that are written."""
        self.done += images
        now = time.monotonic()
        per_s = (self.done - self.first) / max(now - self.started, 1e-9)
        if self.bar:
            self.bar.update(self.task, advance=images, rate=f"{per_s:.2f} images/s")
        elif now - self.logged >= LOG_EVERY_S or self.done == self.total:
            self.logged = now
            left = (self.total - self.done) / per_s if per_s else 0.0
            log.info("%d of %d images, %.2f per second, %.0f s left", self.done, self.total, per_s, left)
