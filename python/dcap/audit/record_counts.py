"""Counts over many records: histograms and the most frequent values.

Counts of two parts of a data set add up to those of the whole. Memory does not grow with the number of records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import GeometryError
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.records.record import Record
from dcap.view.charts import Histogram

Measure = Callable[[ShapeArray], npt.NDArray[np.float64]]

_FEW = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
_CHARS = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 2000, 5000)
_SIDES = (0, 64, 128, 256, 384, 512, 640, 768, 1024, 1280, 1600, 2048, 2560, 3200, 4096, 6144, 8192)
_SHARES = (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass
class Frequent:
    """The most frequent of many texts.

    At most twice `limit` texts are held. Beyond that the rare ones are forgotten, and counts are lower bounds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    """By text."""
    limit: int = 50_000
    """Least number of texts that are held."""
    whole: bool = True
    """Whether nothing was forgotten."""

    def add(self, texts: Iterable[str] | Mapping[str, int]) -> None:
        """Count some texts."""
        self.counts.update(texts)
        if len(self.counts) > 2 * self.limit:
            self.counts = Counter(dict(self.counts.most_common(self.limit)))
            self.whole = False

    def update(self, other: Frequent) -> None:
        """Add the counts of another one."""
        self.whole &= other.whole
        self.add(other.counts)

    def most(self, number: int) -> dict[str, int]:
        """Return the most frequent texts. Those with equal counts come in the order of their first appearance."""
        return dict(self.counts.most_common(number))


@dataclass
class RecordCounts:
    """Histograms and frequent values over good records."""

    vertices: Histogram = field(default_factory=lambda: Histogram.in_bins(_FEW))
    """Points of each polygon and line."""
    object_sizes: Histogram = field(default_factory=lambda: Histogram.in_bins(_SHARES))
    """Square root of the area of each box and polygon, divided by that of its image."""
    objects_per_image: Histogram = field(default_factory=lambda: Histogram.in_bins(_FEW))
    """Objects of each record."""
    caption_chars: Histogram = field(default_factory=lambda: Histogram.in_bins(_CHARS))
    """Characters of each ``desc``."""
    summary_chars: Histogram = field(default_factory=lambda: Histogram.in_bins(_CHARS))
    """Characters of each ``summary``."""
    image_sides: Histogram = field(default_factory=lambda: Histogram.in_bins(_SIDES))
    """Longer side of each image, in pixels."""
    captions: Frequent = field(default_factory=Frequent)
    """Captions."""
    image_sizes: Frequent = field(default_factory=Frequent)
    """Image sizes as ``"640 x 480"``, width first."""

    @classmethod
    def of(cls, records: Sequence[Record], measure: Measure = area_or_length) -> RecordCounts:
        """Count some records.

        Args:
            records: Good ones.
            measure: Gives the area of each shape.
        """
        shapes = ShapeArray.concatenate([record.shapes for record in records])
        lined = shapes.kinds != GeometryKind.BOX
        captions = [caption for record in records for caption in record.captions]
        summaries = [record.summary for record in records if record.summary is not None]
        sides = [max(record.canvas.width, record.canvas.height) for record in records]
        found = cls(
            vertices=Histogram.in_bins(_FEW, np.diff(shapes.offsets)[lined]),
            object_sizes=Histogram.in_bins(_SHARES, _sizes(shapes, records, measure)),
            objects_per_image=Histogram.in_bins(_FEW, [len(record.shapes) for record in records]),
            caption_chars=Histogram.in_bins(_CHARS, [len(caption) for caption in captions]),
            summary_chars=Histogram.in_bins(_CHARS, [len(summary) for summary in summaries]),
            image_sides=Histogram.in_bins(_SIDES, sides),
        )
        found.captions.add(captions)
        found.image_sizes.add(f"{record.canvas.width} x {record.canvas.height}" for record in records)
        return found

    def update(self, other: RecordCounts) -> None:
        """Add the counts of other records."""
        for name in self.__dataclass_fields__:
            mine, its = getattr(self, name), getattr(other, name)
            if isinstance(mine, Histogram):
                setattr(self, name, mine + its)
            else:
                mine.update(its)

    def to_dict(self, most: int = 50) -> dict[str, Any]:
        """Return them as plain JSON data, with the `most` frequent values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: value.to_dict() if isinstance(value, Histogram) else value.most(most)
            for name, value in fields.items()
        }  # fmt: skip


def _sizes(shapes: ShapeArray, records: Sequence[Record], measure: Measure) -> npt.NDArray[np.float64]:
    """Return the size of every box and polygon, but of a ring that crosses itself millions of times."""
    areas = _areas(shapes, measure)
    pixels = np.repeat(
        np.array([record.canvas.num_pixels for record in records], np.float64),
        np.array([len(record.shapes) for record in records], np.int64),
    )
    shares = areas / pixels
    known: npt.NDArray[np.float64] = shares[(shapes.kinds != GeometryKind.LINE) & ~np.isnan(shares)]
    return np.sqrt(known)


def _areas(shapes: ShapeArray, measure: Measure) -> npt.NDArray[np.float64]:
    try:
        return measure(shapes)
    except GeometryError:
        if len(shapes) == 1:
            return np.array([np.nan])
        half = len(shapes) // 2
        return np.concatenate([_areas(shapes.take(part), measure) for part in np.split(np.arange(len(shapes)), [half])])
