"""WebDataset tar shards with random access: samples of ``key.json`` and ``key.jpg``, read where they lie.

Owns how a sample becomes a record. Which members make a sample is in `dcap.records.files.tar_index`. Nothing is
extracted, and no name of a member is ever used as a path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from dcap.core.errors import ImageError
from dcap.records.files.source import RecordSource
from dcap.records.files.steady_file import SteadyFile
from dcap.records.files.tar_index import TarIndex, open_tar_index
from dcap.records.image_source import MAX_IMAGE_BYTES, EmbeddedImage, Window
from dcap.records.json_line import MAX_LINE_BYTES, Problem
from dcap.records.record import Origin, Record

_BOM = b"\xef\xbb\xbf"


class TarShard(RecordSource):
    """The records of one tar shard, by index.

    ``key.json`` holds the record as a line of JSONL does; the member with the same key and the ending of an image is
    its image, and ``images`` may be left out. A sample without an image names a file, as in JSONL. Origins count
    samples from 1. The index is shared by all processes as that of a JSONL file is.

    Args:
        path: The shard.

    Raises:
        RecordError: The shard is missing, cut or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SteadyFile(path)
        self._index: TarIndex | None = open_tar_index(self._file.fd(), path)

    def __len__(self) -> int:
        return len(self._samples())

    def origin(self, i: int) -> Origin:
        """Return file and sample, from 1, of record `i`."""
        return Origin(str(self.path), range(1, len(self) + 1)[i])

    def line(self, i: int) -> bytes:
        """Return the JSON of record `i` with its ``images``; at most a little more than `MAX_LINE_BYTES`.

        Raises:
            RecordError: The shard has changed since it was opened.
            IndexError: There is no such record.
        """
        fd, index = self._file.fd(), self._samples()
        i = range(len(index))[i]
        start, size, image, _ = index.spans[:, i].tolist()
        if start < 0:
            return b""
        text = os.pread(fd, min(size, MAX_LINE_BYTES + 1), start).removeprefix(_BOM).strip()
        return text if image < 0 else _with_image(text, index.name(i))

    def explain(self, i: int, line: bytes | None = None) -> tuple[Record | None, tuple[Problem, ...]]:
        """Return record `i`, or None and everything that is wrong with it.

        Args:
            i: Which record.
            line: Its `line`, where that is known.

        Raises:
            RecordError: The shard has changed since it was opened.
            IndexError: There is no such record.
        """
        index = self._samples()
        if index.spans[0, i] < 0:
            name = index.name(i)
            return None, (Problem("json", f"must be given: no member with the key of {name} ends in .json"),)
        return super().explain(i, line)

    def embedded(self, i: int) -> EmbeddedImage | None:
        """Return the image of record `i`, or None: the record names a file."""
        index = self._samples()
        i = range(len(index))[i]
        return None if index.spans[2, i] < 0 else EmbeddedImage(f"{index.name(i)} in {self.path.name}", self, i)

    def open_image(self, i: int) -> BinaryIO:
        """Open the image of record `i`.

        Raises:
            ImageError: It has more than `MAX_IMAGE_BYTES`.
            RecordError: The shard has changed since it was opened.
        """
        index = self._samples()
        start, size = index.spans[2:, i].tolist()
        if size > MAX_IMAGE_BYTES:
            name = f"{index.name(i)} in {self.path.name}"
            raise ImageError(f"image {name} must have at most {MAX_IMAGE_BYTES} bytes, not {size}")
        self._file.fd()  # here a change is an error of the shard, later one of the image
        return cast(BinaryIO, Window(self._file.fd, start, size))

    def _samples(self) -> TarIndex:
        if self._index is None:
            self._index = open_tar_index(self._file.fd(), self.path)
        return self._index

    def __getstate__(self) -> dict[str, Any]:
        # A saved index is mapped by the process that gets this, not copied into it.
        index = self._index if self._index is None or not self._index.saved else None
        return {**self.__dict__, "_index": index}

    def __repr__(self) -> str:
        return f"TarShard({str(self.path)!r}, {len(self)} records)"


def _with_image(text: bytes, name: str) -> bytes:
    """Put the name of the image into a record that has none; the rest stays as it is, with its mistakes."""
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
