"""Progress of long work: bars on a terminal, and a line now and then in the log of a long run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dcap.core.log import console, get_logger, is_main

log = get_logger(__name__)

T = TypeVar("T")

LOG_EVERY_S = 30.0
_WORTH_A_BAR = 100


class RateColumn(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """Return items per second."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def progress(items: Sequence[T], description: str) -> Iterator[T]:
    """Yield `items` with a progress bar on the first rank's terminal; silent for short work and for logs."""
    return progress_of(items, len(items), description)


def progress_of(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """As `progress`, for `total` items that come one by one; shows how many come per second.

    Without a bar, long work has a line of the log every `LOG_EVERY_S` seconds.
    """
    if not is_main():
        yield from items
        return
    if total < _WORTH_A_BAR or not console.is_terminal:
        sign = SignOfLife()
        for done, item in enumerate(items, 1):
            yield item
            sign.tell(lambda done=done: f"{description}: {done} of {total}")  # type: ignore[misc]
        return
    columns = (*Progress.get_default_columns(), TextColumn("{task.completed}/{task.total}"), RateColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield from bar.track(items, total, description=description)


@contextmanager
def progress_bars(screen: Console = console) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes the name of the work, the amount done, and the total.

    It shows one bar for each thing, with its rate. The bars disappear at the end.

    Args:
        screen: Where the bars are shown; nothing is shown where this is no terminal.
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield told


class SignOfLife:
    """A line of the log every `LOG_EVERY_S` seconds of work that has no items to count."""

    def __init__(self) -> None:
        self._logged = time.monotonic()

    def tell(self, describe: Callable[[], str]) -> None:
        """Log what `describe` returns, if a line is due; else it is not called."""
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_S:
            self._logged = now
            log.info("%s", describe())


class LoggedProgress:
    """Items done, rate and time left: a bar on a terminal, a line of the log every `LOG_EVERY_S` seconds elsewhere.

    Work that is over before the first line has none.

    Args:
        total: Items of the whole run.
        done: Items that an earlier run has done.
        noun: What the items are, in the plural.
        screen: Where the bar is shown.
        waits_for: Who makes the items, where that says nothing meanwhile. The log then gets its line even if no item is
            done; the time on a bar goes on by itself.
    """

    def __init__(self, total: int, done: int, noun: str, screen: Console = console, waits_for: str = "") -> None:
        self._waits_for, self._over = waits_for, threading.Event()
        self._waiting = threading.Thread(target=self._tell_waiting, daemon=True)
        self.total, self.done, self.first, self.noun = total, done, done, noun
        self.started = self.logged = time.monotonic()
        self.bar: Progress | None = None
        if screen.is_terminal:
            columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
            self.bar = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=screen)
            self.task = self.bar.add_task(noun, total=total, completed=done, rate="")

    def __enter__(self) -> LoggedProgress:
        if self.bar:
            self.bar.start()
        elif self._waits_for:
            self._waiting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self.bar:
            self.bar.stop()
        elif self._waits_for:
            self._waiting.join()

    def _tell_waiting(self) -> None:
        while not self._over.wait(LOG_EVERY_S):
            now = time.monotonic()
            if now - self.logged >= LOG_EVERY_S:
                self.logged, seconds = now, now - self.started
                log.info("%d of %d %s after %.0f s; waiting for %s", self.done, self.total, self.noun, seconds,
                         self._waits_for)  # fmt: skip

    def advance(self, number: int) -> None:
        """Count items that are done."""
        self.done += number
        now = time.monotonic()
        per_s = (self.done - self.first) / max(now - self.started, 1e-9)
        if self.bar:
            self.bar.update(self.task, advance=number, rate=f"{per_s:.2f} {self.noun}/s")
        elif now - self.logged >= LOG_EVERY_S or (self.done == self.total and self.logged > self.started):
            self.logged = now
            left = (self.total - self.done) / per_s if per_s else 0.0
            log.info("%d of %d %s, %.2f per second, %.0f s left", self.done, self.total, self.noun, per_s, left)
