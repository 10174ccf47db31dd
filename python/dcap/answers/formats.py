"""Answer formats: a list of located objects on the grid to text and back, chosen by name.

Owns the JSON layouts of the answer contract. `dcap.answers.codec` has the grid and the rules of legal shapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import cycle
from json.encoder import encode_basestring
from typing import Any, Protocol

from dcap.answers.reader import Node, Notes, Scan, Unreadable
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


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Answers that are JSON: a mapping of numbered objects, or a list.

    ::

        numbered   {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"},
                    "object_2": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "road"}}
        list       [{"bbox_2d": [417, 494, 491, 702], "label": "cup"}]

    Lenient reading of one format accepts answers of the other, and notes the difference. Writing and counting tokens
    (`dcap.answers.codec.Outline`) share `pieces` and the texts between the numbers.
    """

    text_key: str
    """JSON key of the caption."""
    numbered: bool
    """Whether the outermost value is a mapping ``object_1``, ``object_2``, ..., not a list."""

    def write(self, objects: Sequence[AnswerObject]) -> list[TextPart]:
        """Return the answer text in parts."""
        texts = self.pieces([(obj.kind, len(obj.points), _numbers(obj), obj.caption) for obj in objects])
        return list(zip(texts, cycle(_PIECE_KINDS), strict=False))

    def pieces(self, objects: Iterable[tuple[int, int, str, str]]) -> list[str]:
        """Return the answer text of N objects in 4 N + 1 pieces.

        ::

            {"object_1": {"bbox_2d": [|417, 494, 491, 702|], "desc": "|cup|"}, "object_2": ...
            structure                 |numbers           |structure   |caption|structure

        Args:
            objects: Kind, number of points, numbers and caption of each.
        """
        pieces: list[str] = []
        before = "{" if self.numbered else "["
        text = f', "{self.text_key}": "'
        for i, (kind, num_points, numbers, caption) in enumerate(objects, 1):
            name = f'"object_{i}": ' if self.numbered else ""
            key, is_box = KEY_OF_KIND[kind], kind == GeometryKind.BOX
            head = f'{{"{key}": [' if is_box else f'{{"{key}_points": {num_points}, "{key}": [['
            end = "]" if is_box else "]]"
            pieces += (f"{before}{name}{head}", numbers, end + text, encode_basestring(caption)[1:-1])
            before = '"}, '
        return [*pieces, before.removesuffix(", ") + ("}" if self.numbered else "]")]

    def parse_objects(self, text: str, notes: Notes) -> list[AnswerObject]:
        """Return every complete object of any text, in order.

        Raises:
            AnswerError: In strict reading, at the first difference from what `write` gives.
        """
        scan = Scan(text, notes)
        if notes.total == 0:
            self._check_root(scan.root, notes)
        found = [_read(node, self.text_key, notes) for node in scan.nodes if not _is_container(node)]
        return [obj for obj in found if obj is not None]

    def _check_root(self, root: Any, notes: Notes) -> None:
        if isinstance(root, Node) != self.numbered:
            notes.add(0, f"answer must be {'an object' if self.numbered else 'a list'} of objects")
            return
        members = root.members if isinstance(root, Node) else [("", item, 0) for item in root]
        for i, (key, item, place) in enumerate(members, 1):
            if self.numbered and key != f"object_{i}":
                notes.add(place, f"key must be 'object_{i}', not {key[:40]!r}")
            if not isinstance(item, Node) or _is_container(item):
                start = item.position if isinstance(item, Node) else place
                notes.add(start, f"item {i} must be an object with a shape")


ANSWER_FORMATS.register("object_map", JsonFormat(text_key="desc", numbered=True))
ANSWER_FORMATS.register("qwen", JsonFormat(text_key="label", numbered=False))

_PIECE_KINDS = (PartKind.STRUCTURE, PartKind.NUMBERS, PartKind.STRUCTURE, PartKind.CAPTION)
_TEXT_KEYS = ("desc", "label")

BETWEEN_NUMBERS = ", "
"""The text between the two numbers of a point."""
BETWEEN_POINTS: dict[int, str] = {GeometryKind.BOX: ", ", GeometryKind.POLYGON: "], [", GeometryKind.LINE: "], ["}
"""The text between two points: those of a box are one flat list."""


def _numbers(obj: AnswerObject) -> str:
    """Write the numbers of one object, from its first digit to its last."""
    return json.dumps(obj.points)[2:-2].replace("], [", BETWEEN_POINTS[obj.kind])


def _is_container(node: Node) -> bool:
    """Whether this is the mapping around the objects, not an object."""
    return not any(key in KEYS or (key in _TEXT_KEYS and isinstance(value, str)) for key, value, _ in node.members)


def _read(node: Node, text_key: str, notes: Notes) -> AnswerObject | None:
    """Read one object. `None`, with a note: it is not complete."""
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
    for other, (_, place) in members.items():
        if other not in (key, text_key, f"{key}_points"):
            notes.add(place, f"key {other[:40]!r} must not be in an object with {key} and {text_key}")
    caption, place = members[text]
    if not isinstance(caption, str):
        notes.add(place, f"{text} must be a string")
        return None
    points = _points(*members[key], key, notes)
    if points is None:
        return None
    if f"{key}_points" in members:
        count, place = members[f"{key}_points"]
        if type(count) is not int or count != len(points):
            notes.add(place, f"{key}_points must be {len(points)}")
    elif KEYS[key] is not GeometryKind.BOX:
        notes.add(node.position, f"{key}_points must be given")
    return AnswerObject(KEYS[key], points, caption, node.position)


def _shown(item: Any) -> str:
    """Return what stands where a number should, for a message."""
    if isinstance(item, Node | list):
        return "an object" if isinstance(item, Node) else "a list"
    return item.text if isinstance(item, Unreadable) else show(item)


def _points(value: Any, place: int, key: str, notes: Notes) -> list[list[float]] | None:
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
    if bool(nested) == (KEYS[key] is GeometryKind.BOX) and flat:
        notes.add(place, f"{key} must be {'a flat list' if nested else 'a list of [x, y] pairs'}")
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
