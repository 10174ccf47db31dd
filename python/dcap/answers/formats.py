"""Answer formats: a list of located objects on the grid to text and back, chosen by name.

Owns the layouts of the answer contract. `dcap.answers.codec` has the grid and the rules of legal shapes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import cycle
from json.encoder import encode_basestring
from typing import Any, Protocol

from dcap.answers.reader import Node, Notes, Row, Scan, Unreadable
from dcap.core.registry import Registry
from dcap.core.words import show
from dcap.geometry.shapes import KEY_OF_KIND, KEYS, GeometryKind


@dataclass(frozen=True, slots=True)
class AnswerObject:
    """One object of an answer, in grid units."""

    kind: GeometryKind
    points: Sequence[Sequence[float]]
    """``[x, y]`` pairs; integers when written, any finite numbers when read. A box has its two corners."""
    caption: str
    position: int = 0
    """Character at which the object begins, for messages."""


class PartKind(IntEnum):
    """Kind of a part of an answer text."""

    STRUCTURE = 0
    """Punctuation, keys, and counts of points."""
    NUMBERS = 1
    """The numbers of one shape, with the punctuation between them."""
    CAPTION = 2
    """The text of an object, with its escapes and without its quotes."""


TextPart = tuple[str, PartKind]
"""A piece of an answer text and its kind."""


class AnswerFormat(Protocol):
    """The interface of an answer format. Any object with these two methods can be registered."""

    def write(self, objects: Sequence[AnswerObject]) -> Iterable[TextPart]:
        """Return the answer text in parts. The joined parts are the text; each part has its kind."""
        ...

    def parse_objects(self, text: str, notes: Notes) -> list[AnswerObject]:
        """Return every complete object of any text, in order. Problems go to ``notes.add(position, text)``.

        Raises:
            AnswerError: By ``notes.add``, in strict reading.
        """
        ...


ANSWER_FORMATS: Registry[AnswerFormat] = Registry("answer format", "dcap.answer_formats")


class Layout(ABC):
    """A format of dcap itself. Between two captions, its text depends on the numbers in one place only.

    So the tokens of an answer can be counted without its numbers (`dcap.answers.codec.Outline`): writing and counting
    share `pieces` and `between`.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def piece_kinds(self) -> tuple[PartKind, ...]:
        """The kinds of the four pieces of each object, in order."""

    @abstractmethod
    def pieces(self, objects: Iterable[tuple[int, int, str, str]]) -> list[str]:
        """Return the answer text of N objects in 4 N + 1 pieces; the last one is structure.

        ::

            {"object_1": {"bbox_2d": [|417, 494, 491, 702|], "desc": "|cup|"}, "object_2": ...
            structure                 |numbers           |structure   |caption|structure

        Args:
            objects: Kind, number of points, numbers and caption of each.
        """

    @abstractmethod
    def between(self, kind: int) -> tuple[str, str]:
        """Return the texts between the two numbers of a point, and between two points of a shape."""

    def write(self, objects: Sequence[AnswerObject]) -> list[TextPart]:
        """Return the answer text in parts."""
        texts = self.pieces([(obj.kind, len(obj.points), self._numbers(obj), obj.caption) for obj in objects])
        return list(zip(texts, cycle(self.piece_kinds), strict=False))

    def parse_objects(self, text: str, notes: Notes) -> list[AnswerObject]:
        """Return every complete object of any text, in order.

        Raises:
            AnswerError: In strict reading, at the first difference from what `write` gives.
        """
        scan = Scan(text, notes)
        self._check_root(scan.root, notes)
        return _read_all(scan, self._layout_of_objects, notes)

    @property
    def _layout_of_objects(self) -> JsonFormat:
        """How objects that have keys are written; rows have none, and are read by any."""
        return _FOREIGN

    @abstractmethod
    def _check_root(self, root: Any, notes: Notes) -> None:
        """Note what is wrong with the outermost value."""

    def _numbers(self, obj: AnswerObject) -> str:
        """Write the numbers of one object, from its first digit to its last."""
        of_point, of_shape = self.between(obj.kind)
        points = json.dumps(obj.points)[2:-2].split("], [")
        return of_shape.join(points if of_point == ", " else [point.replace(", ", of_point) for point in points])


@dataclass(frozen=True, slots=True)
class JsonFormat(Layout):
    """Answers that are JSON objects in a mapping or a list.

    ::

        numbered                 {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"},
                                  "object_2": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "road"}}
        list                     [{"bbox_2d": [417, 494, 491, 702], "label": "cup"}]
        list, compact            [{"bbox_2d":[417,494,491,702],"label":"cup"}]
        numbered, text_first     {"object_1": {"desc": "cup", "bbox_2d": [417, 494, 491, 702]}}

    Reading takes any blanks and any order of keys, as JSON does. Lenient reading accepts answers of the other layouts
    too, and notes the difference.
    """

    text_key: str
    """JSON key of the caption."""
    numbered: bool
    """Whether the outermost value is a mapping ``object_1``, ``object_2``, ..., not a list."""
    compact: bool = False
    """Whether there is no blank behind a comma or colon."""
    text_first: bool = False
    """Whether the caption is before the shape."""
    counted: tuple[str, ...] = ("poly", "line")
    """Keys of the shapes whose number of points is written before them."""

    @property
    def piece_kinds(self) -> tuple[PartKind, ...]:
        """The kinds of the four pieces of each object, in order."""
        inner = (PartKind.CAPTION, PartKind.NUMBERS) if self.text_first else (PartKind.NUMBERS, PartKind.CAPTION)
        return PartKind.STRUCTURE, inner[0], PartKind.STRUCTURE, inner[1]

    def pieces(self, objects: Iterable[tuple[int, int, str, str]]) -> list[str]:
        """Return the answer text of N objects in 4 N + 1 pieces; see `Layout.pieces`."""
        pieces: list[str] = []
        before = "{" if self.numbered else "["
        comma, colon = self._signs
        text = f'"{self.text_key}"{colon}"'
        for i, (kind, num_points, numbers, caption) in enumerate(objects, 1):
            start = f'{before}"object_{i}"{colon}{{' if self.numbered else f"{before}{{"
            key, is_box = KEY_OF_KIND[kind], kind == GeometryKind.BOX
            count = f'"{key}_points"{colon}{num_points}{comma}' if key in self.counted else ""
            head, end = f'{count}"{key}"{colon}{"[" if is_box else "[["}', "]" if is_box else "]]"
            escaped = encode_basestring(caption)[1:-1]
            if self.text_first:
                pieces += (start + text, escaped, f'"{comma}{head}', numbers)
                before = f"{end}}}{comma}"
            else:
                pieces += (start + head, numbers, f"{end}{comma}{text}", escaped)
                before = f'"}}{comma}'
        return [*pieces, before.removesuffix(comma) + ("}" if self.numbered else "]")]

    def between(self, kind: int) -> tuple[str, str]:
        """Return the texts between the two numbers of a point, and between two points: those of a box are one list."""
        comma, _ = self._signs
        return comma, comma if kind == GeometryKind.BOX else f"]{comma}["

    @property
    def _layout_of_objects(self) -> JsonFormat:
        return self

    @property
    def _signs(self) -> tuple[str, str]:
        return (",", ":") if self.compact else (", ", ": ")

    def _check_root(self, root: Any, notes: Notes) -> None:
        if not isinstance(root, Node if self.numbered else list):
            if notes.total == 0:
                notes.add(0, f"answer must be {'an object' if self.numbered else 'a list'} of objects")
            return
        members = root.members if isinstance(root, Node) else [("", item, 0) for item in root]
        for i, (key, item, place) in enumerate(members, 1):
            if self.numbered and key != f"object_{i}":
                notes.add(place, f"key must be 'object_{i}', not {key[:40]!r}")
            if not isinstance(item, Node) or _is_container(item):
                start = item.position if isinstance(item, Node) else place
                notes.add(start, f"item {i} must be an object with a shape")


@dataclass(frozen=True, slots=True)
class RowFormat(Layout):
    """Answers that are a list of rows: the numbers of a shape, then its caption, without blanks.

    ::

        box        [417,494,491,702,"cup"]          four numbers
        polygon    [10,600,30,600,20,800,"roof"]    six numbers or more
        line       ["l",0,32,125,102,"road"]        "l", then four numbers or more

    A row's first item and its count of numbers tell the kind, whatever the caption: a box has two points, and a polygon
    at least three. Lenient reading accepts answers of the other layouts too, and notes the difference.
    """

    @property
    def piece_kinds(self) -> tuple[PartKind, ...]:
        """The kinds of the four pieces of each object, in order."""
        return PartKind.STRUCTURE, PartKind.NUMBERS, PartKind.STRUCTURE, PartKind.CAPTION

    def pieces(self, objects: Iterable[tuple[int, int, str, str]]) -> list[str]:
        """Return the answer text of N objects in 4 N + 1 pieces; see `Layout.pieces`."""
        pieces: list[str] = []
        before = "["
        for kind, _, numbers, caption in objects:
            head = f'["{_LINE_LETTER}",' if kind == GeometryKind.LINE else "["
            pieces += (before + head, numbers, ',"', encode_basestring(caption)[1:-1])
            before = '"],'
        return [*pieces, before.removesuffix(",") + "]"]

    def between(self, kind: int) -> tuple[str, str]:
        """Return the texts between the two numbers of a point, and between two points: both are a comma."""
        return ",", ","

    def _check_root(self, root: Any, notes: Notes) -> None:
        if not isinstance(root, list):
            if notes.total == 0:
                notes.add(0, "answer must be a list of rows")
            return
        for i, item in enumerate(root, 1):
            if not isinstance(item, list) or not item or not isinstance(item[-1], str):
                notes.add(0, f"item {i} must be a row, a list of numbers and a text")


OWN_FORMATS: dict[str, AnswerFormat] = {
    "object_map": JsonFormat(text_key="desc", numbered=True),
    "desc_first": JsonFormat(text_key="desc", numbered=True, text_first=True, counted=("line",)),
    "qwen": JsonFormat(text_key="label", numbered=False),
    "qwen_compact": JsonFormat(text_key="label", numbered=False, compact=True),
    "rows": RowFormat(),
}
"""The formats of dcap itself, by name."""
for _name, _format in OWN_FORMATS.items():
    ANSWER_FORMATS.register(_name, _format)

_FOREIGN = JsonFormat(text_key="desc", numbered=True)
"""How rows' lenient reading takes JSON objects."""
_TEXT_KEYS = ("desc", "label")
_LINE_LETTER = "l"


def own_layout(name: str) -> JsonFormat | RowFormat | None:
    """Return a format by its name. `None`: a plugin's, which may write the numbers in another way.

    Raises:
        ConfigError: The format is not registered.
    """
    found: Any = ANSWER_FORMATS.get(name, "data.answer.format")
    return found if type(found) in (JsonFormat, RowFormat) else None


def _read_all(scan: Scan, layout: JsonFormat, notes: Notes) -> list[AnswerObject]:
    found = []
    for value in scan.closed:
        if isinstance(value, Row):
            found.append(_read_row(value, notes))
        elif not _is_container(value):
            found.append(_read(value, layout, notes))
    return [obj for obj in found if obj is not None]


def _is_container(node: Node) -> bool:
    """Whether this is the mapping around the objects, not an object."""
    return not any(key in KEYS or (key in _TEXT_KEYS and isinstance(value, str)) for key, value, _ in node.members)


def _read_row(row: Row, notes: Notes) -> AnswerObject | None:
    """Read one row. `None`, with a note: it is not complete."""
    *values, caption = row.items
    letter = values.pop(0) if values and isinstance(values[0], str) else None
    if letter not in (None, _LINE_LETTER):
        notes.add(row.position, f'first item of a row must be a number or "{_LINE_LETTER}", not {show(letter)}')
        return None
    points = _points(values, row.position, "row", True, notes)
    if points is None:
        return None
    closed = GeometryKind.BOX if len(points) <= 2 else GeometryKind.POLYGON
    return AnswerObject(closed if letter is None else GeometryKind.LINE, points, caption, row.position)


def _read(node: Node, layout: JsonFormat, notes: Notes) -> AnswerObject | None:
    """Read one object. `None`, with a note: it is not complete."""
    text_key = layout.text_key
    members: dict[str, tuple[Any, int]] = {}
    for key, value, place in node.members:
        if key in members:
            notes.add(place, f"key {key[:40]!r} must be given once")
        members.setdefault(key, (value, place))
    shapes = [key for key in members if key in KEYS]
    texts = [key for key in (text_key, *_TEXT_KEYS) if key in members]
    if not shapes or not texts:
        missing = f"a {text_key}" if shapes else "one of bbox_2d, poly, line"
        notes.add(node.position, f"object must have {missing}")
        return None
    key, text = shapes[0], texts[0]
    count_key = f"{key}_points" if key in layout.counted else None
    for other, (_, place) in members.items():
        if other not in (key, text_key, count_key):
            notes.add(place, f"key {other[:40]!r} must not be in an object with {key} and {text_key}")
    caption, place = members[text]
    if not isinstance(caption, str):
        notes.add(place, f"{text} must be a string")
        return None
    points = _points(*members[key], key, KEYS[key] is GeometryKind.BOX, notes)
    if points is None:
        return None
    if f"{key}_points" in members:
        count, place = members[f"{key}_points"]
        if type(count) is not int or count != len(points):
            notes.add(place, f"{key}_points must be {len(points)}")
    elif key in layout.counted:
        notes.add(node.position, f"{key}_points must be given")
    return AnswerObject(KEYS[key], points, caption, node.position)


def _shown(item: Any) -> str:
    """Return what stands where a number should, for a message."""
    if isinstance(item, Node | list):
        return "an object" if isinstance(item, Node) else "a list"
    return item.text if isinstance(item, Unreadable) else show(item)


def _points(value: Any, place: int, key: str, is_flat: bool, notes: Notes) -> list[list[float]] | None:
    """Read the numbers of one shape as pairs, flat or nested. A note says if `write` nests them otherwise."""
    if not isinstance(value, list):
        notes.add(place, f"{key} must be a list of numbers")
        return None
    nested = [item for item in value if isinstance(item, list)]
    if nested and (len(nested) < len(value) or any(len(item) != 2 for item in nested)):
        notes.add(place, f"{key} must hold pairs of numbers")
        return None
    flat = [number for pair in nested for number in pair] if nested else value
    for number in flat:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            notes.add(place, f"{key} must hold numbers, not {_shown(number)}")
            return None
    if len(flat) % 2:
        notes.add(place, f"{key} must have an even count of numbers, not {len(flat)}")
        return None
    if bool(nested) == is_flat and flat:
        notes.add(place, f"{key} must be {'a flat list' if nested else 'a list of [x, y] pairs'}")
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
