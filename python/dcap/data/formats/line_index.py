"""Where the lines of a file begin: two numbers per record at most, found once.

Owns the search through the file. Keeping the result on disk is in `dcap.data.formats.saved_index`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap import kernels

# The buffer stays in the second-level cache of the processor between the copy from the kernel and the search.
_CHUNK_BYTES = 512 << 10

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

    It is read rather than mapped: a mapped file that another process cuts kills this one.

    Args:
        fd: The file.
        first: Where its text begins, in bytes.
    """
    buffer = np.empty(_CHUNK_BYTES, np.uint8)
    out = [np.empty((_CHUNK_BYTES + 1) // 2, np.int64) for _ in range(2)]
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    state = np.array([first, 1, first, 0])  # next byte; number and start of the line there; whether it was found
    while size := os.preadv(fd, [buffer.data], int(state[0])):
        count = kernels.find_lines(buffer[:size], state, *out)
        parts.append((out[0][:count].copy(), out[1][:count].copy()))
    starts = np.concatenate([part[0] for part in parts])
    numbers = np.concatenate([part[1] for part in parts])
    starts.setflags(write=False)
    numbers.setflags(write=False)
    plain = not len(numbers) or int(numbers[-1]) == len(numbers)
    return LineIndex(starts, None if plain else numbers)
