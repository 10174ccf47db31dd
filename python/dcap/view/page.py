"""A self-contained HTML page of pictures: images, shapes and texts in one file, no network, no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dcap.geometry.shapes import ShapeArray
from dcap.view.draw import Pixels
from dcap.view.overlay import css_color, escape, svg_overlay

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1500px; padding: 0 1rem; }
article { border-top: 1px solid var(--line); padding: 0.5rem 0 1.5rem; }
.panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0.6rem 0; } h3 { font-size: 0.95rem; margin: 0.4rem 0; }
.picture { width: 100%; max-height: 80vh; display: block; background: #8882; }
ol { columns: 2; margin: 0.5rem 0; padding: 0; list-style: none; }
li { break-inside: avoid; padding: 0.1rem 0.3rem; display: flex; align-items: baseline; gap: 0.4em; }
li.dropped { opacity: 0.75; } li.dropped .name { text-decoration: line-through; }
.note { margin: 0.25rem 0; font-size: 0.9rem; opacity: 0.8; }
.key { flex: none; min-width: 1.4em; text-align: right; border-left: 0.6em solid; border-radius: 3px;
  padding: 0 0.2em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8881; padding: 0.5rem; margin: 0.4rem 0;
  font-size: 12.5px; }
.focus { background: #fd08; } svg:has(.focus) g:not(.focus) { opacity: 0.25; }
"""

# Pointing at an object in the list or in the picture shows where, and what, it is.
_SCRIPT = """
for (const panel of document.querySelectorAll(".panel")) {
  const mark = (event, on) => {
    const item = event.target.closest("[data-i]");
    if (!item) return;
    for (const other of panel.querySelectorAll(`[data-i="${item.dataset.i}"]`)) other.classList.toggle("focus", on);
  };
  panel.addEventListener("mouseover", (event) => mark(event, true));
  panel.addEventListener("mouseout", (event) => mark(event, false));
}
"""


@dataclass(frozen=True, slots=True)
class Drop:
    """An object that is not in a picture, and why."""

    number: int
    caption: str
    reason: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its objects listed below.

    Attributes:
        title: Line above it.
        image: uint8 (H, W, 3) RGB.
        shapes: N shapes, pixel-edge frame of the image.
        captions: One per shape.
        dropped: Index to reason, for objects that are crossed out.
        text: Text below the list, such as an answer; kept to the letter.
        notes: Lines between the picture and the list.
        numbers: What the objects count with; none counts from 1.
        gone: Objects that the picture has lost, crossed out at the end of the list.
    """

    title: str
    image: Pixels
    shapes: ShapeArray
    captions: Sequence[str]
    dropped: Mapping[int, str] = field(default_factory=dict)
    text: str = ""
    notes: tuple[str, ...] = ()
    numbers: Sequence[int] | None = None
    gone: tuple[Drop, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample: panels side by side under a heading."""

    title: str
    panels: tuple[Panel, ...]


def html_page(title: str, intro: str, entries: Sequence[Entry]) -> str:
    """Return a whole HTML document; every text in it is escaped.

    Args:
        title: Heading of the page.
        intro: Paragraph below it.
        entries: Samples, in order.
    """
    return html_document(title, intro, "\n".join(_entry(entry) for entry in entries), script=_SCRIPT)


def html_document(title: str, intro: str, body: str, style: str = "", script: str = "") -> str:
    """Return a whole HTML document around a body, in the look that all pages share.

    Args:
        title: Heading of the page; escaped here, as `intro` is.
        intro: Paragraph below it.
        body: Markup.
        style: More CSS.
        script: Code at the end.
    """
    code = f"<script>{script}</script>\n" if script else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n<p>{escape(intro)}</p>\n{body}\n{code}</body>\n</html>\n"
    )


def _entry(entry: Entry) -> str:
    panels = "\n".join(_panel(panel) for panel in entry.panels)
    return f'<article>\n<h2>{escape(entry.title)}</h2>\n<div class="panels">\n{panels}\n</div>\n</article>'


def _panel(panel: Panel) -> str:
    numbers = panel.numbers or range(1, len(panel.captions) + 1)
    items = [_item(i, numbers[i], caption, panel.dropped.get(i)) for i, caption in enumerate(panel.captions)]
    items += [_item(None, drop.number, drop.caption, drop.reason) for drop in panel.gone]
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in panel.notes)
    text = f"<pre>{escape(panel.text)}</pre>" if panel.text else ""
    picture = svg_overlay(panel.image, panel.shapes, panel.captions, panel.dropped, numbers)
    return (
        f'<section class="panel">\n<h3>{escape(panel.title)}</h3>\n{picture}\n{notes}<ol>\n'
        + "\n".join(items)
        + f"\n</ol>\n{text}</section>"
    )


def _item(i: int | None, number: int, caption: str, reason: str | None) -> str:
    mark = "" if i is None else f' data-i="{i}"'
    color = css_color(caption, dropped=reason is not None)
    key = f'<span class="key" style="border-color: {color}">{number}</span>'
    if reason is None:
        return f'<li{mark}>{key}<span class="name">{escape(caption)}</span></li>'
    return (
        f'<li{mark} class="dropped">{key}<span><span class="name">{escape(caption)}</span> '
        f"<em>{escape(reason)}</em></span></li>"
    )
