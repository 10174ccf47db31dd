"""Files that are written whole or not at all, and what killed writers left of theirs.

Owns scratch files: ``.NAME.<16 hex digits>`` beside NAME, locked while it is written, renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LEAST_AGE_S = 60.0
"""A scratch file written to since is left alone, whatever its lock says: over NFS, locks of others may not be seen."""


@contextlib.contextmanager
def written_whole(place: Path, durable: bool = False, sweep: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that becomes `place` when the block ends, and vanishes when it raises.

    Several processes and threads may do this at once: the last one wins.

    Args:
        place: Where the file shall lie; folders on the way are made.
        durable: Whether it must be on disk before it is renamed, so that a power cut leaves no torn one.
        sweep: Whether leftovers of writers of `place` that were killed are removed first; this looks through the whole
            folder, which is too much for each of many files.

    Raises:
        OSError: The folder or the disk does not allow it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if sweep:
        remove_leftovers(place)
    with _locked_scratch(place) as file:
        scratch = Path(file.name)
        try:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            scratch.replace(place)
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)


def remove_leftovers(place: Path) -> None:
    """Remove scratch files of `place` that nobody writes any more: old ones whose lock is free."""
    pattern = re.compile(re.escape(f".{place.name}.") + "[0-9a-f]{16}")
    newest = time.time() - LEAST_AGE_S
    with contextlib.suppress(OSError), os.scandir(place.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                _remove_if_free(Path(entry.path), newest)


def _remove_if_free(scratch: Path, newest: float) -> None:
    # A writer's lock ends with its process, however that ends. Where files cannot be locked, nothing is removed.
    with contextlib.suppress(OSError):
        fd = os.open(scratch, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if os.fstat(fd).st_mtime < newest:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                scratch.unlink()
        finally:
            os.close(fd)


def _locked_scratch(place: Path) -> BinaryIO:
    while True:
        file = place.with_name(f".{place.name}.{secrets.token_hex(8)}").open("x+b")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # Between its creation and its lock another process may have taken it for a leftover.
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()
