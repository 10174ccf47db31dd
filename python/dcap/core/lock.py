"""One owner of a folder at a time.

Owns the file ``.lock`` in the folder. The lock itself is one of the operating system (POSIX, by process): it ends with
its process, however that ends, a child does not inherit it, and network file systems share it between machines. The
file says who holds it. That decides only where the system cannot: on a file system without locks, and where the owner
ran on another machine, whose locks may not be visible here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dcap.core.config import build
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.log import get_logger

log = get_logger(__name__)

FILE_NAME = ".lock"
BEAT_S = 5.0
"""An owner touches the file this often."""
PATIENCE_S = 20.0
"""An owner on another machine is taken for dead if it does not touch the file for this long."""

_owned: set[Path] = set()
"""Folders of this process: its second lock on a file would be granted, and closing the file would end both."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that owns a folder."""

    host: str
    """Name of its machine."""
    boot: str
    """Which start of which machine: machines may have the same name. Empty where the system does not tell."""
    pid: int
    """Its number there."""
    start: str
    """When it began, by the clock of its machine: numbers of processes come again. Empty where the system does not
    tell."""
    since: str
    """When it took the folder, in UTC."""

    @classmethod
    def this_process(cls) -> Owner:
        """Return the owner that this process is."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return cls(socket.gethostname(), _boot(), os.getpid(), _start_of(os.getpid()) or "", now)

    @property
    def is_here(self) -> bool:
        """Whether it ran on this machine, since its last start."""
        return (self.host, self.boot) == (socket.gethostname(), _boot())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextlib.contextmanager
def owned(folder: Path, way_out: str) -> Iterator[None]:
    """Own a folder until the block ends, or this process does.

    Args:
        folder: An existing folder.
        way_out: What a user may do if another process owns it: a sentence.

    Raises:
        CheckpointError: Another process owns it.
        OSError: The folder cannot be written to.
    """
    key = folder.resolve()
    if key in _owned:
        raise CheckpointError(f"{folder} must have one owner at a time, and this process owns it already. {way_out}")
    fd = _take(folder, way_out)
    _owned.add(key)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder / FILE_NAME, stop), daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        _owned.discard(key)
        # Removed before the lock ends: whoever opened the file meanwhile sees that it is no longer the one in place.
        with contextlib.suppress(OSError):
            (folder / FILE_NAME).unlink()
        os.close(fd)


def _take(folder: Path, way_out: str) -> int:
    """Return the open lock file of a folder, locked and with this process in it."""
    while True:
        with contextlib.ExitStack() as closing:
            fd = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            closing.callback(os.close, fd)
            if _claim(fd, folder, way_out):
                closing.pop_all()  # it stays open
                return fd


def _claim(fd: int, folder: Path, way_out: str) -> bool:
    """Lock an open file and write this process into it. Return false if it is no longer the file in place."""
    path = folder / FILE_NAME
    free = _lock(fd)
    if free is not False and not _is_in_place(fd, path):
        return False
    owner = _read(fd)
    try:
        is_owned = free is False or (owner is not None and _lives(owner, path, locked=free is True))
    except FileNotFoundError:  # the owner ended meanwhile, and took its file away
        return False
    if is_owned:
        by = "another process owns it" if owner is None else f"{owner} owns it"
        gone = "" if owner is None or owner.is_here else f" If that machine is gone for good, delete {path}."
        raise CheckpointError(f"{folder} must have one owner at a time, and {by}. {way_out}{gone}")
    if owner is not None:
        log.info("%s is taken over from %s, which has ended", folder, owner)
    os.ftruncate(fd, 0)
    os.pwrite(fd, (json.dumps(asdict(Owner.this_process())) + "\n").encode(), 0)
    return True


def _lock(fd: int) -> bool | None:
    """Return whether the file is now locked by this process. `None`: its file system has no locks."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN) else None
    return True


def _is_in_place(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _read(fd: int) -> Owner | None:
    try:
        return build(Owner, json.loads(os.pread(fd, 1 << 16, 0)), "owner")
    except (ValueError, ConfigError):
        return None  # new, or its writer was killed while it wrote


def _lives(owner: Owner, path: Path, locked: bool) -> bool:
    """Whether an owner that the system does not name is alive nevertheless."""
    if owner.is_here:
        return not locked and _start_of(owner.pid) == owner.start
    log.warning("%s was owned by %s; waiting %.0f s to see whether it is alive", path.parent, owner, PATIENCE_S)
    seen, end = path.stat().st_mtime_ns, time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        time.sleep(min(1.0, PATIENCE_S / 10))
        # The two clocks are not compared, only whether the file is touched.
        if path.stat().st_mtime_ns != seen:
            return True
    return False


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Return when a process of this machine began, in ticks since the start of the machine. `None`: there is none.

    Empty where the system does not tell.
    """
    try:
        # The name of the program comes before, in brackets; it may hold anything.
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # another user's
    return ""
