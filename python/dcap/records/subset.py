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
    keys: dict[int, int] = {}
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


def _in_order(records: CheckedRecords, rows: list[int], keys: Mapping[int, int], seed: int, most: int) -> list[int]:
    """Return rows in the order of their keys. If the first `most` end among equal ones, all of a record decides."""
    ordered = sorted(rows, key=keys.__getitem__)
    if most < len(ordered) and keys[ordered[most - 1]] == keys[ordered[most]]:
        begin, end = (find(ordered, keys[ordered[most]], key=keys.__getitem__) for find in (bisect_left, bisect_right))
        alike = [(_rest(records, k, seed), _picture(records, k, seed), k) for k in ordered[begin:end]]
        ordered[begin:end] = [k for *_, k in sorted(alike)]
    return ordered


def _key(records: CheckedRecords, k: int, seed: int) -> int:
    """Return what record `k` is compared by: its image's name, or the rest of the record where it has none."""
    source, row = records.files[records.file_index[k]], int(records.row_index[k])
    names, image = _NAMED.decode(source.line(row)).images, source.embedded(row)
    if not names or (image is not None and not image.is_named):  # a conversation has no image
        return _rest(records, k, seed)
    return keyed_hash(names[0].encode("utf-8", "surrogatepass"), seed)


def _rest(records: CheckedRecords, k: int, seed: int) -> int:
    """Return a hash of record `k` without its image, the same for all kinds of files."""
    tree = msgspec.json.decode(records.files[records.file_index[k]].line(int(records.row_index[k])))
    tree.pop("images", None)
    return keyed_hash(msgspec.json.encode(_plain(tree), order="deterministic"), seed)


def _picture(records: CheckedRecords, k: int, seed: int) -> int:
    """Return a hash of the image that the file of record `k` holds; 0 where it holds none."""
    image = records.files[records.file_index[k]].embedded(int(records.row_index[k]))
    if image is None:
        return 0
    with image.open() as file:
        return keyed_hash(file.read(), seed)


def _plain(value: Any) -> Any:
    """Write whole numbers alike: a column of Parquet has 2.0 where JSONL may have 2."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
