"""Runs of neighbouring records: what a worker process reads at a time.

Owns the runs. They depend on the files alone, so that what is made of them does not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dcap.records.files.source import RecordSource

RUN_LENGTH = 256
"""Records of a run; where pixels are decoded, `RUN_LENGTH_DECODING`."""
RUN_LENGTH_DECODING = 16


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
