"""A JSON reader that survives anything: one pass, no recursion, every complete object, every problem with its place.

Owns the grammar of answer texts below the level of formats. A strict reader stops at the first problem. A lenient
reader notes it and goes on after it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from dcap.core.errors import AnswerError

MAX_PROBLEMS = 100
"""Number of problems that are kept in words. Garbage has more."""

_TOKEN = re.compile(r'[ \t\r\n]*+(?:(?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")|(?P<word>[-+.\w]++)|(?P<mark>.)|\Z)', re.S)
_OPENING = re.compile(r"[{\[]")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?P<real>(?:\.\d+)?(?:[eE][-+]?\d+)?)", re.A)
_ESCAPE = re.compile(r'(\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))|\\')
_CONTROL = re.compile(r"[\x00-\x1f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LITERALS = {"true": True, "false": False, "null": None}
_MAX_NUMBER_CHARS = 32

Expect = Literal["key or end", "key", "colon", "value", "value or end", "comma or end"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A word that is not a JSON value, such as ``NaN``, in an object that may otherwise be complete."""

    text: str


@dataclass(slots=True)
class Node:
    """A JSON object as written: repeated keys stay, each member is (key, value, position of the key)."""

    position: int
    members: list[tuple[str, Any, int]] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    """A JSON list that ends with a text, and is not a value of a JSON object."""

    position: int
    items: list[Any]


@dataclass(slots=True)
class Notes:
    """Collects problems: raises at once (strict) or keeps them (lenient)."""

    strict: bool
    problems: list[str] = field(default_factory=list)
    total: int = 0
    offset: int = 0
    """Characters before the part that a format reads; added to every position."""

    def add(self, position: int, text: str) -> None:
        """Note a problem at a character position.

        Raises:
            AnswerError: In strict reading.
        """
        message = f"character {position + self.offset}: {text}"
        if self.strict:
            raise AnswerError(f"answer at {message}")
        self.total += 1
        if self.total <= MAX_PROBLEMS:
            self.problems.append(message)

    def finished(self) -> tuple[str, ...]:
        """Return the problems. If there are too many, the last entry gives the number of the rest."""
        more = self.total - MAX_PROBLEMS
        return (*self.problems, f"and {more} more") if more > 0 else tuple(self.problems)


class Scan:
    """One pass over a text, in time linear in its length.

    ::

        Sure: {"object_1": {"desc": "a"}, "object_2": {"de
        outside            `---node----'              still open at the end: noted, never a node

    Outside of brackets, everything is skipped up to the next bracket. So text, code fences and the rest of a broken
    object cannot hide the objects that follow.

    Args:
        text: Any string.
        notes: Gets the problems.

    Raises:
        AnswerError: In strict reading, at the first problem.
    """

    closed: list[Node | Row]
    """Every object and every row that was closed, in the order of the text; inner ones come before outer ones."""
    root: Any
    """The first outermost value that was closed. `None`: there is none."""

    def __init__(self, text: str, notes: Notes) -> None:
        self.closed = []
        self.root = None
        self._text = text
        self._notes = notes
        self._stack: list[Node | list[Any]] = []
        self._starts: list[int] = []
        self._keys: list[tuple[str, int]] = []
        self._expect: Expect = "value"
        position = 0
        while (opening := _OPENING.search(text, position)) is not None:
            self._skip(position, opening.start())
            position = self._container(opening.start())
        self._skip(position, len(text))
        if self.root is None and notes.total == 0:
            notes.add(0, "answer must be a JSON value in brackets, found none")

    def _skip(self, start: int, end: int) -> None:
        if self._notes.total == 0:
            skipped = self._text[start:end]
            if rest := skipped.strip():
                place = start + len(skipped) - len(skipped.lstrip())
                self._notes.add(place, f"answer must be nothing but JSON, found {rest[:20]!r}")

    def _container(self, start: int) -> int:
        """Read from an opening bracket to its closing bracket, or to the first break; return the position."""
        if self.root is not None:
            self._notes.add(start, "answer must be one JSON value, found another one")
        self._expect = "value"
        position = start
        while (match := _TOKEN.match(self._text, position)) is not None and (kind := match.lastgroup) is not None:
            token, place, position = match[kind], match.start(kind), match.end()
            problem = self._feed(kind, token, place)
            if problem:
                self._notes.add(place, problem)
                self._drop()
                return place if token in "{[" else position
            if not self._stack:
                return position
        self._notes.add(len(self._text), "answer must not end inside an object or list")
        self._drop()
        return len(self._text)

    def _drop(self) -> None:
        self._stack.clear()
        self._starts.clear()
        self._keys.clear()

    def _feed(self, kind: str, token: str, place: int) -> str | None:
        """Take one token. Return the problem that makes it impossible to go on, if any."""
        if kind == "mark" and token in "}]":
            return self._close(token, place)
        if kind == "mark" and token == ",":
            return self._comma(place)
        if kind == "mark" and token == ":" and self._expect == "colon":
            self._expect = "value"
            return None
        if kind == "mark" and token == '"':
            return "string must end before the answer does"
        if kind == "mark" and token not in "{[":
            return f"{token!r} must not be here, expected {self._expect}"
        if self._expect == "comma or end":
            self._notes.add(place, "comma is missing")
            self._expect = "key" if isinstance(self._stack[-1], Node) else "value"
        if self._expect == "colon" or (self._expect.startswith("key") and kind != "string"):
            return f"{token[:20]!r} must not be here, expected {self._expect}"
        self._item(kind, token, place)
        return None

    def _item(self, kind: str, token: str, place: int) -> None:
        """Take the next key, value or opening of a container."""
        if self._expect.startswith("key"):
            self._keys.append((self._string(token, place), place))
            self._expect = "colon"
        elif kind == "mark":
            opened: Node | list[Any] = Node(place) if token == "{" else []
            self._stack.append(opened)
            self._starts.append(place)
            self._expect = "key or end" if token == "{" else "value or end"
        else:
            self._put(self._string(token, place) if kind == "string" else _word(token))
            self._expect = "comma or end"

    def _put(self, value: Any) -> None:
        parent = self._stack[-1]
        if isinstance(parent, Node):
            key, place = self._keys.pop()
            parent.members.append((key, value, place))
        else:
            parent.append(value)

    def _close(self, token: str, place: int) -> str | None:
        top = self._stack[-1]
        is_node = isinstance(top, Node)
        if (token == "}") != is_node:
            return f"{token!r} must not close what another bracket opened"
        if self._expect == "colon" or (self._expect == "value" and is_node):
            return f"{token!r} must not be here, expected {self._expect}"
        if self._expect in ("key", "value"):
            self._notes.add(place, f"comma must not come before {token!r}")
        self._stack.pop()
        start = self._starts.pop()
        if isinstance(top, Node):
            self.closed.append(top)
        elif top and isinstance(top[-1], str) and not any(isinstance(outer, Node) for outer in self._stack):
            self.closed.append(Row(start, top))
        if self._stack:
            self._put(top)
        elif self.root is None:
            self.root = top
        self._expect = "comma or end"
        return None

    def _comma(self, place: int) -> str | None:
        in_node = isinstance(self._stack[-1], Node)
        if self._expect == "colon" or (self._expect == "value" and in_node):
            return f"',' must not be here, expected {self._expect}"
        if self._expect != "comma or end":
            self._notes.add(place, "comma must be between two items")
        self._expect = "key" if in_node else "value"
        return None

    def _string(self, token: str, place: int) -> str:
        try:
            value: str = json.loads(token, strict=False)
        except json.JSONDecodeError as error:
            self._notes.add(place + error.pos, "escape in the string must be one that JSON knows")
            value = json.loads(_ESCAPE.sub(lambda m: m[1] or r"\\", token), strict=False)
        if match := _CONTROL.search(token):
            self._notes.add(place + match.start(), "control character in a string must be escaped")
        if _SURROGATE.search(value):
            self._notes.add(place, "string must be Unicode text, not half of a surrogate pair")
            value = _SURROGATE.sub("�", value)
        return value


def _word(token: str) -> Any:
    if token in _LITERALS:
        return _LITERALS[token]
    match = _NUMBER.fullmatch(token) if len(token) <= _MAX_NUMBER_CHARS else None
    if match is None:
        return Unreadable(token[:_MAX_NUMBER_CHARS])
    if not match["real"]:
        return int(token)
    value = float(token)
    return value if math.isfinite(value) else Unreadable(token)
