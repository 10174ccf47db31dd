r"""Compressed JSONL: decompressed once into a file that is read like any other JSONL.

Owns that file. It is ``NAME.dcap-text`` beside the compressed file or, if that folder cannot be written, in the user's
cache. Its first line says what it was made from. It is made again when the compressed file changes::

    dcap-text 1 <size> <mtime_ns> <SHA-256 of both ends> <bytes of text> \n text
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dcap.core.errors import MissingPackageError, RecordError
from dcap.core.files import remove_leftovers, require_file, written_whole
from dcap.core.log import get_logger
from dcap.core.packages import install_command
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.saved_index import ContentKey, places

log = get_logger(__name__)

SUFFIX = ".dcap-text"
FREE_TEXT_BYTES = 64 << 20
"""Bytes of text that any file may hold."""
MAX_RATIO = 200
"""A file may hold this many times its own size in addition. Records shrink 5 to 20 times."""
FREE_DISK_BYTES = 1 << 30
"""Decompression stops before the disk has less room than this."""

_HEADER_BYTES = 160
_CHUNK_BYTES = 1 << 20
_ZSTD_INPUT_BYTES = 2 << 10
"""Bytes of a zstd frame to read at a time. Each 4 bytes may hold 128 KiB of text, so these hold 64 MiB at most."""
_ZSTD_WINDOW_BYTES = 128 << 20


def open_compressed(
    path: Path, free_text_bytes: int = FREE_TEXT_BYTES, free_disk_bytes: int = FREE_DISK_BYTES
) -> JsonlFile:
    """Open a JSONL file that gzip or zstd compressed; origins name it and its lines.

    Memory is bounded. Processes that open the file at once wait for one that decompresses it.

    Args:
        path: The compressed file.
        free_text_bytes: Text that any file may hold; a large one may hold `MAX_RATIO` times its size more.
        free_disk_bytes: Decompression stops before the disk has less room than this.

    Raises:
        RecordError: The file cannot be read, is truncated or damaged, or holds too much text.
        MissingPackageError: zstandard is not installed.
    """
    require_file(path, "file", RecordError, "Relative paths start at the current folder.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise RecordError(f"{path}: file must be readable, not {error.strerror}") from None
    with file:
        # Held until the file is closed. It is only a courtesy: other processes save the work and the disk space.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        return JsonlFile(_text_of(path, file, free_text_bytes, free_disk_bytes), path, _HEADER_BYTES)


def _text_of(path: Path, file: BinaryIO, free_text: int, free_disk: int) -> Path:
    """Return the place of the text; decompress it now if it is not there yet."""
    key = ContentKey.of(file.fileno())
    failures = []
    for place in places(path, SUFFIX):
        remove_leftovers(place)
        if _is_text_of(place, key):
            return place
    for place in places(path, SUFFIX):
        try:
            _decompress(path, file, place, free_text + MAX_RATIO * key.size, free_disk)
        except OSError as error:
            failures.append(f"{place.parent}: {error.strerror or error}")
        else:
            return place
    raise RecordError(
        f"{path}: file must be decompressed to be read, and there is no place for its text ({'; '.join(failures)}). "
        "Make room, or set XDG_CACHE_HOME to a folder that has it."
    )


def _header(key: ContentKey, num_bytes: int) -> bytes:
    line = f"dcap-text 1 {key.size} {key.mtime_ns} {key.digest.hex()} {num_bytes}"
    return line.encode().ljust(_HEADER_BYTES - 1) + b"\n"


def _is_text_of(place: Path, key: ContentKey) -> bool:
    try:
        with place.open("rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size - _HEADER_BYTES
            return file.read(_HEADER_BYTES) == _header(key, num_bytes)
    except OSError:
        return False


def _decompress(path: Path, file: BinaryIO, place: Path, limit: int, free_disk: int) -> None:
    key, num_bytes = ContentKey.of(file.fileno()), 0
    with written_whole(place) as out:
        out.write(bytes(_HEADER_BYTES))
        for chunk in _chunks(path, file):
            num_bytes += len(chunk)
            if num_bytes > limit:
                raise RecordError(
                    f"{path}: file must hold at most {limit} bytes of text, {MAX_RATIO} times its "
                    f"size and {limit - MAX_RATIO * key.size}, not more. Decompress it yourself if it is sound, and "
                    "name the result."
                )
            if shutil.disk_usage(place.parent).free - len(chunk) < free_disk:
                raise OSError(f"less than {free_disk} bytes would be left free")
            out.write(chunk)
        out.seek(0)
        out.write(_header(key, num_bytes))
        if ContentKey.of(file.fileno()) != key:
            raise RecordError(f"{path}: file must not change while it is in use. Start again.")
    log.info("%s: decompressed into %s", path, place)


def _chunks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    read, broken = (_gzip, _GZIP_ERRORS) if path.suffix == ".gz" else (_zstd, _zstd_errors())
    try:
        if not os.fstat(file.fileno()).st_size:
            raise EOFError("it is empty")
        yield from read(file)
    except broken as error:
        head = os.pread(file.fileno(), 4, 0)
        if len(head) == 4 and not head.startswith(_MAGICS[path.suffix]):
            raise RecordError(
                f"{path}: file must be compressed with {_PROGRAMS[path.suffix]}, as its name says, and is not. Name it "
                "by what it holds, or compress it."
            ) from None
        why = str(error).partition(" (b")[0]  # Python's gzip shows bytes
        raise RecordError(
            f"{path}: file must be a whole {path.suffix[1:]} archive, not truncated or damaged ({why}). "
            "Copy it again, or compress it again."
        ) from None


# Of zstd there is a second one, of frames that only other programs read.
_MAGICS = {".gz": (b"\x1f\x8b",), ".zst": (b"\x28\xb5\x2f\xfd", b"\x50", b"\x51", b"\x52", b"\x53")}
_PROGRAMS = {".gz": "gzip", ".zst": "zstd"}
_GZIP_ERRORS = (gzip.BadGzipFile, zlib.error, EOFError)


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        while chunk := unpacked.read(_CHUNK_BYTES):
            yield chunk


def _zstd_errors() -> tuple[type[Exception], ...]:
    try:
        from zstandard import ZstdError
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"zstandard must be installed to read .zst files, and it is not. Run: {install_command('formats')}"
        ) from None
    return (ZstdError, EOFError)


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    """Decompress frame after frame; zstandard's own stream reader takes a truncated frame for a whole one."""
    from zstandard import ZstdDecompressor

    made, frame, data = ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES), None, b""
    while data := data or file.read(_ZSTD_INPUT_BYTES):
        frame = frame or made.decompressobj()
        yield frame.decompress(data)
        data = frame.unused_data if frame.eof else b""
        frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("it ends inside a frame")
