"""Indices kept on disk, so that a large file is searched once and its index is shared by all processes.

Owns the layout and places of these files. A wrong index is made again; nothing here stops a run.
Of lines::

    offset  0      8        12      16    24        32     40      72      72 + 8N      72 + 16N
            magic  version  arrays  size  mtime_ns  count  digest  starts  [numbers]    crc32 of all before
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dcap.core.cache import cache_folder
from dcap.core.files import written_whole

T = TypeVar("T")

SUFFIX = ".dcap-index"
LEAST_BYTES = 1 << 20
"""Size of the smallest file whose index is kept: a smaller one is searched in less time than an index is opened."""

_VERSION = 1
_HEADER = struct.Struct("<8sIIqqq32s")
_CHECKSUM = struct.Struct("<I")
_DIGESTED_BYTES = 16 << 10
_MAX_ARRAYS = 1024


class ContentKey(NamedTuple):
    """Key of the file that an index belongs to. Files with equal keys very likely have the same lines."""

    size: int
    mtime_ns: int
    digest: bytes
    """SHA-256 of the first and the last 16 KiB."""

    @classmethod
    def of(cls, fd: int) -> ContentKey:
        """Return the key of an open file."""
        status = os.fstat(fd)
        head = os.pread(fd, _DIGESTED_BYTES, 0)
        tail = os.pread(fd, _DIGESTED_BYTES, max(0, status.st_size - _DIGESTED_BYTES))
        return cls(status.st_size, status.st_mtime_ns, hashlib.sha256(head + tail).digest())

    @classmethod
    def of_file(cls, path: Path) -> ContentKey:
        """Return the key of a file by its path.

        Raises:
            OSError: It cannot be read.
        """
        with path.open("rb") as file:
            return cls.of(file.fileno())


def kept(
    fd: int,
    path: Path,
    load: Callable[[Path, ContentKey], T | None],
    find: Callable[[], T],
    save: Callable[[Path, ContentKey, T], bool],
    least_bytes: int = LEAST_BYTES,
) -> T:
    """Return the index of a file: a saved one, or found and, for a large file, saved.

    It is saved beside the file or, if that folder cannot be written, in the user's cache. If neither can be written, it
    is not saved. Several processes may do this at once.

    Args:
        fd: The file, open.
        path: Its path.
        load: Returns the index at a place if it belongs to a key. `None`: there is none.
        find: Makes the index.
        save: Writes the index to a place; returns whether that was possible.
        least_bytes: Size of the smallest file whose index is kept.
    """
    if os.fstat(fd).st_size < least_bytes:
        return find()
    key, known = ContentKey.of(fd), places(path)
    for place in known:
        if (saved := load(place, key)) is not None:
            return saved
    index = find()
    # No index is kept for a file that is being written, because its lines may still change.
    if ContentKey.of(fd) == key:
        for place in known:
            if save(place, key, index):
                return load(place, key) or index
    return index


def load_arrays(place: Path, magic: bytes, key: ContentKey) -> npt.NDArray[np.int64] | None:
    """Map the arrays of an index into memory: int64 (arrays, N), read-only; None as `load`.

    Args:
        place: Their possible place.
        magic: Kind of the index, 8 bytes.
        key: What it must belong to.
    """
    try:
        with place.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return None
    end = len(data) - _CHECKSUM.size
    if end < _HEADER.size:
        return None
    found, version, num_arrays, *given_key, count, digest = _HEADER.unpack_from(data)
    if (found, version) != (magic, _VERSION) or (*given_key, digest) != key or not num_arrays:
        return None
    if count < 0 or num_arrays > _MAX_ARRAYS or _HEADER.size + 8 * num_arrays * count != end:
        return None
    if _CHECKSUM.unpack_from(data, end) != (zlib.crc32(data[:end]),):
        return None
    return np.frombuffer(data[_HEADER.size : end], np.dtype("<i8")).reshape(num_arrays, count)


def save_arrays(place: Path, magic: bytes, key: ContentKey, arrays: Sequence[npt.NDArray[np.int64]]) -> bool:
    """Write the arrays of an index under another name, then rename it, so that `place` has a whole one at any time.

    It is not flushed to the disk. If a power cut damages it, `load_arrays` finds that out and the index is made again.

    Args:
        place: The final place.
        magic: Kind of the index, 8 bytes.
        key: Key of the file that it belongs to.
        arrays: int64 (N,) each.

    Returns:
        Whether it was written; False where the folder or the disk does not allow it.
    """
    header = _HEADER.pack(magic, _VERSION, len(arrays), key.size, key.mtime_ns, len(arrays[0]), key.digest)
    parts: list[bytes | memoryview] = [header]
    parts += [array.astype("<i8", copy=False).view(np.uint8).data for array in arrays]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    try:
        with written_whole(place, durable=False) as file:
            file.writelines([*parts, _CHECKSUM.pack(checksum)])
    except OSError:
        return False
    return True


def places(path: Path, suffix: str = SUFFIX) -> list[Path]:
    """Return the possible places of something made from a file: beside it, or in the user's cache."""
    found = [path.with_name(path.name + suffix)]
    try:
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
        found.append(cache_folder() / "lines" / f"{name}{suffix}")
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        pass
    return found
