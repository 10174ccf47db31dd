"""WebDataset tar shards with random access: samples of ``key.json`` and ``key.jpg``, read in place.

Owns which members make a sample (members in a row with one key, as WebDataset groups them), and how a sample becomes a
record. Shards are searched once, by their headers. Nothing is extracted, and no member name is ever used as a path.
Links, devices and sparse files are skipped.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import numpy.typing as npt

from dcap.core.errors import ImageError, RecordError
from dcap.records.embedded_image import MAX_IMAGE_BYTES, ByteRange, EmbeddedImage
from dcap.records.files.saved_index import LEAST_BYTES, ContentKey, kept, load_arrays, save_arrays
from dcap.records.files.source import RecordSource
from dcap.records.files.steady_file import SteadyFile
from dcap.records.json_line import MAX_LINE_BYTES, Problem
from dcap.records.record import Origin, Record

IMAGE_ENDINGS = frozenset(
    ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif", "mpo")
)
"""Endings of the members that are images."""

_MAGIC = b"dcaptar2"
_SAMPLE = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)|(?:.*/)?[.]_[^/]*$", re.DOTALL)
"""Names of members that hold no data: WebDataset's own, and what macOS keeps beside a file, ``._NAME``."""
_HEADER_BYTES = 1 << 20
_NAME_BYTES = 4096
_WHOLE = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_NONE = -1
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_BOM = b"\xef\xbb\xbf"


class TarShard(RecordSource):
    """The records of one tar shard, by index.

    ``key.json`` holds the record as a line of JSONL does; the member with the same key and the ending of an image is
    its image, and ``images`` may be left out. A sample without an image names a file, as in JSONL. Origins count
    samples from 1. The index is shared by all processes as that of a JSONL file is.

    Args:
        path: The shard.
        max_image_bytes: Largest image that is opened.
        index_from: Size in bytes from which the shard's index is kept on disk.

    Raises:
        RecordError: The shard is missing, cut or damaged.
    """

    def __init__(self, path: Path, max_image_bytes: int = MAX_IMAGE_BYTES, index_from: int = LEAST_BYTES) -> None:
        self.path, self.max_image_bytes, self._index_from = path, max_image_bytes, index_from
        self._file = SteadyFile(path)
        self._index: TarIndex | None = open_tar_index(self._file.fd(), path, index_from)

    def __len__(self) -> int:
        return len(self._samples())

    def origin(self, i: int) -> Origin:
        """Return file and sample, from 1, of record `i`."""
        return Origin(str(self.path), self._row(i) + 1)

    def line(self, i: int) -> bytes:
        """Return the JSON of record `i` with its ``images``; at most a little more than `MAX_LINE_BYTES`.

        Raises:
            RecordError: The shard has changed since it was opened.
            IndexError: There is no such record.
        """
        fd, index = self._file.fd(), self._samples()
        i = self._row(i)
        start, size, image, _ = index.spans[:, i].tolist()
        if start < 0:
            return b""
        text = os.pread(fd, min(size, MAX_LINE_BYTES + 1), start).removeprefix(_BOM).strip()
        return text if image < 0 else _with_image(text, index.name(i))

    def explain(
        self, i: int, line: bytes | None = None, *, text: bool = False
    ) -> tuple[Record | None, tuple[Problem, ...]]:
        """Return record `i`, or `None` and all its problems.

        Args:
            i: Which record.
            line: Its `line`, where that is known.
            text: Read a conversation, and nothing else.

        Raises:
            RecordError: The shard has changed since it was opened.
            IndexError: There is no such record.
        """
        index, i = self._samples(), self._row(i)
        if index.spans[0, i] < 0:
            return None, (Problem("json", _no_json(index.name(i))),)
        return super().explain(i, line, text=text)

    def embedded(self, i: int) -> EmbeddedImage | None:
        """Return the image of record `i`. `None`: the record names a file."""
        index = self._samples()
        i = self._row(i)
        return None if index.spans[2, i] < 0 else EmbeddedImage(f"{index.name(i)} in {self.path.name}", self, i)

    def open_image(self, i: int) -> BinaryIO:
        """Open the image of record `i`.

        Raises:
            ImageError: It has more than `max_image_bytes`.
            RecordError: The shard has changed since it was opened.
        """
        index = self._samples()
        start, size = index.spans[2:, i].tolist()
        if size > self.max_image_bytes:
            name = f"{index.name(i)} in {self.path.name}"
            raise ImageError(f"image {name} must have at most {self.max_image_bytes} bytes, not {size}")
        self._file.fd()  # here a change is an error of the shard, later one of the image
        return cast(BinaryIO, ByteRange(self._file.fd, start, size))

    def _samples(self) -> TarIndex:
        if self._index is None:
            self._index = open_tar_index(self._file.fd(), self.path, self._index_from)
        return self._index

    def __getstate__(self) -> dict[str, Any]:
        # A saved index is mapped by the process that gets this, not copied into it.
        index = self._index if self._index is None or not self._index.saved else None
        return {**self.__dict__, "_index": index}

    def __repr__(self) -> str:
        return f"TarShard({str(self.path)!r}, {len(self)} records)"


def _no_json(name: str) -> str:
    """Return why a sample has no record. A member's key ends at the first dot of its name."""
    key, *endings = name.rpartition("/")[2].split(".")
    text = f"must be given: no member with the key of {name} ends in .json"
    if len(endings) > 1:
        better = "_".join((key, *endings[:-1]))
        text += f". That key is {key}: it ends at the first dot. Name members with one dot, such as {better}.json"
    return text


def _with_image(text: bytes, name: str) -> bytes:
    """Put the name of the image into a record without one. The rest stays, with its mistakes."""
    if not text.startswith(b"{") or _names_images(text):
        return text
    rest = text[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b", "
    return b'{"images": ' + msgspec.json.encode([name]) + comma + rest


def _names_images(text: bytes) -> bool:
    if b'"images"' not in text:
        return False
    try:
        return "images" in msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # said when the record is read


@dataclass(frozen=True, slots=True, eq=False)
class TarIndex:
    """The samples of a shard.

    ::

        members   0.jpg  0.json  1.json  1.txt  2.jpg
        spans     [json start, json size, image start, image size] of samples 0, 1, 2; -1 for what is not there
        names     0.jpg          1.json         2.jpg
    """

    spans: npt.NDArray[np.int64]
    """Bytes in the shard, int64 (4, N), read-only."""
    names: npt.NDArray[np.bytes_]
    """Name of the image or, without one, of the first member, UTF-8 (N,), read-only."""
    saved: bool = False
    """Whether the arrays are pages of a file that other processes can map too."""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, i: int) -> str:
        """Return the name of the image of sample `i`, or of its first member."""
        return bytes(self.names[i]).decode("utf-8", "replace")


def open_tar_index(fd: int, path: Path, least_bytes: int = LEAST_BYTES) -> TarIndex:
    """Return the samples of an open shard: from its saved index, or found and, from `least_bytes` on, saved.

    Raises:
        RecordError: As `find_samples`.
    """
    return kept(fd, path, _load, lambda: find_samples(fd, path), _save, least_bytes)


def find_samples(fd: int, path: Path) -> TarIndex:
    """Find the samples of an open shard by reading its headers once.

    Raises:
        RecordError: The shard is cut or damaged, or a sample has two members of one kind; the message names the place.
    """
    samples: list[_Sample] = []
    for member, name in _members(fd, path):
        match = _SAMPLE.fullmatch(name)
        if match is None or _META.match(name):
            continue
        if not samples or samples[-1].key != match[1]:
            samples.append(_Sample(match[1], name))
        samples[-1].add(match[2].lower(), member, name, path)
    names = [sample.name.encode("utf-8", "replace") for sample in samples]
    width = max(map(len, names), default=1)
    width += -width % 8
    spans = np.array([sample.json + sample.image for sample in samples], np.int64).reshape(-1, 4).T.copy()
    return _read_only(spans, np.array(names, f"S{width}"))


@dataclass(slots=True)
class _Sample:
    key: str
    name: str
    json: tuple[int, int] = (_NONE, _NONE)
    image: tuple[int, int] = (_NONE, _NONE)
    endings: set[str] = field(default_factory=set)

    def add(self, ending: str, member: tarfile.TarInfo, name: str, path: Path) -> None:
        span = (member.offset_data, member.size)
        twice = ending in self.endings or (ending in IMAGE_ENDINGS and self.image[0] != _NONE)
        if twice:
            kind = "image" if ending in IMAGE_ENDINGS else f".{ending}"
            raise RecordError(
                f"{path}: sample {self.key!r} must have one {kind} member, and {name} at byte {member.offset} is "
                "another. A key ends at the first dot of a name: give each image a key of its own."
            )
        self.endings.add(ending)
        if ending == "json":
            self.json = span
        elif ending in IMAGE_ENDINGS:
            self.image, self.name = span, name


class _Headers(ByteRange):
    """The file that tarfile reads: no header may ask for much memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"header of {size} bytes")
        return super().read(size)


def _members(fd: int, path: Path) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Yield the plain files of a shard with their names: of all its archives, where ``cat`` joined several."""
    size = os.fstat(fd).st_size
    start: int | None = 0
    while start is not None:
        end = yield from _archive(fd, path, start, size)
        start = _next_archive(fd, end, size)


def _archive(fd: int, path: Path, start: int, size: int) -> Generator[tuple[tarfile.TarInfo, str], None, int]:
    """Yield the plain files of the archive that begins at a byte; return the byte where its end is marked."""
    place = start
    try:
        headers = cast(BinaryIO, _Headers(lambda: fd, 0, size))
        headers.seek(start)
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="replace") as tar:
            while (member := tar.next()) is not None:
                if member.offset < place or member.size < 0 or len(member.name) > _NAME_BYTES:
                    raise tarfile.ReadError("a header that cannot be")
                place = member.offset
                if member.offset_data + (member.size if member.type in _WHOLE else 0) > size:
                    raise tarfile.ReadError(f"{member.name} has {member.size} bytes there")
                tar.members = []  # type: ignore[attr-defined]
                if member.type in _WHOLE and not member.issparse():
                    yield member, member.name
            place = tar.offset
            if os.pread(fd, tarfile.BLOCKSIZE, place).strip(b"\0") or place + tarfile.BLOCKSIZE > size:
                raise tarfile.ReadError("no end of the archive there")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if os.pread(fd, 6, 0).startswith(_COMPRESSED):
            raise RecordError(f"{path}: shard must be a plain tar file, not a compressed one. Decompress it.") from None
        raise RecordError(
            f"{path}: shard must be a whole tar file, not cut or damaged at byte {place} of {size} ({error}). "
            "Copy it again, or write it again."
        ) from None
    return place


def _next_archive(fd: int, end: int, size: int) -> int | None:
    """Return the byte of the first block behind an end that is not empty. `None`: the file ends there too."""
    for start in range(end, size, _HEADER_BYTES):
        data = os.pread(fd, _HEADER_BYTES, start)
        if rest := len(data.lstrip(b"\0")):
            return start + (len(data) - rest) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    return None


def _load(place: Path, key: ContentKey) -> TarIndex | None:
    rows = load_arrays(place, _MAGIC, key)
    if rows is None or len(rows) < 5:
        return None
    spans = rows[:4]
    for start, size in (spans[:2], spans[2:]):
        there = start != _NONE
        if (start < _NONE).any() or (size[there] < 0).any() or (size[there] > key.size - start[there]).any():
            return None
    return _read_only(spans, rows[4:].reshape(-1).view(f"S{8 * (len(rows) - 4)}"), saved=True)


def _save(place: Path, key: ContentKey, index: TarIndex) -> bool:
    words = index.names.view(np.int64).reshape(index.names.itemsize // 8, -1)
    return save_arrays(place, _MAGIC, key, [*index.spans, *words])


def _read_only(spans: npt.NDArray[np.int64], names: npt.NDArray[np.bytes_], saved: bool = False) -> TarIndex:
    spans.setflags(write=False)
    names.setflags(write=False)
    return TarIndex(spans, names, saved)
