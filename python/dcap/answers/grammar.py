r"""The grammar of an answer profile: which texts its format can write, and how an answer goes on from any place.

::

    text     {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}
    free                               ---  ---  ---  ---            ---
    links    {"object_1": {"bbox_2d": [   , |  , |  , |  ], "desc": "   "}}

An answer alternates between links, which are a choice of few fixed texts, and what is free: numbers and captions.
`AnswerGrammar.start`, `after_number` and `after_caption` give the links at a place, each with the place behind it;
`AnswerGrammar.numbers` gives the numbers. Nothing else is accepted: no free blanks, no number out of range, no shape
that is not legal, no other count than the one that was written. From each place that can be reached, an answer can end.

All of it comes from the pieces of the layout (`dcap.answers.formats.Layout`), so that writing and accepting agree.
`dcap.answers.server_grammar` writes it for servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

from dcap.answers.formats import JsonFormat, PartKind, RowFormat, own_layout
from dcap.answers.prefix import PREFIX_FIELDS, Prefix
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import ConfigError
from dcap.geometry.canvas import Canvas
from dcap.geometry.grid import SPANS, grid_span
from dcap.geometry.shapes import MIN_POINTS, GeometryKind

Point = tuple[int, int]

COUNT = "987654321"
"""Stands for a count of points in a piece of a layout, to find where that is written."""


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """How long the answers of a grammar may be.

    Raises:
        ConfigError: A bound is too small for any answer.
    """

    objects: int = 300
    """Most objects of an answer."""
    points: int = 300
    """Most points of a polygon or line."""
    caption: int = 300
    """Most characters of a caption."""

    def __post_init__(self) -> None:
        for name, least in (("objects", 1), ("points", 3), ("caption", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} of a grammar must be at least {least}, not {getattr(self, name)}")


@dataclass(frozen=True)
class LayoutPieces:
    """The fixed texts of a layout, with `COUNT` where it writes a count of points."""

    layout: JsonFormat | RowFormat
    objects: int
    """Most objects of an answer."""

    @cached_property
    def text_first(self) -> bool:
        """Whether the caption of an object comes before its numbers."""
        return self.layout.piece_kinds[1] is PartKind.CAPTION

    @cached_property
    def empty(self) -> str:
        """What the format writes without objects."""
        return self.layout.pieces([])[0]

    @cached_property
    def starts(self) -> dict[GeometryKind, str]:
        """What comes before the first object of each kind."""
        return {kind: self._of([kind])[0] for kind in GeometryKind}

    @cached_property
    def inner(self) -> dict[GeometryKind, str]:
        """What is between the two free parts of an object of each kind."""
        return {kind: self._of([kind])[2] for kind in GeometryKind}

    @cached_property
    def ends(self) -> dict[GeometryKind, str]:
        """What comes behind the last object of each kind."""
        return {kind: self._of([kind])[4] for kind in GeometryKind}

    @cached_property
    def joints(self) -> dict[tuple[GeometryKind, GeometryKind], list[str]]:
        """What is between two objects of two kinds, by the place of the first one, from 0."""
        found = {}
        for a in GeometryKind:
            for b in GeometryKind:
                there, back = (self._of(_in_turn(*pair, self.objects))[4::4] for pair in ((a, b), (b, a)))
                found[a, b] = [(back if k % 2 else there)[k] for k in range(self.objects - 1)]
        return found

    def behind_count(self, kind: GeometryKind) -> str | None:
        """Return what comes behind the count of points. `None`: that is not written."""
        _, sign, behind = (self.inner if self.text_first else self.starts)[kind].partition(COUNT)
        return behind if sign else None

    def _of(self, kinds: Sequence[GeometryKind]) -> list[str]:
        return self.layout.pieces([(kind, int(COUNT), "", "") for kind in kinds])


@lru_cache(maxsize=64)
def layout_pieces(layout: JsonFormat | RowFormat, objects: int) -> LayoutPieces:
    """Return the fixed texts of a layout, for answers of so many objects at most."""
    return LayoutPieces(layout, objects)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Whole numbers from `low` to `high`, without some."""

    low: int
    high: int
    without: tuple[int, ...] = ()

    def __contains__(self, value: int) -> bool:
        """Whether it is one of the numbers."""
        return self.low <= value <= self.high and value not in self.without

    def begin_with(self, digits: str) -> bool:
        """Whether one of the numbers is written with these digits in front."""
        first = last = int(digits)
        if digits != "0":  # no number but 0 begins with it
            while first * 10 <= self.high:
                if self._any_in(first, last):
                    return True
                first, last = first * 10, last * 10 + 9
        return self._any_in(first, last)

    def _any_in(self, first: int, last: int) -> bool:
        first, last = max(first, self.low), min(last, self.high)
        return first <= last and last - first + 1 > sum(first <= value <= last for value in self.without)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an answer, in front of what is free, and what is written so far, as far as that matters."""

    next: Literal["prefix", "count", "x", "y", "caption", "end"]
    """What comes now: a number of the prefix, a count of points, a coordinate, a caption, or nothing more."""
    field: int = 0
    """Number of the prefix's numbers that are written."""
    wanted: tuple[int | None, ...] = (None,) * len(PREFIX_FIELDS)
    """What the prefix counts, by `PREFIX_FIELDS`."""
    written: tuple[int, int, int] = (0, 0, 0)
    """Objects of each kind that are complete."""
    kinds: tuple[GeometryKind, ...] = ()
    """What the object may be."""
    count: int | None = None
    """Number of points that is written in front of them."""
    num_points: int = 0
    """Points of the object so far."""
    x: int = 0
    """First number of the point."""
    first: Point = (-1, -1)
    """First point of the object."""
    last: Point = (-1, -1)
    """Last point of the object so far."""
    distinct: tuple[Point, ...] = ()
    """The first three different points of the object."""

    @property
    def num_objects(self) -> int:
        """Objects that are complete."""
        return sum(self.written)


Links = dict[str, Place]
"""The fixed texts that may come now, each with the place behind it."""


@dataclass(frozen=True)
class AnswerGrammar:
    """The texts that a profile can write, about a canvas or about any.

    Args:
        profile: Format, prefix and grid.
        canvas: The canvas that the model sees. `None`: any; it matters for ``emit_norm: none`` only.
        bounds: How long an answer may be.

    Raises:
        ConfigError: The format is not registered, or it is one of a plugin, whose texts only the plugin knows.
    """

    profile: AnswerProfile
    canvas: Canvas | None = None
    bounds: AnswerBounds = AnswerBounds()

    def __post_init__(self) -> None:
        if own_layout(self.profile.format) is None:
            raise ConfigError(
                f"answer format must be one of dcap itself for a grammar, not {self.profile.format!r}: what the format "
                "of a plugin can write is not known. Leave the grammar out"
            )

    @cached_property
    def pieces(self) -> LayoutPieces:
        """The fixed texts of the format."""
        layout = own_layout(self.profile.format)
        assert layout is not None
        return layout_pieces(layout, self.bounds.objects)

    @property
    def empty(self) -> str:
        """The answer without objects, behind the prefix."""
        return self.pieces.empty if self.profile.empty is None else self.profile.empty

    @cached_property
    def span(self) -> Point:
        """Largest x and y."""
        if self.canvas is not None:
            return grid_span(self.canvas, self.profile.emit_norm)
        side = SPANS.get(self.profile.emit_norm, self.profile.max_pixels // 32)  # sides are multiples of 32
        return side, side

    @cached_property
    def prefix(self) -> tuple[tuple[str, str | None], ...]:
        """The prefix's texts, each with the field behind it."""
        return () if self.profile.prefix is None else Prefix(self.profile.prefix).parts

    def start(self) -> Links:
        """Return the links at the beginning of an answer."""
        return self._prefix_links(Place("prefix"))

    def numbers(self, place: Place) -> Numbers:
        """Return the numbers that may be written at a place before a number."""
        if place.next == "prefix":
            return self._prefix_numbers(place)
        if place.next == "count":
            return Numbers(MIN_POINTS[place.kinds[0]], self.bounds.points)
        return self._coordinates(place)

    def after_number(self, place: Place, value: int) -> Links:
        """Return the links behind a number, one of `numbers` at this place."""
        if place.next == "prefix":
            name = self.prefix[place.field][1]
            wanted = tuple(
                value if field == name else old for field, old in zip(PREFIX_FIELDS, place.wanted, strict=True)
            )
            return self._prefix_links(replace(place, field=place.field + 1, wanted=wanted))
        if place.next == "count":
            behind = self.pieces.behind_count(place.kinds[0])
            assert behind is not None
            return {behind: replace(place, next="x", count=value)}
        if place.next == "x":
            return {self.pieces.layout.between(place.kinds[-1])[0]: replace(place, next="y", x=value)}
        return self._after_point(place, (place.x, value))

    def after_caption(self, place: Place) -> Links:
        """Return the links behind a caption."""
        if not self.pieces.text_first:
            return self._next_object(replace(place, written=_one_more(place.written, place.kinds[0])), place.kinds[0])
        return self._before_numbers(place, {kind: self.pieces.inner[kind] for kind in place.kinds})

    # What follows is in the order of an answer.

    def _prefix_links(self, place: Place) -> Links:
        if place.field < len(self.prefix):
            text, name = self.prefix[place.field]
            if name is not None:
                return {text: replace(place, next="prefix")}
            return {text + link: then for link, then in self._next_object(place, None).items()}
        return self._next_object(place, None)

    def _prefix_numbers(self, place: Place) -> Numbers:
        total, *kinds = place.wanted
        name = self.prefix[place.field][1]
        mine = list(PREFIX_FIELDS).index(name or "")
        if (known := place.wanted[mine]) is not None:
            return Numbers(known, known)
        if mine == 0:
            low, high = sum(count or 0 for count in kinds), self.bounds.objects
            return Numbers(low, low if None not in kinds else high)
        others = [count for k, count in enumerate(kinds, 1) if k != mine]
        left = (self.bounds.objects if total is None else total) - sum(count or 0 for count in others)
        return Numbers(left if total is not None and None not in others else 0, left)

    def _next_object(self, place: Place, last: GeometryKind | None) -> Links:
        """Return the links behind a complete object, or at the beginning: to the next object, and to the end."""
        count, (total, *wanted) = place.num_objects, place.wanted
        missing = [0 if want is None else want - done for want, done in zip(wanted, place.written, strict=True)]
        room = (self.bounds.objects if total is None else total) - count
        kinds = [
            kind for kind in GeometryKind if room and (missing[kind] or (wanted[kind] is None and sum(missing) < room))
        ]  # fmt: skip
        place = Place("end", wanted=place.wanted, written=place.written)
        pieces = {
            kind: self.pieces.starts[kind] if last is None else self.pieces.joints[last, kind][count - 1]
            for kind in kinds
        }
        if self.pieces.text_first:
            links = _grouped({kind: (text, replace(place, next="caption")) for kind, text in pieces.items()})
        else:
            links = self._before_numbers(place, pieces)
        if (total is None or count == total) and not any(missing):
            links[self.empty if last is None else self.pieces.ends[last]] = place
        return links

    def _before_numbers(self, place: Place, texts: dict[GeometryKind, str]) -> Links:
        """Return links to the numbers of an object; `texts` come before them, with a sign where a count is."""
        found = {}
        for kind, text in texts.items():
            before, sign, _ = text.partition(COUNT)
            found[kind] = (before, replace(place, next="count" if sign else "x"))
        return _grouped(found)

    def _coordinates(self, place: Place) -> Numbers:
        kinds, is_x = place.kinds, place.next == "x"
        high = self.span[0 if is_x else 1]
        if kinds == (GeometryKind.BOX,):
            last = place.last[0 if is_x else 1]
            return Numbers(0, high - 1) if place.num_points == 0 else Numbers(last + 1, high)
        refused = self._refused_points(place)
        if is_x:
            # An x is refused if no y is left to it, which only happens on the smallest canvases.
            columns = [x for x, _ in refused]
            return Numbers(0, high, tuple({x for x in columns if columns.count(x) > self.span[1]}))
        return Numbers(0, high, tuple(y for x, y in refused if x == place.x))

    def _refused_points(self, place: Place) -> set[Point]:
        """Return the points that would make a polygon or line illegal."""
        if place.num_points == 0:
            return set()
        kind = place.kinds[-1]
        left = (place.count or self.bounds.points) - place.num_points
        refused = {place.last}
        if len(place.distinct) + left <= MIN_POINTS[kind]:
            refused |= set(place.distinct)
        if kind is GeometryKind.POLYGON and left == 1:
            refused.add(place.first)
        return refused

    def _after_point(self, place: Place, point: Point) -> Links:
        distinct = place.distinct
        if len(distinct) < 3 and point not in distinct:
            distinct = (*distinct, point)
        begun = replace(
            place,
            num_points=place.num_points + 1,
            first=point if place.num_points == 0 else place.first,
            last=point,
            distinct=distinct,
        )
        most = place.count or self.bounds.points
        more = tuple(
            kind for kind in place.kinds if begun.num_points < (2 if kind is GeometryKind.BOX else most)
        )  # fmt: skip
        links: Links = {}
        if more:
            links[self.pieces.layout.between(more[-1])[1]] = replace(begun, next="x", kinds=more)
        for kind in place.kinds:
            if self._is_complete(begun, kind):
                links |= self._after_numbers(begun, kind)
        return links

    def _is_complete(self, place: Place, kind: GeometryKind) -> bool:
        """Whether the points so far are a legal shape with the count that was written."""
        if kind is GeometryKind.BOX:
            (x1, y1), (x2, y2) = place.first, place.last
            return place.num_points == 2 and x1 < x2 and y1 < y2
        if place.count is not None and place.num_points < place.count:
            return False
        closed = kind is GeometryKind.POLYGON and place.first == place.last
        return len(place.distinct) >= MIN_POINTS[kind] and not closed

    def _after_numbers(self, place: Place, kind: GeometryKind) -> Links:
        if self.pieces.text_first:
            return self._next_object(replace(place, written=_one_more(place.written, kind)), kind)
        return {self.pieces.inner[kind]: Place("caption", wanted=place.wanted, written=place.written, kinds=(kind,))}


def _in_turn(a: GeometryKind, b: GeometryKind, count: int) -> list[GeometryKind]:
    return [b if k % 2 else a for k in range(count)]


def _one_more(written: tuple[int, int, int], kind: GeometryKind) -> tuple[int, int, int]:
    box, polygon, line = (count + (k == kind) for k, count in enumerate(written))
    return box, polygon, line


def _grouped(found: dict[GeometryKind, tuple[str, Place]]) -> Links:
    """Return one link per text. Kinds with the same text share its link."""
    links: Links = {}
    for kind, (text, place) in found.items():
        kinds = (*links[text].kinds, kind) if text in links else (kind,)
        links[text] = replace(place, kinds=kinds)
    return links
