"""A file that must not change while it is in use; each process opens it for itself.

Owns the errors when it is missing, unreadable, changed or cut short, and the number of files open at a time.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Generic, TypeVar

from dcap.core.errors import RecordError
from dcap.core.files import require_file

T = TypeVar("T")

MAX_OPEN = 256
"""Files that a process keeps open; most systems allow 1024."""


class Recent(Generic[T]):
    """A cache of the last used things that can be made again, for one thread.

    Args:
        bound: Largest sum of costs. The newest thing always stays.
        cost: Returns the cost of a thing.
        close: Called with each thing that is dropped.
    """

    def __init__(
        self, bound: int, cost: Callable[[T], int] = lambda _: 1, close: Callable[[T], None] = lambda _: None
    ) -> None:
        self.bound = bound
        self._cost, self._close = cost, close
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._sum = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing of a key, made now if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        thing = make()
        self._kept[key] = thing, self._cost(thing)
        self._sum += self._kept[key][1]
        while self._sum > self.bound and len(self._kept) > 1:
            self.drop(next(iter(self._kept)))
        return thing

    def drop(self, key: Hashable) -> None:
        """Drop the thing of a key, if it is kept."""
        if key in self._kept:
            thing, cost = self._kept.pop(key)
            self._sum -= cost
            self._close(thing)


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
        """Return the descriptor of the open file. Use it before another file is opened, and do not use its position.

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
        require_file(self.path, "file", RecordError, "Relative paths start at the current folder.")
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RecordError(f"{self.path}: file must be readable, not {error.strerror}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": None}
