"""Histograms and ranked counts as SVG and tables on one HTML page: the report of ``dcap validate`` for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from dcap.audit.record_counts import FixedBins, Statistics
from dcap.audit.validation import Report
from dcap.core.words import counted
from dcap.view.overlay import escape
from dcap.view.page import html_document

_WIDTH, _HEIGHT, _FOOT, _HEAD = 460, 150, 44, 16
_ROWS = 30
_STYLE = """
.charts { display: grid; gap: 1rem 2rem; grid-template-columns: repeat(auto-fit, minmax(360px, 1fr)); }
.charts svg { width: 100%; display: block; } .charts text { font: 10px system-ui, sans-serif; fill: currentColor; }
rect.bar { fill: #4878a8; } rect.bar:hover { fill: #d08a30; } td { padding: 0 0.6em 0.1em 0; vertical-align: top; }
td.count { text-align: right; font-variant-numeric: tabular-nums; }
td.share { width: 8em; } td.share div { background: #4878a8; height: 0.7em; margin-top: 0.4em; }
"""
_CHARTS = {
    "vertices": ("Points of polygons and lines", "points"),
    "object_sizes": ("Object sizes: square root of the share of the image's area, boxes and polygons", "share"),
    "objects_per_image": ("Objects per image", "objects"),
    "caption_chars": ("Caption lengths", "characters"),
    "summary_chars": ("Summary lengths", "characters"),
    "image_sides": ("Images: longer side", "pixels"),
}


def report_page(report: Report, title: str) -> str:
    """Return the whole HTML document of a report; no network, no library, every text escaped.

    Args:
        report: What `dcap.audit.validation.validate` found.
        title: Heading.
    """
    stats = report.statistics
    intro = (
        f"{counted(report.records, 'good record')}, {report.bad} bad; {counted(sum(report.objects.values()), 'object')}"
        f" ({', '.join(f'{count} {key}' for key, count in report.objects.items())}); "
        f"{report.negatives} without objects, {report.summaries} with a summary"
    )
    tables = {
        "Problems": report.problem_kinds,
        "Notes, no problems": report.note_kinds,
        "Most frequent captions": stats.captions.most(_ROWS),
        "Most frequent image sizes": stats.image_sizes.most(_ROWS),
    }
    cells = [*_histograms(stats), *(_table(name, counts) for name, counts in tables.items() if counts)]
    return html_document(title, intro, '<div class="charts">\n' + "\n".join(cells) + "\n</div>", style=_STYLE)


def _histograms(stats: Statistics) -> list[str]:
    shown = [(getattr(stats, name), title, unit) for name, (title, unit) in _CHARTS.items()]
    return [bar_chart(histogram, title, unit) for histogram, title, unit in shown if histogram.number]


def bar_chart(histogram: FixedBins, title: str, unit: str) -> str:
    """Return a ``<section>`` with one bar per bin, empty bins at both ends left out; bars count, whatever their width.

    Args:
        histogram: With at least one value.
        title: Line above it.
        unit: What the values count.
    """
    counts = histogram.counts
    first = next(i for i, count in enumerate(counts) if count)
    last = max(i for i, count in enumerate(counts) if count)
    ends = [*(f"{b:g}" for _, b in pairwise(histogram.edges)), ""]
    labels = [(f"{edge:g}", end) for edge, end in zip(histogram.edges, ends, strict=True)]
    step, most = _WIDTH / (last - first + 1), max(counts)
    bars = []
    for place, i in enumerate(range(first, last + 1)):
        height = _HEIGHT * counts[i] / most
        low, high = labels[i]
        span = f"from {low} to below {high}" if high else f"from {low}"
        x, y = place * step, _HEAD + _HEIGHT - height
        bars.append(
            f'<g><title>{span} {escape(unit)}: {counts[i]}</title><rect class="bar" x="{x:.1f}" y="{y:.1f}" '
            f'width="{step * 0.88:.1f}" height="{height:.1f}"/><text x="{x + step * 0.44:.1f}" '
            f'y="{_HEAD + _HEIGHT + 12}" text-anchor="end" transform="rotate(-45 {x + step * 0.44:.1f} '
            f'{_HEAD + _HEIGHT + 12})">{low}</text></g>'
        )
    mean = histogram.total / histogram.number
    note = f"{histogram.number} values, {histogram.low:.4g} to {histogram.high:.4g} {unit}, mean {mean:.4g}"
    return (
        f"<section><h3>{escape(title)}</h3>\n"
        f'<svg viewBox="-16 0 {_WIDTH + 16} {_HEAD + _HEIGHT + _FOOT}" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="10">{most}</text>{"".join(bars)}</svg>\n<p class="note">{escape(note)}</p></section>'
    )


def _table(title: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values())
    rows = [
        f'<tr><td class="count">{count}</td><td class="share"><div style="width: {100 * count / most:.1f}%"></div></td>'
        f"<td>{escape(name)}</td></tr>"
        for name, count in list(counts.items())[:_ROWS]
    ]
    return f"<section><h3>{escape(title)}</h3>\n<table>\n" + "\n".join(rows) + "\n</table></section>"
