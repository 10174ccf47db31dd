"""Self-contained HTML pages: everything in one file, no network, no library.

Pages are templates in ``templates/``. All text that comes from records or models is escaped there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dcap.core.words import printable_lines
from dcap.geometry.shapes import ShapeArray
from dcap.view.draw import Pixels
from dcap.view.overlay import Overlay, css_color

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Drop:
    """An object that is not in a picture, and why."""

    number: int
    caption: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListItem:
    """A line of the list below a picture."""

    index: int | None
    """The shape that it belongs to. `None`: the object is not in the picture."""
    number: int
    caption: str
    reason: str | None
    """Why the object is crossed out. `None`: it is not."""
    marks: Sequence[tuple[int, int]] = ()
    """Where the caption is marked: from and to, in characters, in order."""

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """The caption in pieces, each with whether it is marked."""
        ends = [0, *(place for mark in self.marks for place in mark), len(self.caption)]
        pieces = [(self.caption[a:b], k % 2 == 1) for k, (a, b) in enumerate(pairwise(ends))]
        return [piece for piece in pieces if piece[0]]

    @property
    def color(self) -> str:
        """``#rrggbb``."""
        return css_color(self.caption, dropped=self.reason is not None)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its objects listed below.

    Attributes:
        title: Line above it.
        image: uint8 (H, W, 3) RGB.
        shapes: N shapes, pixel-edge frame of the image.
        captions: One per shape.
        dropped: Index to reason, for objects that are crossed out.
        text: Text below the list, such as an answer; shown to the letter.
        notes: Lines between the picture and the list.
        numbers: Number of each object. `None`: 1, 2, ...
        gone: Objects that the picture has lost, crossed out at the end of the list.
        marks: For each shape, where its caption is marked: from and to, in characters. Empty: nowhere.
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
    marks: Sequence[Sequence[tuple[int, int]]] = ()

    @property
    def overlay(self) -> Overlay:
        """The picture, for the template."""
        return Overlay.of(self.image, self.shapes, self.captions, self.dropped, self.numbers)

    @property
    def listed(self) -> list[ListItem]:
        """The list, for the template."""
        numbers = range(1, len(self.captions) + 1) if self.numbers is None else self.numbers
        captions = enumerate(self.captions)
        marks = self.marks or [()] * len(self.captions)
        items = [ListItem(i, numbers[i], caption, self.dropped.get(i), marks[i]) for i, caption in captions]
        return items + [ListItem(None, drop.number, drop.caption, drop.reason) for drop in self.gone]


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample: panels side by side under a heading."""

    title: str
    panels: tuple[Panel, ...]


def samples_page(title: str, intro: str, entries: Sequence[Entry]) -> str:
    """Return a page of pictures.

    Args:
        title: Heading of the page.
        intro: Paragraph below it.
        entries: Samples, in order.
    """
    return render_template(TEMPLATES / "samples.html", title=title, intro=intro, entries=entries)


def render_template(template: Path, **values: object) -> str:
    """Return the text that a Jinja2 template makes of some values.

    The template may extend and import those of `TEMPLATES` by name. Every text is escaped. What no
    document may hold, or would turn text around, is shown as its escape (`dcap.core.words.printable_lines`).

    Args:
        template: File of the template.
        values: Its values by name.
    """
    return _environment(template.parent).get_template(template.name).render(**values)


@lru_cache(maxsize=8)
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_legal,
    )


def _legal(value: Any) -> Any:
    # Markup comes from a template, and its texts were here before.
    return printable_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
