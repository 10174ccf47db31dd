"""Duplicate records and images, found by hashes of 8 bytes, so that millions of records fit into memory.

Two different records may have equal hashes: that is expected in one of 400 000 data sets of ten million records.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from dcap.core.errors import ImageError
from dcap.core.parallel import map_in_order
from dcap.records.files.source import RecordSource
from dcap.records.look_alikes import Looks, find_look_alikes, look_at
from dcap.records.record import Record, image_path, image_source

_BLOCK_BYTES = 1 << 20
_IMAGES_OF_A_RUN = 32
NO_IMAGE = -1
"""Stands for the size of an image file that was not checked."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Hashes and sizes of some records and their images: N records in order, without the bad ones."""

    place: npt.NDArray[np.int64]
    """int64 (N, 2): file and row of the record."""
    record: npt.NDArray[np.uint64]
    """uint64 (N,): hash of the line."""
    path: npt.NDArray[np.uint64]
    """uint64 (N,): hash of the image's absolute path."""
    size: npt.NDArray[np.int64]
    """int64 (N,): bytes of the image file, or `NO_IMAGE`."""

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, bytes, Record]], with_images: bool) -> Fingerprints:
        """Take the fingerprints of (file, row, line, record).

        Args:
            rows: Good records.
            with_images: Whether the sizes of image files are taken too.
        """
        found = []
        for f, row, line, record in rows:
            path = _path_of(record)
            size = _size(record) if with_images else NO_IMAGE
            whole = line if record.embedded is None else line + path  # an image inside is a part of its record
            found.append((f, row, _hash(whole), _hash(path), size))
        columns = list(zip(*found, strict=True)) or [()] * 5
        return cls(
            np.array(columns[:2], np.int64).reshape(2, -1).T,
            np.array(columns[2], np.uint64), np.array(columns[3], np.uint64), np.array(columns[4], np.int64),
        )  # fmt: skip

    @classmethod
    def concatenate(cls, parts: Sequence[Fingerprints]) -> Fingerprints:
        """Join the fingerprints of several runs, in order."""
        empty = cls.of((), with_images=False)
        names = cls.__slots__
        return cls(*(np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in names))

    def __len__(self) -> int:
        return len(self.record)


Pairs = list[tuple[int, int]]
"""(i, first): item `i` is the same as the earlier item `first`; ordered by `i`."""


def repeats(keys: npt.NDArray[np.generic]) -> Pairs:
    """Return each item that has the key of an earlier one, with the first of them."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    earlier = first[inverse.reshape(-1)]
    late = np.flatnonzero(earlier != np.arange(len(keys)))
    return list(zip(late.tolist(), earlier[late].tolist(), strict=True))


def same_images(
    prints: Fingerprints,
    files: Sequence[RecordSource],
    num_workers: int = 0,
    track: Callable[[Iterator[list[bytes]], int], Iterable[list[bytes]]] = lambda made, _: made,
) -> Pairs:
    """Return the image files with the same bytes as an earlier one. Only files of equal size are read.

    Args:
        prints: Of the records.
        files: Their files.
        num_workers: Processes that read.
        track: Wraps the results to show progress. It gets the results of all runs of images and their number.

    Returns:
        Pairs of records, one for each file. A path that several records name counts once.
    """
    _, distinct = np.unique(prints.path, return_index=True)
    distinct = np.sort(distinct[prints.size[distinct] >= 0])
    _, inverse, counts = np.unique(prints.size[distinct], return_inverse=True, return_counts=True)
    alike = distinct[counts[inverse.reshape(-1)] > 1]
    runs = [prints.place[alike[i : i + _IMAGES_OF_A_RUN]] for i in range(0, len(alike), _IMAGES_OF_A_RUN)]
    made = map_in_order(partial(_contents, files), runs, num_workers)
    hashes = [value for run in track(made, len(runs)) for value in run]
    # A file that has disappeared in the meantime equals no other.
    known = np.array([i for i, value in enumerate(hashes) if value], np.int64)
    keys = np.array([np.frombuffer(hashes[i], np.uint64)[0] for i in known], np.uint64)
    return [(int(alike[known[i]]), int(alike[known[first]])) for i, first in repeats(keys)]


@dataclass(frozen=True, eq=False, slots=True)
class RecordLooks:
    """How the images of N records look."""

    looks: Looks
    """Of those that could be decoded, each file once."""
    row: npt.NDArray[np.int64]
    """int64 (N,): which of `looks` is that of each record. -1: none; an earlier record names the image too, or it
    cannot be decoded."""

    @classmethod
    def of(
        cls, prints: Fingerprints, files: Sequence[RecordSource], max_pixels: int, num_workers: int = 0
    ) -> RecordLooks:
        """Decode the images of some records.

        Args:
            prints: Of the records.
            files: Their files.
            max_pixels: Bound on height x width. A larger image is left out, and so is one that cannot be decoded.
            num_workers: Processes that decode.
        """
        _, distinct = np.unique(prints.path, return_index=True)
        distinct = np.sort(distinct[prints.size[distinct] >= 0])
        runs = [prints.place[distinct[i : i + _IMAGES_OF_A_RUN]] for i in range(0, len(distinct), _IMAGES_OF_A_RUN)]
        made = [each for run in map_in_order(partial(_looks, files, max_pixels), runs, num_workers) for each in run]
        row = np.full(len(prints), -1, np.int64)
        seen = distinct[[each is not None for each in made]]
        row[seen] = np.arange(len(seen))
        return cls(Looks.concatenate([each for each in made if each is not None]), row)

    @classmethod
    def concatenate(cls, parts: Sequence[RecordLooks]) -> RecordLooks:
        """Join those of several runs of records, in order."""
        starts = np.cumsum([0, *(len(part.looks) for part in parts)])[:-1]
        rows = [np.where(part.row < 0, -1, part.row + start) for part, start in zip(parts, starts, strict=True)]
        return cls(Looks.concatenate([part.looks for part in parts]), np.concatenate([np.empty(0, np.int64), *rows]))


def alike_images(prints: Fingerprints, known: RecordLooks) -> Pairs:
    """Return the images that look like an earlier one, each with the first that does.

    Args:
        prints: Of the records.
        known: How the images look.

    Returns:
        Pairs of records, one for each file. A path that several records name counts once.
    """
    _, distinct = np.unique(prints.path, return_index=True)
    distinct = np.sort(distinct[known.row[distinct] >= 0])
    row = known.row[distinct]
    group = find_look_alikes(Looks(known.looks.bits[row], known.looks.colors[row])).tolist()
    return [(int(distinct[i]), int(distinct[first])) for i, first in enumerate(group) if first != i]


def _looks(files: Sequence[RecordSource], max_pixels: int, places: npt.NDArray[np.int64]) -> list[Looks | None]:
    return [_look(files[f][row], max_pixels) for f, row in places.tolist()]


def _look(record: Record, max_pixels: int) -> Looks | None:
    try:
        return look_at(image_source(record), max_pixels)
    except ImageError:  # another check names it
        return None


def same_objects(record: Record) -> Iterator[tuple[int, int]]:
    """Yield each object with the earlier one that has the same caption and points."""
    if len(set(record.captions)) == len(record.captions):
        return
    seen: dict[tuple[str, int, bytes], int] = {}
    for i, (kind, points) in enumerate(record.shapes):
        first = seen.setdefault((record.captions[i], int(kind), points.tobytes()), i)
        if first != i:
            yield i, first


def _path_of(record: Record) -> bytes:
    """Return the absolute path of the image or, inside a container, its place there."""
    if record.embedded is not None:
        return f"{os.path.abspath(record.origin.file)}:{record.origin.line}".encode("utf-8", "surrogatepass")
    return os.path.abspath(image_path(record)).encode("utf-8", "surrogatepass")


def _open(record: Record) -> BinaryIO:
    return record.embedded.open() if record.embedded is not None else image_path(record).open("rb")


def _size(record: Record) -> int:
    try:
        if record.embedded is None:
            return image_path(record).stat().st_size
        with record.embedded.open() as file:
            return file.seek(0, os.SEEK_END)
    except (OSError, ImageError):
        return NO_IMAGE


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _contents(files: Sequence[RecordSource], places: npt.NDArray[np.int64]) -> list[bytes]:
    """Return a hash of the size and content of each record's image; empty where it cannot be read."""
    return [_content(files[f][row]) for f, row in places.tolist()]


def _content(record: Record) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    try:
        with _open(record) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
            digest.update(file.tell().to_bytes(8, "little"))
    except (OSError, ImageError):
        return b""
    return digest.digest()
