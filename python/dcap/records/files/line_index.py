"""Where the lines of a file begin: two numbers per record at most, found once.

Owns the search through the file, and the content of its saved index (`dcap.records.files.saved_index` has the layout).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dcap.records.files.saved_index import LEAST_BYTES, ContentKey, kept, load_arrays, save_arrays

# The buffer stays in the second-level cache of the processor between the copy from the kernel and the search.
_CHUNK_BYTES = 512 << 10
_LEAST_PART_BYTES = 32 << 20
_MAX_THREADS = 4
_NEWLINE = ord("\n")
_IS_SPACE = np.array([not bytes([byte]).strip() for byte in range(256)])

_MAGIC = b"dcapline"
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
    """Number of each line (from 1, blank ones counted), rising, int64 (N,), read-only. `None`: they are 1 to N."""
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


def open_index(fd: int, path: Path, first: int, least_bytes: int = LEAST_BYTES) -> LineIndex:
    """Return the lines of a file: from its saved index, or found and, for a large file, saved.

    Args:
        fd: The file, open.
        path: Its path.
        first: Where its text begins, in bytes.
        least_bytes: Size of the smallest file whose index is saved.
    """

    def load(place: Path, key: ContentKey) -> LineIndex | None:
        index = load_lines(place, key)
        return index if index is not None and _begins(index, fd, first) else None

    return kept(fd, path, load, lambda: find_lines(fd, first), save_lines, least_bytes)


def _begins(index: LineIndex, fd: int, first: int) -> bool:
    """Whether nothing but blank lines comes before the first line of an index. What follows is seen at each line."""
    before = int(index.starts[0]) - first if len(index) else _CHUNK_BYTES
    return 0 <= before < _CHUNK_BYTES and not os.pread(fd, before, first).strip()


def find_lines(
    fd: int,
    first: int,
    max_threads: int = _MAX_THREADS,
    part_bytes: int = _LEAST_PART_BYTES,
    chunk_bytes: int = _CHUNK_BYTES,
) -> LineIndex:
    """Find the lines of an open file by reading it once.

    It is read rather than mapped: a mapped file that another process cuts kills this one. A large file is read in
    parts by several threads, since most of the time goes into copying pages from the system's cache.

    Args:
        fd: The file.
        first: Where its text begins, in bytes.
        max_threads: Most threads; there are never more than cores.
        part_bytes: Size of the smallest part that is worth a thread.
        chunk_bytes: Bytes that are read at a time.
    """
    size = os.fstat(fd).st_size
    num_parts = max(1, min(len(os.sched_getaffinity(0)), max_threads, size // part_bytes))
    if num_parts == 1:
        parts = [_find_in_part(fd, chunk_bytes, first, size)]
    else:
        places = (max(first, size * k // num_parts) for k in range(1, num_parts))
        borders = [first, *(_line_end(fd, chunk_bytes, place) for place in places), size]
        with ThreadPoolExecutor(num_parts) as pool:
            parts = list(pool.map(partial(_find_in_part, fd, chunk_bytes), borders[:-1], borders[1:]))
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


def _line_end(fd: int, chunk_bytes: int, place: int) -> int:
    """Return where the line that holds byte `place` ends and the next one begins."""
    while chunk := os.pread(fd, chunk_bytes, place):
        if (end := chunk.find(b"\n")) >= 0:
            return place + end + 1
        place += len(chunk)
    return place


def _find_in_part(fd: int, chunk_bytes: int, start: int, stop: int) -> tuple[_I64, _I64, int]:
    """Return starts and numbers (from 1) of the lines from one line's start to another's, and how many lines end."""
    buffer = np.empty(min(chunk_bytes, max(0, stop - start)), np.uint8)
    is_end = np.zeros(-(-len(buffer) // 8) * 8, np.bool_)
    starts, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    place = line = start
    number, filled = 1, False  # of the line that goes on from chunk to chunk
    while size := os.preadv(fd, [buffer[: max(0, stop - place)].data], place):
        chunk = buffer[:size]
        ends = _newlines(chunk, is_end)
        begins = np.append(0, ends + 1)
        is_filled = _is_filled(chunk, begins, np.append(ends, size))
        is_filled[0] |= filled
        lines = place + begins
        lines[0] = line
        starts.append(lines[:-1][is_filled[:-1]])
        numbers.append(number + np.flatnonzero(is_filled[:-1]))
        place, line, number, filled = place + size, int(lines[-1]), number + len(ends), bool(is_filled[-1])
    if filled:
        starts.append(np.array([line]))
        numbers.append(np.array([number]))
    return np.concatenate(starts), np.concatenate(numbers), number - 1


def _newlines(chunk: npt.NDArray[np.uint8], is_end: npt.NDArray[np.bool_]) -> _I64:
    """Return the places of line ends, looking at eight bytes at a time: most words of a file have none.

    Args:
        chunk: Bytes.
        is_end: Room for a bool per byte, a multiple of 8 of them; fresh memory would take as long as the search.
    """
    np.equal(chunk, _NEWLINE, out=is_end[: len(chunk)])
    is_end[len(chunk) :] = False
    words = is_end.view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[some].view(np.bool_))
    ends: _I64 = some[inside >> 3] * 8 + (inside & 7)
    return ends


def _is_filled(chunk: npt.NDArray[np.uint8], begins: _I64, ends: _I64) -> npt.NDArray[np.bool_]:
    """Return which pieces of a chunk hold more than white space. Nearly all begin with another character."""
    filled = ~_IS_SPACE[chunk[np.minimum(begins, len(chunk) - 1)]]
    for k in np.flatnonzero(~filled).tolist():
        filled[k] = bool(chunk[begins[k] : ends[k]].tobytes().strip())
    return filled


def load_lines(place: Path, key: ContentKey) -> LineIndex | None:
    """Map a saved index of lines into memory.

    Args:
        place: Its possible place.
        key: Key of the file that it must belong to.

    Returns:
        The index. `None`: it is absent, cannot be read, is stale, or is torn.
    """
    arrays = load_arrays(place, _MAGIC, key)
    if arrays is None or len(arrays) > 2:
        return None
    starts, numbers = arrays[0], arrays[1] if len(arrays) == 2 else None
    if not _rises(starts, 0, key.size - 1) or (numbers is not None and not _rises(numbers, 1, key.size)):
        return None
    return LineIndex(starts, numbers, saved=True)


def save_lines(place: Path, key: ContentKey, index: LineIndex) -> bool:
    """Write an index of lines as `save_arrays` does."""
    arrays = [index.starts] if index.numbers is None else [index.starts, index.numbers]
    return save_arrays(place, _MAGIC, key, arrays)


def _rises(values: npt.NDArray[np.int64], low: int, high: int) -> bool:
    """Whether each value is larger than the one before, and all are between `low` and `high`."""
    return not len(values) or bool(low <= values[0] and values[-1] <= high and (values[1:] > values[:-1]).all())
