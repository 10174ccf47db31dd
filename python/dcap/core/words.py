"""Words of messages: numbers of things, values as JSON and YAML have them, and texts from outside made printable."""

from __future__ import annotations

import json
import re
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, default=str)
# Control characters (of a terminal too: ESC, CSI), line separators, marks that turn the direction of text around, and
# halves of characters, which no encoding can write.
_UNPRINTABLE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_UNSAFE = re.compile(f"[{_UNPRINTABLE}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\t\n])[{_UNPRINTABLE}]")

NUMBER = re.compile(r"(?<!\w)-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
"""A number in a message."""
_VALUE = re.compile(r', not (?:"|\[|\{).*|"[^"]*"|(?<!\w)\'[^\']*\'')
# From the beginning of a word only: a long one without a slash is else tried from each of its characters.
_PATH = re.compile(r"(?<=size of ).*?(?= as displayed)|(?:lead to |the record at |(?<!\S))\S*/\S+")


def counted(number: int, noun: str) -> str:
    """Return ``"1 record"``, ``"2 records"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_line(error: Exception) -> str:
    """Return the first line of an error of another package that says something; some begin with a heading."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.endswith(":")), type(error).__name__)


def show(value: Any, at_most: int = 60) -> str:
    """Return a value as a file has it, such as ``null`` and not ``None``; cut to `at_most` characters for a message."""
    text = ""
    try:
        # Piece by piece: written out, a list that holds itself has no end.
        for piece in _ENCODER.iterencode(value):
            text += piece
            if len(text) > at_most:
                break
    except TypeError:
        return "a mapping whose keys are no texts"
    except ValueError:
        return "a number with thousands of digits"
    text = printable(text[: at_most + 1])
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def without_values(text: str) -> str:
    """Return a message without the values and paths that it names, so that messages of one kind are nearly equal."""
    return _PATH.sub("…", _VALUE.sub(lambda found: ", not …" if found[0].startswith(",") else "…", text))


def printable(text: str) -> str:
    r"""Return a text from outside as one line that any terminal shows as it is: ``"\x1b[31m"`` for a red one.

    A file name, a caption or a model's answer may hold what moves the cursor, changes colours, hides or turns text
    around. Such characters become their escapes.
    """
    return _UNSAFE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """As `printable`, but line ends and tabs stay."""
    return _UNSAFE_IN_LINES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def to_json(tree: Any) -> str:
    """Return plain data as indented JSON that may be printed: what `printable` escapes is escaped as JSON does."""
    text = json.dumps(tree, indent=2, ensure_ascii=False)
    return _UNSAFE_IN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


_TYPES = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "an object",
}  # fmt: skip
"""JSON's words for the types that msgspec names."""


def misfit(text: str, whole: str) -> str:
    """Return what keeps a JSON value from having its form, in the words of JSON.

    Args:
        text: What msgspec says of it.
        whole: What the value is called where all of it is meant.
    """
    text, _, path = text.partition(" - at `$")
    field = path.strip("`.") or whole
    if types := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", text):
        expected, got = (" or ".join(_TYPES.get(name, name) for name in group.split(" | ")) for group in types.groups())
        return f"{field} must be {expected}, not {got}"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", text):
        return f"{missing[1]} must be given" if field == whole else f"{field}.{missing[1]} must be given"
    if bound := re.fullmatch(r"Expected `([^`]+)` (>=|<=) (\S+)", text):
        at = "at least" if bound[2] == ">=" else "at most"
        return f"{field} must be {_TYPES.get(bound[1], bound[1])}, {at} {bound[3]}"
    return f"{field}: {text.replace('`', '')}"
