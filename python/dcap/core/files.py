"""Files, links and folders that appear whole or not at all, the leftovers of killed writers, and files to read.

Owns every flush to the disk and every rename that replaces something. A scratch file is ``.NAME.<16 hex digits>``
beside NAME, locked while it is written; a NAME that is too long for that is cut. A scratch folder is
``.writing-NAME``, locked in the same way; a second writer is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dcap.core.errors import DcapError, OutputError

LEAST_AGE_S = 60.0
"""A scratch file written to within this time is left alone, even if it is not locked: over NFS, locks of others may not
be visible."""
_LONGEST_NAME = 255
"""Bytes of the longest name of a file on common file systems."""
_DIGITS = 16
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that has no room."""
_OPEN_FILE = re.compile(r"(?:/dev|/proc/self)/fd/(\d+)|/dev/std(out|err)")


def require_file(path: Path, what: str, error: type[DcapError], if_missing: str = "") -> None:
    """Check that a path is that of a file to read. All of dcap says in the same words what it is instead.

    Args:
        path: The path.
        what: What the file is, such as ``config``, for the message.
        error: Kind of the error.
        if_missing: Sentence that says what to do where nothing is there.

    Raises:
        DcapError: Of the kind `error`: nothing is there, or it is a folder or a device, or its path cannot be followed.
    """
    problem = why_no_file(path)
    if problem == "missing" and path.is_symlink():
        raise error(f"{path}: {what} must exist, and is a link to {os.readlink(path)}, which does not.")
    if problem == "missing":
        raise error(f"{path}: {what} must exist." + (f" {if_missing}" if if_missing else ""))
    if problem:
        way_out = " Name a file in it." if problem == "a folder" else ""
        raise error(f"{path}: {what} must be a regular file, not {problem}.{way_out}")


def why_no_file(path: Path) -> str:
    """Return what a path is instead of a file: ``missing``, ``a folder``, or other words; nothing for a file."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:  # such as a name that is too long, or a folder that may not be entered
        return f"one that cannot be opened ({error.strerror})"
    except ValueError:
        return "a name with the NUL character"
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "a pipe or device"


def is_stream(place: Path) -> bool:
    """Whether a path is that of a pipe, a device or a file open here. What is written there replaces nothing."""
    try:
        return _number_of_open_file(place) is not None or (
            place.exists() and not place.is_file() and not place.is_dir()
        )
    except OSError:  # such as a name that is too long; whoever writes says so
        return False


def cut_name(name: str, num_further: int) -> str:
    """Return the beginning of the name of a file, so that `num_further` bytes can be added to it."""
    while len(os.fsencode(name)) > _LONGEST_NAME - num_further:
        name = name[:-1]
    return name


def write_whole(place: Path, data: str | bytes, durable: bool = True) -> None:
    """Write a file whole or not at all; text is UTF-8.

    Args:
        place: As `written_whole`.
        data: The whole content of the file.
        durable: As `written_whole`.

    Raises:
        OutputError: As `written_whole`.
    """
    with written_whole(place, durable) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def written_whole(place: Path, durable: bool = True, sweep: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that becomes `place` when the block ends, and vanishes when the block raises.

    Several processes and threads may do this at once: the last one wins. A pipe or a device is written to directly, and
    so is ``/dev/stdout``, even if it leads to a file; a link stays a link.

    Args:
        place: Path of the file; missing folders are made.
        durable: Whether the data must be on the disk before the rename, so that a power cut leaves no torn file.
        sweep: Whether leftovers of killed writers of `place` are removed first. This looks through the whole folder,
            which is too much for each of many files.

    Raises:
        OutputError: The folder or the disk does not allow it; an older file is as it was.
    """
    number = _number_of_open_file(place)
    with writing(place):
        is_special = number is not None or (place.exists() and not place.is_file())
    if is_special:
        with place.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as file:
            yield file
        return
    with writing(place):
        if place.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                place.stat()  # links in a circle are an OSError here, and a RuntimeError in `resolve`
            place = place.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        if sweep:
            remove_leftovers(place)
        made = _locked_scratch(place)
    scratch = Path(made.name)
    try:
        with writing(place, only_full=True):  # a missing file that the block reads is another error
            yield made
        with writing(place):
            made.flush()
            if durable:
                os.fsync(made.fileno())
            scratch.replace(place)
    finally:
        with contextlib.suppress(OSError):  # what is left in the buffer, of a file that goes away anyway
            made.close()
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(place: Path, only_full: bool = False) -> Iterator[None]:
    """Run code that writes a file or folder. Its errors name that place.

    Args:
        place: The file or folder.
        only_full: Only errors of a full disk are those of `place`.

    Raises:
        OutputError: The folder or the disk does not allow it.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        is_full = error.filename is None and error.errno in FULL
        if not is_full and (only_full or error.errno is None):
            raise
        way_out = "Make room." if error.errno in FULL else "Choose another place."
        raise OutputError(f"{place}: file must be writable, and is not: {error.strerror}. {way_out}") from None


@contextlib.contextmanager
def folder_written_whole(place: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `place` when the block ends, and vanishes when the block raises.

    Its files are on the disk before the exchange. An older folder is there until then.

    Args:
        place: Path of the folder; it has one writer at a time.

    Raises:
        OutputError: The folder or the disk does not allow it, or another process or thread writes this folder now.
    """
    scratch = place.with_name(f".writing-{place.name}")
    with writing(place):
        lock = _locked_folder(scratch, place)
    try:
        with writing(place, only_full=True):
            yield scratch
        with writing(place):
            _flush(scratch)
            replace_folder(scratch, place)
    finally:
        _remove_own(scratch, lock)
        os.close(lock)


def give_mode(folder: Path, mode: int) -> None:
    """Give all files the mode of one that was simply opened: safetensors writes its own for the owner's eyes only."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(stat.S_IMODE(mode))


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; an older `target` is there until the moment of the exchange."""
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    _flush_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def point_at(link: Path, target: Path) -> None:
    """Make `link` a relative link to the folder `target` in one step."""
    scratch = link.with_name(f".writing-{link.name}")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    scratch.replace(link)


def remove_leftovers(place: Path) -> None:
    """Remove scratch files of `place` that nobody writes any more: old ones whose lock is free."""
    pattern = re.compile(re.escape(_scratch_stem(place)) + f"[0-9a-f]{{{_DIGITS}}}")
    newest = time.time() - LEAST_AGE_S
    with contextlib.suppress(OSError), os.scandir(place.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                _remove_if_free(Path(entry.path), newest)


def _remove_if_free(scratch: Path, newest: float) -> None:
    # A writer's lock always ends with its process. Where files cannot be locked, nothing is removed.
    with contextlib.suppress(OSError):
        fd = os.open(scratch, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if os.fstat(fd).st_mtime < newest:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                scratch.unlink()
        finally:
            os.close(fd)


def _scratch_stem(place: Path) -> str:
    """Return how the names of scratch files of `place` begin."""
    return f".{cut_name(place.name, len('..') + _DIGITS)}."


def _number_of_open_file(place: Path) -> int | None:
    """Return the number that `place` names an open file of this process by.

    Where that leads to a file, whoever opened it goes on to write to it: a rename would take it away from them.
    """
    match = _OPEN_FILE.fullmatch(str(place))
    if match is None:
        return None
    return int(match[1]) if match[1] else {"out": 1, "err": 2}[match[2]]


def _locked_scratch(place: Path) -> BinaryIO:
    while True:
        file = place.with_name(_scratch_stem(place) + secrets.token_hex(_DIGITS // 2)).open("x+b")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # Before it was locked, another process may have removed it as a leftover.
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _locked_folder(scratch: Path, place: Path) -> int:
    """Make an empty scratch folder of `place`, and return a handle that holds its lock until it is closed."""
    scratch.mkdir(parents=True, exist_ok=True)
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with contextlib.ExitStack() as closing:
        closing.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _second_writer(place) from None
        except OSError:
            pass  # where folders cannot be locked, one writer is the caller's promise
        if not _is_at(handle, scratch):  # the other writer was done before the lock was free
            raise _second_writer(place)
        for path in scratch.iterdir():  # leftovers of a killed writer
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        closing.pop_all()  # the caller closes it
    return handle


def _remove_own(scratch: Path, lock: int) -> None:
    # After the exchange, a folder of that name is another writer's.
    if _is_at(lock, scratch):
        shutil.rmtree(scratch, ignore_errors=True)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _second_writer(place: Path) -> OutputError:
    return OutputError(
        f"{place}: folder must have one writer at a time, and is being written now. Wait for the other one, or choose "
        "another place."
    )


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _flush_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
