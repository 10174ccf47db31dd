"""Look-alikes: images that show the same picture, found by what little is left of them at 9 x 8 pixels.

::

    image    8 x 8 bits: is a place brighter than the one left of it?    at most 7 differ
             8 x 8 colours                                              none differs by more than 32 of 255

A copy in another size, format or quality looks alike; so does one that is a little brighter or cut by a hundredth. Two
photos of one place seldom do, and mirrored or turned copies never. Bits alone would take all plain images for one.

Source: N. Krawetz, "Kind of Like That", 2013, for the bits (dHash).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dcap.core.parallel import map_in_order
from dcap.geometry.canvas import MAX_PIXELS
from dcap.records.embedded_image import ImageSource
from dcap.records.images import decode_image, read_header

MOST_BITS = 7
"""Most bits that differ between images which look alike, of 64: one of their 8 bytes is then the same."""
MOST_COLOR = 32
"""Most that one of 8 x 8 colours differs between them, of 255."""

_LEAST_SIDE = 128
"""A JPEG is decoded smaller, but not below this."""
_WINDOW = 256
"""Images at least that each image is compared with, in each of 8 orders."""
_COMPARISONS = 1 << 28
"""Comparisons that are made in each order, if fewer are enough for all pairs none is left out."""
_RUN = 16
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclass(frozen=True, eq=False, slots=True)
class Looks:
    """How N images look, in order."""

    bits: npt.NDArray[np.uint64]
    """uint64 (N,)."""
    colors: npt.NDArray[np.uint8]
    """uint8 (N, 192)."""

    @classmethod
    def concatenate(cls, parts: Sequence[Looks]) -> Looks:
        """Join some, in order."""
        empty = cls(np.empty(0, np.uint64), np.empty((0, 192), np.uint8))
        parts = [empty, *parts]
        return cls(np.concatenate([p.bits for p in parts]), np.concatenate([p.colors for p in parts]))

    def __len__(self) -> int:
        return len(self.bits)


def look_at(source: ImageSource, max_pixels: int = MAX_PIXELS) -> Looks:
    """Return how one image looks as it is displayed.

    Args:
        source: The image.
        max_pixels: Bound on height x width.

    Raises:
        ImageError: It cannot be decoded.
    """
    canvas = read_header(source).canvas
    shrink = next((n for n in (8, 4, 2) if min(canvas.height, canvas.width) >= n * _LEAST_SIDE), 1)
    return look_of(decode_image(source, None, max_pixels, shrink=shrink))


def look_of(image: npt.NDArray[np.uint8]) -> Looks:
    """Return how one image looks.

    Args:
        image: uint8 (H, W, 3).
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1]).view(">u8").astype(np.uint64)
    colors = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA)
    return Looks(bits, np.asarray(colors, np.uint8).reshape(1, -1))


def look_at_all(sources: Sequence[Path], num_workers: int = 0, max_pixels: int = MAX_PIXELS) -> Looks:
    """Return how images look, in order; processes share the work.

    Raises:
        ImageError: One cannot be decoded.
        WorkerError: A worker process died.
    """
    runs = [sources[i : i + _RUN] for i in range(0, len(sources), _RUN)]
    return Looks.concatenate(list(map_in_order(partial(_look_at_run, max_pixels), runs, num_workers)))


def _look_at_run(max_pixels: int, sources: Sequence[Path]) -> Looks:
    return Looks.concatenate([look_at(source, max_pixels) for source in sources])


def find_look_alikes(looks: Looks) -> npt.NDArray[np.int64]:
    """Return the first image of the group that each image is of, int64 (N,); an image that is alone is its own group.

    What looks like a look-alike is of the same group. Up to 16 000 images, no pair is missed. With more, a pair may be
    missed if a byte of its bits is also that of thousands of other images; with a million, of hundreds.
    """
    # Every command that can look for look-alikes would start a third of a second later.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(looks):
        return np.empty(0, np.int64)
    pairs = [_equal(looks), *(_alike(looks, 8 * turn) for turn in range(8))]
    first, second = np.concatenate(pairs, axis=1)
    edges = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(len(looks), len(looks)))
    _, group = connected_components(edges, directed=False)
    _, start = np.unique(group, return_index=True)
    return np.asarray(start[group], np.int64)


def _equal(looks: Looks) -> npt.NDArray[np.int64]:
    """Return pairs of images that look the same, int64 (2, P): each with the first of its kind."""
    rows = np.concatenate([looks.bits[:, None].view(np.uint8), looks.colors], axis=1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(looks)), first[inverse.reshape(-1)]])


def _alike(looks: Looks, turn: int) -> npt.NDArray[np.int64]:
    """Return pairs of images that look alike among those whose 8 bits from `turn` on are equal, int64 (2, P)."""
    high, low = np.uint64(turn), np.uint64((64 - turn) % 64)
    turned = (looks.bits << high) | (looks.bits >> low) if turn else looks.bits
    order = np.argsort(turned, kind="stable")
    heads, bits = turned[order] >> np.uint64(56), looks.bits[order]
    found = [np.empty((2, 0), np.int64)]
    window = max(_WINDOW, _COMPARISONS // len(order))
    for step in range(1, min(window, len(order))):
        same = np.flatnonzero(heads[step:] == heads[:-step])
        if not len(same):
            break
        close = same[_num_ones(bits[same] ^ bits[same + step]) <= MOST_BITS]
        first, second = order[close], order[close + step]
        differ = np.abs(looks.colors[first].astype(np.int16) - looks.colors[second]).max(axis=1, initial=0)
        found.append(np.stack([first, second])[:, differ <= MOST_COLOR])
    return np.concatenate(found, axis=1)


def _num_ones(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return how many bits of each value are 1, int64 (N,)."""
    return np.asarray(_ONES[values[:, None].view(np.uint8)].sum(axis=1), np.int64)
