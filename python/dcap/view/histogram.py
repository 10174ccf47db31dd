"""Histograms of counts, in bins with round bounds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_BINS, MOST_BINS = 4, 12
"""So many bins a histogram may have; a few values are not spread over many."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How values are spread.

    Args:
        title: What is counted.
        start: Lower bound of the first bin.
        width: Width of a bin; bin k holds start + k * width <= value < start + (k + 1) * width.
        counts: Values in each bin.
        mean: Of the values.
        median: Of the values.
        p95: 95 % of the values are at most this.
        least: Smallest value.
        most: Largest value.
    """

    title: str
    start: int
    width: int
    counts: tuple[int, ...]
    mean: float
    median: float
    p95: float
    least: int
    most: int

    @classmethod
    def of(cls, title: str, values: npt.NDArray[np.int64]) -> Histogram:
        """Count integer values, int64 (N,); none give one empty bin."""
        if not len(values):
            return cls(title, 0, 1, (0,), 0.0, 0.0, 0.0, 0, 0)
        least, most = int(values.min()), int(values.max())
        width = _round_width(least, most, len(values))
        start = least // width * width
        counts = np.bincount((values - start) // width)
        median, p95 = np.percentile(values, (50, 95))
        return cls(
            title, start, width, tuple(counts.tolist()), float(values.mean()), float(median), float(p95), least, most
        )

    @property
    def labels(self) -> list[str]:
        """The values of each bin, for people."""
        lows = [self.start + k * self.width for k in range(len(self.counts))]
        return [f"{low:,}" if self.width == 1 else f"{low:,}-{low + self.width - 1:,}" for low in lows]

    @property
    def summary(self) -> str:
        """The numbers in one line."""
        return f"mean {self.mean:,.1f}, median {self.median:,.0f}, 95 % {self.p95:,.0f}, {self.least:,}..{self.most:,}"

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, for JSON."""
        return asdict(self)


def _round_width(least: int, most: int, count: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, ... that needs no more bins than suit `count` values."""
    bins = min(max(LEAST_BINS, 2 * math.isqrt(count)), MOST_BINS)
    scale = 1
    while True:
        for step in (1, 2, 5):
            width = step * scale
            if most // width - least // width < bins:
                return width
        scale *= 10
