"""Histograms of values, bars of counts and curves of shares, for the terminal and for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.words import counted

LEAST_BINS, MOST_BINS = 4, 12
"""Bounds on the number of bins that `Histogram.of` makes. Few values get few bins."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins.

    Bin k holds the values with ``edges[k] <= value < edges[k + 1]``. The last bin has no upper bound. Histograms with
    the same edges add up: ``a + b`` counts the values of both.
    """

    edges: tuple[float, ...]
    """Lower bound of each bin, rising."""
    counts: tuple[int, ...]
    """Number of values in each bin."""
    total: float = 0.0
    """Sum of all values."""
    low: float = math.inf
    """Smallest value."""
    high: float = -math.inf
    """Largest value."""
    median: float | None = None
    """Only known to `of`, which sees all values at once."""
    p95: float | None = None
    """95 % of the values are at most this. Known where the median is."""

    @classmethod
    def of(cls, values: npt.NDArray[np.int64]) -> Histogram:
        """Count integers in bins of one width, a round number that suits them.

        Args:
            values: int64 (N,). No value gives one empty bin.
        """
        if not len(values):
            return cls(edges=(0,), counts=(0,))
        low, high = int(values.min()), int(values.max())
        width = _round_width(low, high, len(values))
        edges = range(low // width * width, high + 1, width)
        median, p95 = np.percentile(values, (50, 95)).tolist()
        return cls(
            edges=tuple(edges),
            counts=_counts(edges, values),
            total=float(values.sum()),
            low=low,
            high=high,
            median=median,
            p95=p95,
        )

    @classmethod
    def in_bins(cls, edges: tuple[float, ...], values: npt.ArrayLike = ()) -> Histogram:
        """Count values in given bins, so that histograms of several parts can be added.

        Args:
            edges: Lower bound of each bin, rising. No value may be below the first.
            values: Numbers (N,).
        """
        array = np.asarray(values, np.float64)
        if not len(array):
            return cls(edges=edges, counts=(0,) * len(edges))
        low, high = float(array.min()), float(array.max())
        return cls(edges=edges, counts=_counts(edges, array), total=float(array.sum()), low=low, high=high)

    def __add__(self, other: Histogram) -> Histogram:
        if self.edges != other.edges:
            raise ValueError(f"edges of both histograms must be equal, not {self.edges} and {other.edges}")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Histogram(edges=self.edges, counts=counts, total=self.total + other.total, low=low, high=high)

    @property
    def number(self) -> int:
        """Number of values that were counted."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Mean of the values; 0 without any."""
        return self.total / max(self.number, 1)

    def summary(self, unit: str = "") -> str:
        """Return the numbers in one line.

        Args:
            unit: What the values count, such as ``tokens``.
        """
        if not self.number:
            return "no values"
        if self.low == self.high:
            return (
                f"{counted(self.number, 'value')}, {'all ' * (self.number > 1)}{_short(self.low)}{unit and ' ' + unit}"
            )
        text = f"{self.number:,} values, {_short(self.low)} to {_short(self.high)}{unit and ' ' + unit}, "
        text += f"mean {_short(self.mean)}"
        if self.median is None or self.p95 is None:
            return text
        return f"{text}, median {_short(self.median)}, 95 % are at most {_short(self.p95)}"

    def chart(self, title: str, unit: str = "") -> Chart:
        """Return a bar for each bin. Empty bins at both ends are left out.

        Args:
            title: Line above the bars.
            unit: What the values count.
        """
        filled = np.flatnonzero(self.counts)
        kept = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, 1)
        bars = tuple(zip(self.labels[kept], self.counts[kept], strict=True))
        return Chart(title, bars, self.summary(unit))

    @property
    def labels(self) -> tuple[str, ...]:
        """The values of each bin: ``100-199`` for whole numbers, ``0.1 to 0.15`` for others."""
        spans = [*pairwise(self.edges), (self.edges[-1], max(self.high, self.edges[-1]))]
        if all(float(edge).is_integer() for edge in self.edges):
            tops = [*(high - 1 for _, high in spans[:-1]), spans[-1][1]]
            pairs = zip(self.edges, tops, strict=True)
            return tuple(f"{low:,.0f}" if low == top else f"{low:,.0f}-{top:,.0f}" for low, top in pairs)
        return tuple(f"{low:g} to {high:.3g}" for low, high in spans)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        shown = {"min": self.low, "max": self.high, "mean": self.mean} if self.number else {}
        if self.median is not None and self.p95 is not None:
            shown |= {"median": self.median, "p95": self.p95}
        return {"number": self.number, **shown, "edges": list(self.edges), "counts": list(self.counts)}


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars as long as their counts, one below the other.

    `bar_lines` prints a chart, the template ``chart.html`` puts it on a page.
    """

    title: str
    bars: tuple[tuple[str, int], ...]
    """Label and count of each."""
    note: str = ""
    """Line below the bars."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Length of each bar over that of the longest, 0..1."""
        highest = max((count for _, count in self.bars), default=0) or 1
        return tuple(count / highest for _, count in self.bars)


@dataclass(frozen=True, slots=True)
class Curves:
    """Up to three curves of shares over a share; the template ``curves.html`` puts them on a page."""

    title: str
    across: str
    """What the horizontal axis shows, 0..1."""
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    """Name and points of each; both coordinates 0..1."""
    note: str = ""
    """Line below the curves."""


def ranked(title: str, counts: Mapping[str, int], most: int = 30) -> Chart:
    """Return a bar chart of counts.

    Args:
        title: Line above the bars.
        counts: Counts by name, in any order.
        most: Number of bars to show.
    """
    bars = sorted(counts.items(), key=lambda item: -item[1])[:most]
    note = f"{most} of {len(counts):,} are shown" if len(counts) > most else ""
    return Chart(title, tuple(bars), note)


def bar_lines(chart: Chart, width: int = 40) -> str:
    """Return the bars of a chart as lines of text, in eighths of a character.

    Args:
        chart: What to draw; its title and note are left out.
        width: Characters of the longest bar.
    """
    wide = max((len(label) for label, _ in chart.bars), default=0)
    lines = []
    for (label, count), share in zip(chart.bars, chart.shares, strict=True):
        eighths = round(8 * width * share)
        bar = "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]
        lines.append(f"{label:>{wide}}  {bar} {count:,}")
    return "\n".join(lines)


def _counts(edges: range | tuple[float, ...], values: npt.NDArray[Any]) -> tuple[int, ...]:
    bins = np.searchsorted(np.asarray(edges), values, side="right") - 1
    return tuple(np.bincount(bins, minlength=len(edges)).tolist())


def _round_width(low: int, high: int, count: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, ... that needs no more bins than suit `count` values."""
    bins = min(max(LEAST_BINS, 2 * math.isqrt(count)), MOST_BINS)
    scale = 1
    while True:
        for step in (1, 2, 5):
            width = step * scale
            if high // width - low // width < bins:
                return width
        scale *= 10


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"
