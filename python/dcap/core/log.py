"""Logging: one logger tree below ``dcap``, quiet on every rank but the first."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

T = TypeVar("T")

console = Console(stderr=True) if os.isatty(2) else Console(stderr=True, width=160)
"""The terminal; where there is none, lines are wide enough not to break."""

FILE_ONLY = {"file_only": True}
"""``extra`` of a log call for files only: the terminal shows the same in a form of its own."""
PIPE_WIDTH = 100_000
"""Columns of what goes to a file or another program: no table is wide enough to be wrapped."""


class _LineHandler(logging.Handler):
    """Log for a file or another program: one line per message on stderr, neither wrapped nor padded."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # In one piece, so that lines of several ranks do not mix.
            sys.stderr.write(self.format(record).rstrip() + "\n")
        except (OSError, ValueError):
            self.handleError(record)


def output_console() -> Console:
    """Return a console for a command's result on stdout; text is printed as it is, without markup."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def rank() -> int:
    """Return this process's rank in a distributed launch, 0 when there is none."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process is the one that talks and writes."""
    return rank() == 0


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a dcap module; pass ``__name__``."""
    return logging.getLogger(name)


def setup(level: int = logging.INFO) -> None:
    """Send dcap's log to the terminal; ranks other than 0 show warnings only, with their rank in front."""
    root = logging.getLogger("dcap")
    for old in list(root.handlers):
        root.removeHandler(old)
    where = "" if is_main() else f"[rank {rank()}] "
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=console, show_path=False, show_time=False, markup=False, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter(f"{where}%(message)s"))
    else:
        handler = _LineHandler()
        handler.setFormatter(logging.Formatter(f"%(levelname)-8s {where}%(message)s"))
    handler.addFilter(lambda record: not getattr(record, "file_only", False))
    root.addHandler(handler)
    root.setLevel(level if is_main() else logging.WARNING)
    root.propagate = False


def print_error(error: object) -> None:
    """Print the last line of a command that failed: `error` in one line on stderr, with the rank if it is another."""
    where = "" if is_main() else f"[rank {rank()}] "
    print(f"dcap: {where}{error}", file=sys.stderr)


def progress(items: Sequence[T], description: str) -> Iterator[T]:
    """Yield `items` with a progress bar on the first rank's terminal; silent for short work and for logs."""
    return progress_of(items, len(items), description)


def progress_of(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """As `progress`, for `total` items that come one by one; shows how many come per second."""
    if total < 100 or not is_main() or not console.is_terminal:
        yield from items
        return
    columns = (*Progress.get_default_columns(), TextColumn("{task.completed}/{task.total}"), RateColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield from bar.track(items, total, description=description)


class RateColumn(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """Return items per second."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
