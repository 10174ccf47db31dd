"""The page of ``dcap inspect``: samples token by token, histograms and tables in one HTML file, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcap.audit.token_runs import TokenRun
from dcap.data.token_kinds import TokenKind
from dcap.view.histogram import Histogram
from dcap.view.overlay import escape
from dcap.view.page import html_document

_COLORS = {
    TokenKind.PROMPT: "#8888",
    TokenKind.IMAGE: "#a6f8",
    TokenKind.CAPTION: "#3b58",
    TokenKind.COORDINATE: "#39f8",
    TokenKind.STRUCTURE: "#fa38",
}
_STYLE = """
.tokens { line-height: 1.9; font-size: 13.5px; background: none; border: 1px solid var(--line); }
.t { border-radius: 3px; padding: 0.1em 0; box-shadow: inset -1px 0 var(--line); }
.t.s { border-bottom: 2px solid; } .legend .t { padding: 0.1em 0.5em; margin-right: 0.6em; }
table { border-collapse: collapse; margin: 0.4rem 0; }
td, th { padding: 0.15rem 0.7rem; text-align: right; border-top: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; padding-left: 0; }
.histogram { width: 100%; max-width: 460px; display: block; font: 12px system-ui, sans-serif; fill: currentColor; }
.histogram rect { fill: #39fa; }
""" + "".join(f".k{kind:d} {{ background: {color}; }}\n" for kind, color in _COLORS.items())


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample to be shown: a heading, and its tokens."""

    title: str
    runs: Sequence[TokenRun]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts, for the terminal and the page alike."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def inspect_page(
    title: str, intro: str, samples: Sequence[ShownSample], histograms: Sequence[Histogram], grids: Sequence[Grid]
) -> str:
    """Return a whole HTML document; every text in it is escaped.

    Args:
        title: Heading of the page.
        intro: Paragraph below it.
        samples: What to show token by token.
        histograms: How numbers are spread.
        grids: Tables, in order.
    """
    parts = [_legend(), *map(_sample, samples)] if samples else []
    parts += [f"<article>\n{_grid(grid)}</article>" for grid in grids]
    if histograms:
        panels = "\n".join(map(_histogram, histograms))
        parts.append(f'<article>\n<h2>histograms</h2>\n<div class="panels">\n{panels}\n</div>\n</article>')
    return html_document(title, intro, "\n".join(parts), style=_STYLE)


def _legend() -> str:
    kinds = "".join(f'<span class="t k{kind:d}">{kind.name.lower()}</span>' for kind in TokenKind)
    marks = "underlined: supervised; · blank, ↵ newline, ⟦…⟧ several tokens as one, bytes of each in hex"
    return f'<p class="legend">{kinds}<span class="t s">supervised</span><span class="note">{marks}</span></p>'


def _sample(sample: ShownSample) -> str:
    tokens = "".join(map(_token, sample.runs))
    return f'<article>\n<h2>{escape(sample.title)}</h2>\n<pre class="tokens">{tokens}</pre>\n</article>'


def _token(run: TokenRun) -> str:
    ids = str(run.ids[0]) if len(set(run.ids)) == 1 else " ".join(map(str, run.ids))
    tip = f"{run.kind.name.lower()}{', supervised' if run.supervised else ''}, id {ids}"
    return f'<span class="t k{run.kind:d}{" s" if run.supervised else ""}" title="{tip}">{escape(run.shown)}</span>'


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in grid.headings)
    head = f"<tr>{head}</tr>\n" if any(grid.headings) else ""
    rows = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>\n" for row in grid.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in grid.notes)
    return f"<h2>{escape(grid.title)}</h2>\n<table>\n{head}{rows}</table>\n{notes}"


def _histogram(histogram: Histogram) -> str:
    """Return bars with the values on their left and the counts on their right, as SVG."""
    line, left, bar = 18, 110, 270
    highest = max(*histogram.counts, 1)
    bars = []
    for k, (label, count) in enumerate(zip(histogram.labels, histogram.counts, strict=True)):
        y, length = k * line, bar * count / highest
        bars.append(
            f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{label}</text>'
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{line - 4}"/>'
            f'<text x="{left + length + 5:.1f}" y="{y + 13}">{count:,}</text>'
        )
    size = f"0 0 {left + bar + 60} {line * len(bars)}"
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" class="histogram">{"".join(bars)}</svg>'
    heading = f"<h3>{escape(histogram.title)}</h3>"
    return f'<section>\n{heading}\n{picture}\n<p class="note">{escape(histogram.summary)}</p>\n</section>'
