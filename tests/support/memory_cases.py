"""What the processes of a loader have to themselves while they read records again and again."""

from __future__ import annotations

import gc
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psutil

from dcap.records.files.source import RecordSource
from dcap.records.images import decode_image
from dcap.records.record import image_source

PARTS = 3
"""Odd, so that each of two or four processes gets to every part."""


class Reading(NamedTuple):
    process: int
    private_bytes: int
    records: int


class Epochs:
    """A source, read as many times as there are epochs, a part at a time; each item says what it cost."""

    def __init__(self, source: RecordSource, epochs: int) -> None:
        self.source, self.epochs, self.begun_by = source, epochs, 0

    def __len__(self) -> int:
        return self.epochs * PARTS

    def __getitem__(self, k: int) -> Reading:
        if not 0 <= k < len(self):
            raise IndexError(k)
        if self.begun_by != os.getpid():
            gc.freeze()  # what was there before is no business of this process; looking through it would copy it
            self.begun_by = os.getpid()
        records = 0
        for i in range(k % PARTS, len(self.source), PARTS):
            record = self.source[i]
            if record.embedded is not None:
                decode_image(image_source(record), record.canvas)
            records += 1
        gc.collect()  # what is left is held by something
        return Reading(os.getpid(), psutil.Process().memory_full_info().uss, records)


def as_is(item: Reading) -> Reading:
    return item


def growth(readings: Iterable[Reading], num_workers: int) -> tuple[int, int]:
    """Return by how many bytes the private memory of a process grew: from its first part, and from its first epoch."""
    of_process: defaultdict[int, list[int]] = defaultdict(list)
    for reading in readings:
        of_process[reading.process].append(reading.private_bytes)
    assert len(of_process) == num_workers
    first_epoch = PARTS + 1  # parts of a process until it has seen all of them
    return _most(of_process.values(), 1), _most(of_process.values(), first_epoch)


def _most(processes: Iterable[Sequence[int]], start: int) -> int:
    return max(max(used[start:]) - used[start - 1] for used in processes)
