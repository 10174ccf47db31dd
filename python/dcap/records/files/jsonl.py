"""JSONL files with random access: the places of the lines are found once; a record is read on request.

Owns line ends, and the check that a file is JSONL at all. `dcap.records.files.line_index` finds the lines;
`dcap.records.record` defines the content of a line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dcap.core.errors import RecordError
from dcap.records.files.line_index import LineIndex, open_index
from dcap.records.files.other_formats import HEAD_BYTES, refuse_other_formats
from dcap.records.files.saved_index import LEAST_BYTES
from dcap.records.files.source import RecordSource
from dcap.records.files.steady_file import SteadyFile
from dcap.records.json_line import MAX_LINE_BYTES
from dcap.records.record import Origin

_TAIL_BYTES = 4096
_BOM = b"\xef\xbb\xbf"
_OTHER_KINDS = (
    (b"PK\x03\x04", "a zip archive", "Unpack it, and name what is inside."),
    (b"\x1f\x8b", "one that gzip compressed", "End its name in .jsonl.gz."),
    (b"\x28\xb5\x2f\xfd", "one that zstd compressed", "End its name in .jsonl.zst."),
    (b"PAR1", "a Parquet file", "End its name in .parquet."),
)
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")


class JsonlFile(RecordSource):
    """The records of one JSONL file, by index.

    The file is never held in memory. The index is: 8 bytes per record, or 16 if there are blank lines. Processes share
    the index of a large file (`dcap.records.files.saved_index`). A UTF-8 BOM, CRLF and blank lines are accepted. The
    object may be pickled and forked; each process opens the file for itself.

    Args:
        path: The file.
        name: File that origins and messages name instead, where `path` was made from it.
        start: Where the text begins, in bytes.
        index_from: Size in bytes from which the file's index is kept on disk.

    Raises:
        RecordError: The file is missing, not a regular file, not UTF-8 by its first bytes, or of another format by
            its first and last ones.
    """

    def __init__(
        self, path: str | Path, name: Path | None = None, start: int = 0, index_from: int = LEAST_BYTES
    ) -> None:
        self.path, self._index_from = name or Path(path), index_from
        self._file = SteadyFile(Path(path), self.path)
        fd = self._file.fd()
        self._first = _first_byte(fd, self.path, start)
        self._index: LineIndex | None = open_index(fd, self._file.path, self._first, index_from)
        if len(self):
            refuse_other_formats(self.path, *_ends(fd, int(self._index.starts[0])))

    def __len__(self) -> int:
        return len(self._lines())

    def origin(self, i: int) -> Origin:
        """Return file and line of record `i`."""
        return Origin(str(self.path), self._lines().number(self._row(i)))

    def line(self, i: int) -> bytes:
        """Return the bytes of record `i` without its line end; at most one byte more than `MAX_LINE_BYTES`.

        Blank lines are not counted. A saved index may be stale if the file changed between its first and last 16 KiB
        but kept its size and time. Only reading the whole file could show that, so each line is checked to be a whole
        line when it is read.

        Raises:
            RecordError: The file has changed since it was opened, or since its index was saved.
            IndexError: There is no such record.
        """
        fd = self._file.fd()
        starts = self._lines().starts
        i = self._row(i)
        start = int(starts[i])
        end = int(starts[i + 1]) if i + 1 < len(starts) else self._file.size
        before = int(start > self._first)
        data = os.pread(fd, before + min(end - start, MAX_LINE_BYTES + 1), start - before)
        line, _, rest = data[before:].partition(b"\n")
        if data[:before].strip(b"\n") or rest.strip():
            raise RecordError(
                f"{self.origin(i)}: line must be where the index of the file says, but the file was changed and kept "
                f"its size and time. Have its index made again: touch {self.path}"
            )
        return line.rstrip(b"\r")

    def _lines(self) -> LineIndex:
        if self._index is None:
            self._index = open_index(self._file.fd(), self._file.path, self._first, self._index_from)
        return self._index

    def __getstate__(self) -> dict[str, Any]:
        # The process that gets this maps a saved index and does not copy it.
        index = self._index if self._index is None or not self._index.saved else None
        return {**self.__dict__, "_index": index}

    def __repr__(self) -> str:
        return f"JsonlFile({str(self.path)!r}, {len(self)} records)"


def _first_byte(fd: int, path: Path, start: int) -> int:
    """Return where the lines begin: behind a byte order mark, if there is one."""
    head = os.pread(fd, 8, start)
    for magic, name, way_out in _OTHER_KINDS:
        if head.startswith(magic):
            raise RecordError(f"{path}: file must be JSONL, not {name}. {way_out}")
    if head[:2] in _OTHER_BOMS:
        raise RecordError(f"{path}: file must be UTF-8, not UTF-16. Save it as UTF-8.")
    return start + len(_BOM) if head[:3] == _BOM else start


def _ends(fd: int, start: int) -> tuple[bytes, bytes]:
    """Return the first and the last bytes of the text from `start`."""
    size = os.fstat(fd).st_size
    return os.pread(fd, HEAD_BYTES, start), os.pread(fd, _TAIL_BYTES, max(start, size - _TAIL_BYTES))
