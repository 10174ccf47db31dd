"""What is in many records, counted as they come by: fixed bins and the most frequent values, whatever their number.

Counts of two parts of a data set add up to those of the whole; memory does not grow with the records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import GeometryError
from dcap.geometry.area import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.records.record import Record

_FEW = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
_CHARS = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 2000, 5000)
_SIDES = (0, 64, 128, 256, 384, 512, 640, 768, 1024, 1280, 1600, 2048, 2560, 3200, 4096, 6144, 8192)
_SHARES = (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass
class FixedBins:
    """Counts in bins: bin i holds ``edges[i] <= value < edges[i + 1]``, the last one all from its edge on."""

    edges: tuple[float, ...]
    """Rising; the first is the least value that there can be."""
    counts: list[int] = field(default_factory=list)
    """One per edge."""
    total: float = 0.0
    """Sum of all values."""
    low: float = np.inf
    """Least value."""
    high: float = -np.inf
    """Largest value."""

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.edges)

    def add(self, values: npt.ArrayLike) -> None:
        """Count some values."""
        array = np.asarray(values, np.float64)
        if len(array):
            bins = np.searchsorted(self.edges, array, side="right") - 1
            self._add(np.bincount(bins, minlength=len(self.edges)).tolist())
            self.total += float(array.sum())
            self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))

    def update(self, other: FixedBins) -> None:
        """Add what another one with the same edges counted."""
        self._add(other.counts)
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def _add(self, counts: Sequence[int]) -> None:
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]

    @property
    def number(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        n = self.number
        shown = {"min": self.low, "max": self.high, "mean": self.total / n} if n else {}
        return {"number": n, **shown, "edges": list(self.edges), "counts": self.counts}


@dataclass
class Frequent:
    """The most frequent of many texts.

    At most twice `limit` are held; past that, the rare half is forgotten, and counts are then lower bounds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    """By text."""
    limit: int = 50_000
    """How many are held at least."""
    whole: bool = True
    """Whether nothing was forgotten."""

    def add(self, texts: Iterable[str] | Mapping[str, int]) -> None:
        """Count some texts."""
        self.counts.update(texts)
        if len(self.counts) > 2 * self.limit:
            self.counts = Counter(dict(self.counts.most_common(self.limit)))
            self.whole = False

    def update(self, other: Frequent) -> None:
        """Add what another one counted."""
        self.whole &= other.whole
        self.add(other.counts)

    def most(self, number: int) -> dict[str, int]:
        """Return the most frequent ones, those with the same count in the order of their first appearance."""
        return dict(self.counts.most_common(number))


@dataclass
class Statistics:
    """Histograms and frequent values over good records."""

    vertices: FixedBins = field(default_factory=lambda: FixedBins(_FEW))
    """Points of each polygon and line."""
    object_sizes: FixedBins = field(default_factory=lambda: FixedBins(_SHARES))
    """Square root of the area of each box and polygon over that of its image."""
    objects_per_image: FixedBins = field(default_factory=lambda: FixedBins(_FEW))
    """Objects of each record."""
    caption_chars: FixedBins = field(default_factory=lambda: FixedBins(_CHARS))
    """Characters of each ``desc``."""
    summary_chars: FixedBins = field(default_factory=lambda: FixedBins(_CHARS))
    """Characters of each ``summary``."""
    image_sides: FixedBins = field(default_factory=lambda: FixedBins(_SIDES))
    """Longer side of each image, in pixels."""
    captions: Frequent = field(default_factory=Frequent)
    """Captions."""
    image_sizes: Frequent = field(default_factory=Frequent)
    """Image sizes as ``"640 x 480"``, width first."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> Statistics:
        """Count some records."""
        found = cls()
        shapes = ShapeArray.concatenate([record.shapes for record in records])
        lined = shapes.kinds != GeometryKind.BOX
        found.vertices.add(np.diff(shapes.offsets)[lined])
        found.object_sizes.add(_sizes(shapes, records))
        found.objects_per_image.add([len(record.shapes) for record in records])
        captions = [caption for record in records for caption in record.captions]
        found.caption_chars.add([len(caption) for caption in captions])
        found.summary_chars.add([len(record.summary) for record in records if record.summary is not None])
        found.image_sides.add([max(record.canvas.width, record.canvas.height) for record in records])
        found.captions.add(captions)
        found.image_sizes.add(f"{record.canvas.width} x {record.canvas.height}" for record in records)
        return found

    def update(self, other: Statistics) -> None:
        """Add what was counted in other records."""
        for name in self.__dataclass_fields__:
            getattr(self, name).update(getattr(other, name))

    def to_dict(self, most: int = 50) -> dict[str, Any]:
        """Return them as plain JSON data, with the `most` frequent values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: value.to_dict() if isinstance(value, FixedBins) else value.most(most)
            for name, value in fields.items()
        }  # fmt: skip


def _sizes(shapes: ShapeArray, records: Sequence[Record]) -> npt.NDArray[np.float64]:
    """Return the size of every box and polygon; of a ring that crosses itself millions of times, none."""
    areas = _areas(shapes)
    pixels = np.repeat(
        np.array([record.canvas.num_pixels for record in records], np.float64),
        np.array([len(record.shapes) for record in records], np.int64),
    )
    shares = areas / pixels
    known: npt.NDArray[np.float64] = shares[(shapes.kinds != GeometryKind.LINE) & ~np.isnan(shares)]
    return np.sqrt(known)


def _areas(shapes: ShapeArray) -> npt.NDArray[np.float64]:
    try:
        return area_or_length(shapes)
    except GeometryError:
        if len(shapes) == 1:
            return np.array([np.nan])
        half = len(shapes) // 2
        return np.concatenate([_areas(shapes.take(part)) for part in np.split(np.arange(len(shapes)), [half])])
