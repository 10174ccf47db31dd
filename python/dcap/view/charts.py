"""Histograms of values, bars of counts and curves of shares, for the terminal, for pages and as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dcap.core.words import counted
from dcap.view.draw import Pixels
from dcap.view.fonts import load_font

CURVE_COLORS = ("#4878a8", "#d08a30", "#4c9a5b")
"""Colours of the lines of `Curves`, as the pages have them."""
_PAPER, _INK, _RULE = "#fafaf8", "#1e1e1e", "#c8c8c8"
_SMOOTH = 3
"""Pictures are drawn this many times as large, and shrunk, so that their lines are smooth."""
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
    """Up to three curves of shares over a share.

    The template ``curves.html`` puts them on a page, and `draw_curves` makes a picture of them.
    """

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


def draw_curves(curves: Curves, width: int = 640) -> Pixels:
    """Return curves as a picture, with the names of axes and lines, and without title and note.

    Args:
        curves: What to draw.
        width: In pixels.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    unit = _SMOOTH * width / 350  # that of the template: the plot is 300 units wide and 200 high
    picture = Image.new("RGB", (_SMOOTH * width, round(258 * unit)), _PAPER)
    draw, font = ImageDraw.Draw(picture), load_font(round(10 * unit))

    def at(x: float, y: float) -> tuple[float, float]:
        """Return the place of a point of the plot, both coordinates 0..1."""
        return (34 + 300 * x) * unit, (28 - 200 * y + 200) * unit

    for k in range(5):
        share = k / 4
        draw.line([at(0, share), at(1, share)], _RULE, _SMOOTH)
        draw.line([at(share, 0), at(share, 1)], _RULE, _SMOOTH)
        draw.text(at(-0.015, share), f"{share:.2f}", _INK, font, anchor="rm")
        draw.text(at(share, -0.03), f"{share:.2f}", _INK, font, anchor="ma")
    draw.text(at(0.5, -0.1), curves.across, _INK, font, anchor="ma")
    for k, ((name, points), color) in enumerate(zip(curves.lines, CURVE_COLORS, strict=False)):
        places = [at(*point) for point in points]
        draw.line(places, color, round(1.6 * unit), joint="curve")
        if len(places) == 1:  # a line of one point has no length
            (x, y), radius = places[0], 2 * unit
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)
        draw.text(at(0.33 * k, 1.05), f"\u25ac {name}", color, font, anchor="ls")
    small = picture.resize((width, round(picture.height / _SMOOTH)), Image.Resampling.LANCZOS)
    return np.array(small)


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
