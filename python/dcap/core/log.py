"""Logging: one logger tree below ``dcap``, quiet on every rank but the first."""

from __future__ import annotations

import logging
import os
import sys

from rich.console import Console
from rich.logging import RichHandler

console = Console(stderr=True) if os.isatty(2) else Console(stderr=True, width=160)
"""The terminal. Without a terminal, lines are wide enough not to break."""

FILE_ONLY = {"file_only": True}
"""``extra`` of a log call for files only: the terminal shows the same in its own form."""
PIPE_WIDTH = 100_000
"""Columns of output to a file or another program, wider than any table, so that none wraps."""


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
    """Print the last line of a command that failed: `error` in one line on stderr, with the rank if it is not 0."""
    where = "" if is_main() else f"[rank {rank()}] "
    print(f"dcap: {where}{error}", file=sys.stderr)
