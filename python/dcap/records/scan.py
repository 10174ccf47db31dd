"""Going once over many records in order: in runs of neighbours, which worker processes may share.

Owns the runs. They depend on the files alone, so that what is made of them does not depend on the number of workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeVar

from dcap.records.files.source import RecordSource

S = TypeVar("S")
T = TypeVar("T")

RUN_LENGTH = 256
"""Records of a run; where pixels are decoded, `RUN_LENGTH_DECODING`."""
RUN_LENGTH_DECODING = 16
_MOST_WORKERS = 8


class Run(NamedTuple):
    """Neighbouring records of one file."""

    file: int
    """Which file."""
    rows: range
    """Which of its records."""


def runs_of(files: Sequence[RecordSource], length: int = RUN_LENGTH) -> list[Run]:
    """Return the records of some files in order, as runs of at most `length` records."""
    return [
        Run(f, range(start, min(start + length, len(file))))
        for f, file in enumerate(files)
        for start in range(0, len(file), length)
    ]


def default_workers() -> int:
    """Return how many worker processes a command takes that is told no number: one per core, at most 8."""
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


def map_in_order(function: Callable[[S], T], items: Sequence[S], num_workers: int) -> Generator[T, None, None]:
    """Yield ``function(item)`` for each item, in order; worker processes share the work where there is enough.

    Args:
        function: Pure; its results are sent between processes.
        items: What it is called with; each is work for some milliseconds.
        num_workers: Processes; 0 calls the function here.

    Raises:
        DcapError: As `function`.
        TrainingError: A worker process died.
    """
    # Processes take a moment to start, which a few items are not worth.
    if len(items) <= 2 * num_workers or not num_workers:
        yield from map(function, items)
        return
    from dcap.data.workers import Made, from_workers  # the loader comes with torch, which takes seconds to import

    yield from from_workers(Made(function, items), num_workers)
