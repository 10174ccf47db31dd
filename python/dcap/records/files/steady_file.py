"""A file that must not change while it is in use; each process opens it for itself.

Owns what happens when it is missing, unreadable, changed or cut short, and how many are open at a time.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

from dcap.core.errors import RecordError
from dcap.records.files.recent import Recent

MAX_OPEN = 256
"""Files that a process keeps open; most systems allow 1024."""
_OPEN: Recent[int] = Recent(MAX_OPEN, close=os.close)


class SteadyFile:
    """A file for reading at any place; it may be pickled and forked.

    It is read rather than mapped: a mapped file that another process cuts kills this one.

    Args:
        path: The file.
        name: File that messages name instead, where `path` was made from it.

    Attributes:
        size: Bytes.

    Raises:
        RecordError: The file is missing, not a regular file, or not readable.
    """

    def __init__(self, path: Path, name: Path | None = None) -> None:
        self.path, self.name = path, name or path
        self._key: object = None
        status = os.fstat(self._descriptor())
        self.size, self._mtime_ns = status.st_size, status.st_mtime_ns

    def fd(self) -> int:
        """Return the descriptor of the open file, for use before another file is; its position is nobody's.

        Raises:
            RecordError: The file has changed since this object was made.
        """
        fd = self._descriptor()
        status = os.fstat(fd)
        if (status.st_size, status.st_mtime_ns) != (self.size, self._mtime_ns):
            raise RecordError(f"{self.name}: file must not change while it is in use. Start again.")
        return fd

    def _descriptor(self) -> int:
        if self._key is None:
            self._key = object()
            weakref.finalize(self, _OPEN.drop, self._key)
        return _OPEN.get(self._key, self._open)

    def _open(self) -> int:
        if not self.path.is_file():
            raise RecordError(f"{self.path}: file must exist. Relative paths start at the current folder.")
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RecordError(f"{self.path}: file must be readable, not {error.strerror}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": None}
