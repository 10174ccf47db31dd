"""JSONL files with random access: the places of the lines are found once, a record is read when it is asked for.

Owns lines, line numbers and line ends. What a line must hold is in `dcap.data.records`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import RecordError
from dcap.data.record_json import MAX_LINE_BYTES
from dcap.data.records import Origin, Record, parse_record

_CHUNK_BYTES = 8 << 20
_TAIL_BYTES = 4096
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_BRACE = ord("{")

Stamp = tuple[int, int]


class JsonlFile:
    """The records of one JSONL file, by index.

    The file is never held in memory: 16 bytes per record are. A UTF-8 BOM, CRLF and blank lines are accepted. The
    object may be pickled and forked; each process opens the file for itself.

    Args:
        path: The file.

    Raises:
        RecordError: The file is missing, not a regular file, not UTF-8 by its first bytes, or one JSON array.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._fd: int | None = None
        fd = self._open()
        self._stamp = _stamp(fd)
        self._starts, self._numbers = _find_lines(fd, self.path)
        if len(self) and _is_array(fd, int(self._starts[0])):
            raise RecordError(
                f"{path}: file must be JSONL, one record per line, not one JSON array. "
                "Convert it: jq -c '.[]' OLD.json > NEW.jsonl"
            )

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i: int) -> Record:
        """Return record `i` (from 0, blank lines not counted).

        Raises:
            RecordError: The line breaks the record contract, or the file has changed since it was opened.
            IndexError: There is no such record.
        """
        return parse_record(self.line(i), self.origin(i))

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def origin(self, i: int) -> Origin:
        """Return file and line of record `i`."""
        return Origin(str(self.path), int(self._numbers[i]))

    def line(self, i: int) -> bytes:
        """Return the bytes of record `i` without its line end; at most one byte more than `MAX_LINE_BYTES`.

        Raises:
            RecordError: The file has changed since it was opened.
            IndexError: There is no such record.
        """
        fd = self._open()
        if _stamp(fd) != self._stamp:
            raise RecordError(f"{self.path}: file must not change while it is in use. Start again.")
        i = range(len(self))[i]
        start = int(self._starts[i])
        end = int(self._starts[i + 1]) if i + 1 < len(self) else self._stamp[0]
        data = os.pread(fd, min(end - start, MAX_LINE_BYTES + 1), start)
        return data.split(b"\n", 1)[0].rstrip(b"\r")

    def _open(self) -> int:
        if self._fd is None:
            if not self.path.is_file():
                raise RecordError(f"{self.path}: file must exist. Relative paths start at the current folder.")
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise RecordError(f"{self.path}: file must be readable, not {error.strerror}") from None
            weakref.finalize(self, os.close, self._fd)
        return self._fd

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fd": None}

    def __repr__(self) -> str:
        return f"JsonlFile({str(self.path)!r}, {len(self)} records)"


def _stamp(fd: int) -> Stamp:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns


def _find_lines(fd: int, path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    r"""Return byte offset and number (from 1) of every line that is not blank, int64 (N,) each.

    ::

        bytes    {...}\n \n {...}\r\n {...}
        starts   0          7           15
        numbers  1          3           4
    """
    head = os.pread(fd, 3, 0)
    if head[:2] in _OTHER_BOMS:
        raise RecordError(f"{path}: file must be UTF-8, not UTF-16. Save it as UTF-8.")
    first = len(_BOM) if head == _BOM else 0
    size = os.fstat(fd).st_size
    ends, place = [np.empty(0, np.int64)], 0
    while chunk := os.pread(fd, _CHUNK_BYTES, place):
        ends.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10) + place)
        place += len(chunk)
    starts = np.concatenate([np.array([first]), np.concatenate(ends) + 1])
    starts = starts[starts < size]
    numbers = np.arange(1, len(starts) + 1)
    keep = np.ones(len(starts), bool)
    for k in _not_braces(fd, starts):
        stop = starts[k + 1] if k + 1 < len(starts) else size
        keep[k] = not _is_blank(fd, int(starts[k]), int(stop))
    return starts[keep], numbers[keep]


def _is_array(fd: int, start: int) -> bool:
    """Whether the text from `start` begins and ends as an array does; no record does either."""
    size = os.fstat(fd).st_size
    end = os.pread(fd, _TAIL_BYTES, max(start, size - _TAIL_BYTES)).rstrip()
    return os.pread(fd, 64, start).lstrip()[:1] == b"[" and end.endswith(b"]")


def _not_braces(fd: int, starts: npt.NDArray[np.int64]) -> list[int]:
    """Return the lines that do not begin with a brace: blank ones are among them."""
    found: list[int] = []
    at = 0
    while at < len(starts):
        base = int(starts[at])
        data = np.frombuffer(os.pread(fd, _CHUNK_BYTES, base), np.uint8)
        stop = int(np.searchsorted(starts, base + len(data)))
        found += (np.flatnonzero(data[starts[at:stop] - base] != _BRACE) + at).tolist()
        at = stop
    return found


def _is_blank(fd: int, start: int, stop: int) -> bool:
    while start < stop:
        chunk = os.pread(fd, min(stop - start, 1 << 16), start)
        if not chunk or chunk.strip():
            return not chunk
        start += len(chunk)
    return True
