"""Where the lines of a file begin: two numbers per record at most, found once.

Owns the search through the file. Keeping the result on disk is in `dcap.records.files.saved_index`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from dcap import kernels

# The buffer stays in the second-level cache of the processor between the copy from the kernel and the search.
_CHUNK_BYTES = 512 << 10
_LEAST_PART_BYTES = 32 << 20
_MAX_THREADS = 4

_I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LineIndex:
    r"""The lines of a file that are not blank.

    ::

        bytes    {...}\n \n {...}\r\n {...}
        starts   0          7           15
        numbers  1          3           4
    """

    starts: _I64
    """Byte offset of each line, rising, int64 (N,), read-only."""
    numbers: _I64 | None
    """Number of each line (from 1, blank ones counted), rising, int64 (N,), read-only; None: they are 1 to N."""
    saved: bool = False
    """Whether the arrays are pages of a file that other processes can map too."""

    def __len__(self) -> int:
        return len(self.starts)

    def number(self, i: int) -> int:
        """Return the line number of record `i`.

        Raises:
            IndexError: There is no such record.
        """
        return range(1, len(self) + 1)[i] if self.numbers is None else int(self.numbers[i])


def find_lines(fd: int, first: int) -> LineIndex:
    """Find the lines of an open file by reading it once.

    It is read rather than mapped: a mapped file that another process cuts kills this one. A large file is read in
    parts by several threads, since most of the time goes into copying pages from the system's cache.

    Args:
        fd: The file.
        first: Where its text begins, in bytes.
    """
    size = os.fstat(fd).st_size
    num_parts = max(1, min(len(os.sched_getaffinity(0)), _MAX_THREADS, size // _LEAST_PART_BYTES))
    if num_parts == 1:
        parts = [_find_in_part(fd, first, size)]
    else:
        borders = [first, *(_line_end(fd, size * k // num_parts) for k in range(1, num_parts)), size]
        with ThreadPoolExecutor(num_parts) as pool:
            parts = list(pool.map(partial(_find_in_part, fd), borders[:-1], borders[1:]))
    num_before = 0
    for _, numbers, num_lines in parts:
        numbers += num_before
        num_before += num_lines
    starts = np.concatenate([part[0] for part in parts])
    numbers = np.concatenate([part[1] for part in parts])
    starts.setflags(write=False)
    numbers.setflags(write=False)
    plain = not len(numbers) or int(numbers[-1]) == len(numbers)
    return LineIndex(starts, None if plain else numbers)


def _line_end(fd: int, place: int) -> int:
    """Return where the line that holds byte `place` ends and the next one begins."""
    while chunk := os.pread(fd, _CHUNK_BYTES, place):
        if (end := chunk.find(b"\n")) >= 0:
            return place + end + 1
        place += len(chunk)
    return place


def _find_in_part(fd: int, start: int, stop: int) -> tuple[_I64, _I64, int]:
    """Return starts and numbers (from 1) of the lines from one line's start to another's, and how many lines end."""
    buffer = np.empty(min(_CHUNK_BYTES, max(0, stop - start)), np.uint8)
    out = [np.empty((len(buffer) + 1) // 2, np.int64) for _ in range(2)]
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    state = np.array([start, 1, start, 0])  # next byte; number and start of the line there; whether it was found
    while size := os.preadv(fd, [buffer[: max(0, stop - int(state[0]))].data], int(state[0])):
        count = kernels.find_lines(buffer[:size], state, *out)
        parts.append((out[0][:count].copy(), out[1][:count].copy()))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]), int(state[1]) - 1
