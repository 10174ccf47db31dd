"""A part of many records: those whose images have the smallest hashes.

::

    image      a.jpg  b.jpg  c.jpg  d.jpg        of the path as written, and the seed
    hash          71     12     95     40        limit 2: b.jpg and d.jpg
    with e.jpg, hash 33                          limit 2: b.jpg and e.jpg

The choice does not depend on the order of records, nor on names and kinds of files. A record that is added takes the
place of one at most. Where two records show one image, or a Parquet file holds images without names, the rest of the
record decides, and where that is equal too, the image.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from dcap.core.random import keyed_hash
from dcap.records.checking import CheckedRecords

I64 = npt.NDArray[np.int64]


class _Named(msgspec.Struct):
    """What a line says about its image."""

    images: list[str] = []


_NAMED = msgspec.json.Decoder(_Named)


def limited(records: CheckedRecords, limits: Sequence[tuple[int, int, int | None]], seed: int) -> CheckedRecords:
    """Return at most some of the records, in their order. With tiles, an image counts once and keeps all its tiles.

    Args:
        records: Good records.
        limits: One after the other: start and stop of a run of `records`, and how many images of it may stay at most;
            `None`: all.
        seed: Non-negative integer; another one chooses other records.
    """
    if all(most is None for *_, most in limits):
        return records
    image = _image_of(records)
    stays = np.ones(len(records), np.bool_)
    keys: dict[int, tuple[int, int]] = {}
    for start, stop, most in limits:
        if most is None:
            continue
        images = np.unique(image[start:stop][stays[start:stop]])
        firsts = np.searchsorted(image, images).tolist()
        for first in firsts:
            keys.setdefault(first, _key(records, first, seed))
        left_out = image[_in_order(records, firsts, keys, seed, most)[most:]]
        stays &= ~np.isin(image, left_out)
    rows = np.flatnonzero(stays)
    return records.take(rows, len(np.unique(image)) - len(np.unique(image[rows])))


def _image_of(records: CheckedRecords) -> I64:
    """Return the number of the image that each record or tile shows, int64 (N,)."""
    if records.tile_index is None:
        return np.arange(len(records))
    return np.cumsum(records.tile_index == 0) - 1


def _in_order(
    records: CheckedRecords, rows: list[int], keys: Mapping[int, tuple[int, int]], seed: int, most: int
) -> list[int]:
    """Return rows in the order of their keys. If the first `most` end among equal ones, images decide about these."""
    ordered = sorted(rows, key=keys.__getitem__)
    if most < len(ordered) and keys[ordered[most - 1]] == keys[ordered[most]]:
        begin, end = (find(ordered, keys[ordered[most]], key=keys.__getitem__) for find in (bisect_left, bisect_right))
        ordered[begin:end] = sorted(ordered[begin:end], key=lambda k: _picture(records, k, seed))
    return ordered


def _key(records: CheckedRecords, k: int, seed: int) -> tuple[int, int]:
    """Return what record `k` is compared by: its image's name, if it has one, and the rest of the record."""
    source, row = records.files[records.file_index[k]], int(records.row_index[k])
    line, image = source.line(row), source.embedded(row)
    rest = keyed_hash(_without_image(line), seed)
    if image is not None and not image.is_named:
        return rest, 0
    name = "".join(_NAMED.decode(line).images[:1])  # a conversation has none
    return keyed_hash(name.encode("utf-8", "surrogatepass"), seed), rest


def _picture(records: CheckedRecords, k: int, seed: int) -> int:
    """Return a hash of the image that the file of record `k` holds; 0 where it holds none."""
    image = records.files[records.file_index[k]].embedded(int(records.row_index[k]))
    if image is None:
        return 0
    with image.open() as file:
        return keyed_hash(file.read(), seed)


def _without_image(line: bytes) -> bytes:
    """Return the text of a record without its image, the same for all kinds of files."""
    tree = msgspec.json.decode(line)
    tree.pop("images", None)
    return msgspec.json.encode(_plain(tree), order="deterministic")


def _plain(value: Any) -> Any:
    """Write whole numbers alike: a column of Parquet has 2.0 where JSONL may have 2."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
