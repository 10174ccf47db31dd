"""Logging and output: one logger tree below ``dcap``, quiet on every rank but the first.

Owns what reaches a terminal or a log: texts from outside lose what would steer a terminal
(`dcap.core.words.printable`).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.logging import RichHandler
from rich.segment import Segment

from dcap.core.words import printable_lines, to_json


class SafeConsole(Console):
    """A console whose own styles reach the terminal, and no control character of a text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as `Console` does, with the texts made printable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)


console = SafeConsole(stderr=True) if os.isatty(2) else SafeConsole(stderr=True, width=160)
"""The terminal. Without a terminal, lines are wide enough not to break."""

FILE_ONLY = {"file_only": True}
"""``extra`` of a log call for files only: the terminal shows the same in its own form."""
PIPE_WIDTH = 100_000
"""Columns of output to a file or another program, wider than any table, so that none wraps."""


class SafeFormatter(logging.Formatter):
    """Formats the lines of a log; no text of them can steer the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines, of a record."""
        return printable_lines(super().format(record))


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
    return SafeConsole(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_json(tree: Any) -> None:
    """Print plain data as JSON on stdout."""
    print(to_json(tree))


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
        handler.setFormatter(SafeFormatter(f"{where}%(message)s"))
    else:
        handler = _LineHandler()
        handler.setFormatter(SafeFormatter(f"%(levelname)-8s {where}%(message)s"))
    handler.addFilter(lambda record: not getattr(record, "file_only", False))
    root.addHandler(handler)
    root.setLevel(level if is_main() else logging.WARNING)
    root.propagate = False


def print_error(error: object) -> None:
    """Print the last line of a command that failed: `error` in one line on stderr, with the rank if it is not 0."""
    where = "" if is_main() else f"[rank {rank()}] "
    print(printable_lines(f"dcap: {where}{error}"), file=sys.stderr)
