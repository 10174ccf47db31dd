"""A part of many records: those whose images have the smallest hashes.

::

    image      a.jpg  b.jpg  c.jpg  d.jpg        of the path as written, and the seed
    hash          71     12     95     40        limit 2: b.jpg and d.jpg
    with e.jpg, hash 33                          limit 2: b.jpg and e.jpg

The choice does not depend on the order of records and files. A record that is added takes the place of one at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from dcap.core.random import keyed_hash
from dcap.records.checking import CheckedRecords

I64 = npt.NDArray[np.int64]


class _Named(msgspec.Struct):
    """What a line says about its image."""

    images: list[str]


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
        for first in np.searchsorted(image, images).tolist():
            keys.setdefault(int(image[first]), _key(records, first, seed))
        left_out = sorted(images.tolist(), key=keys.__getitem__)[most:]
        stays &= ~np.isin(image, left_out)
    rows = np.flatnonzero(stays)
    return records.take(rows, len(np.unique(image)) - len(np.unique(image[rows])))


def _image_of(records: CheckedRecords) -> I64:
    """Return the number of the image that each record or tile shows, int64 (N,)."""
    if records.tile_index is None:
        return np.arange(len(records))
    return np.cumsum(records.tile_index == 0) - 1


def _key(records: CheckedRecords, k: int, seed: int) -> tuple[int, int]:
    """Return what record `k` is compared by: its image, and the whole line where two records show one image."""
    line = records.files[records.file_index[k]].line(int(records.row_index[k]))
    name = _NAMED.decode(line).images[0]
    return keyed_hash(name.encode("utf-8", "surrogatepass"), seed), keyed_hash(line, seed)
