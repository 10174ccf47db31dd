"""Images inside a container of records: where their bytes are, and how they are opened.

What the bytes hold is in `dcap.records.images`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

MAX_IMAGE_BYTES = 256 << 20
"""Largest image to read from inside a container: larger than any photo, smaller than memory."""


class ImageContainer(Protocol):
    """A file that holds images beside their records; it may be pickled and forked."""

    def open_image(self, i: int) -> BinaryIO:
        """Open the image of record `i`.

        Raises:
            ImageError: The image is larger than `MAX_IMAGE_BYTES`.
            RecordError: The container has changed since it was opened.
        """
        ...


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """An image inside a container. Nothing is read until it is opened."""

    name: str
    """Name of the image and of its container, for messages."""
    container: ImageContainer
    """The container."""
    row: int
    """Its record there, from 0."""
    is_named: bool = True
    """Whether the record names it. If not, the name of its image is made of the container's and the row."""

    def open(self) -> BinaryIO:
        """Open the image.

        Raises:
            ImageError: As the container.
            RecordError: As the container.
        """
        return self.container.open_image(self.row)

    def __str__(self) -> str:
        return self.name


ImageSource = str | Path | EmbeddedImage
"""A source of an image: a file, or a part of a container."""


class ByteRange(io.RawIOBase):
    """A part of an open file, as a file. It reads at explicit offsets, so processes may share the descriptor.

    It allocates no more than the size of the part, even if a damaged header asks for more.

    Args:
        fd: Returns the open file; it stays open when this is closed.
        start: First byte.
        size: Number of bytes.
    """

    def __init__(self, fd: Callable[[], int], start: int, size: int) -> None:
        super().__init__()
        self._fd, self._start, self._size, self._place = fd, start, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the place of the next byte.

        Raises:
            ValueError: The place is before the first byte.
        """
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if place < 0:
            raise ValueError(f"place must be at least 0, not {place}")
        self._place = place
        return place

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; fewer than `size` at the end only."""
        left = max(0, self._size - self._place)
        want = left if size is None or size < 0 else min(size, left)
        data = os.pread(self._fd(), want, self._start + self._place)
        self._place += len(data)
        return data

    def readall(self) -> bytes:
        """Return all bytes from here."""
        return self.read()
