"""Logging: one logger tree below ``dcap``, quiet on every rank but the first."""

from __future__ import annotations

import logging
import os

from rich.console import Console
from rich.logging import RichHandler

console = Console(stderr=True)


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
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False, rich_tracebacks=False)
    if not is_main():
        handler.setFormatter(logging.Formatter(f"[rank {rank()}] %(message)s"))
    root.addHandler(handler)
    root.setLevel(level if is_main() else logging.WARNING)
    root.propagate = False
