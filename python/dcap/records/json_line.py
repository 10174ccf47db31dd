"""One line of JSON to plain Python, with an error for every way in which it can be wrong.

Owns decoding speed, positions in messages, and the refusal of repeated keys, which JSON decoders drop in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from dcap.core.errors import RecordError
from dcap.core.words import show

MAX_LINE_BYTES = 64 << 20
"""Longest record that is read; a longer line is a file without line ends, not a record."""
MAX_DEPTH = 64
"""Deepest nesting of a record. Recursion could not copy or write a deeper one."""

_TOO_DEEP = f"must not be nested deeper than {MAX_DEPTH} levels"
# What a pattern names before its hit is passed over whole.
_STRING = r'"(?:[^"\\]|\\.)*+"'
_NUMBERS = rf"{_STRING}|(?P<hit>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
_HALVES = r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(?P<hit>\\u[dD][89a-fA-F]\w\w)|\\."
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_WORDS = {
    "Expecting value": "lacks a value here",
    "Expecting property name": "lacks a key in double quotes here",
    "Expecting ':'": "lacks a colon behind the key here",
    "Expecting ','": "lacks a comma or a closing bracket here",
    "Extra data": "goes on behind its end",
    "Unterminated string": "has a text here that no quote ends",
    "Invalid control character": "has a control character here, which must be escaped",
    "Invalid \\": "has an unknown escape here",
    "Illegal trailing comma": "has a comma here with nothing behind it",
}
_DECODER = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a record."""

    field: str
    """Path inside the record, such as ``objects[3].poly``; ``line`` when it is no JSON object."""
    text: str
    """What is wrong, without the field."""

    @classmethod
    def of(cls, message: str) -> Problem:
        """Split an error message into its field and its contract."""
        field, sign, rest = message.partition(" must ")
        return cls(field, f"must {rest}") if sign else cls("record", message)

    def __str__(self) -> str:
        return f"{self.field} {self.text}"


def decode_line(line: bytes) -> dict[str, Any]:
    """Decode one line.

    Args:
        line: UTF-8 JSON without its line end.

    Raises:
        RecordError: The line is no JSON object, repeats a key, is nested deeper than `MAX_DEPTH`, or longer than
            `MAX_LINE_BYTES`; the message has the column (characters, from 1) but not the file.
    """
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"line must be at most {MAX_LINE_BYTES} bytes, not {len(line)}. Write one record per line.")
    try:
        data = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        column, text = fault_of(line, error, "line")
        raise RecordError(f"column {column + 1}: {text}") from None
    count = num_keys(data, MAX_DEPTH)
    if not isinstance(data, dict):
        raise RecordError(f"column 1: line must be a JSON object, not {show(data)}")
    if count_key_ends(line) > count:
        refuse_repeated_keys(line)
    return data


def count_key_ends(line: bytes) -> int:
    """Count what looks like the end of a key. There is one for each key, and one wherever a text looks like it."""
    return len(_KEY_END.findall(line))


def num_keys(value: Any, depth: int) -> int:
    """Count the keys of all dicts in a value.

    Raises:
        RecordError: It is nested deeper than `depth` levels.
    """
    if type(value) is not dict and type(value) is not list:
        return 0
    if depth == 0:
        raise RecordError(f"column 1: line {_TOO_DEEP}")
    if isinstance(value, dict):
        return len(value) + sum([num_keys(v, depth - 1) for v in value.values()])
    return sum([num_keys(v, depth - 1) for v in value if type(v) is dict or type(v) is list])


def refuse_repeated_keys(data: bytes) -> None:
    """Look for a key that an object gives twice. `count_key_ends` counts too many where a text looks like a key.

    Args:
        data: JSON that the fast decoder has read.

    Raises:
        RecordError: There is one.
    """
    json.loads(data, object_pairs_hook=with_unique_keys, parse_int=len)


def with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of pairs of a key and a value.

    Raises:
        RecordError: A key is given twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecordError(f"key {show(twice)} must be given once in an object, not {keys.count(twice)} times")
    return found


def fault_of(data: bytes, error: Exception, noun: str) -> tuple[int, str]:
    """Return the facts that the fast decoder does not give: where JSON is wrong, in characters from 0, and how.

    Args:
        data: Text that is no JSON, or that holds what Python cannot.
        error: Of the fast decoder.
        noun: What the text is, such as ``line``.
    """
    if isinstance(error, RecursionError):
        return 0, f"{noun} {_TOO_DEEP}"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as bad:
        place = len(data[: bad.start].decode("utf-8"))
        return place, f"{noun} must be UTF-8, not byte 0x{data[bad.start]:02x}. Save the file as UTF-8."
    try:
        json.loads(text, parse_constant=_refuse_constant, parse_int=len)  # `int` refuses more than 4300 digits
    except json.JSONDecodeError as bad_json:
        if bad_json.pos >= len(text.rstrip()):
            return bad_json.pos, f"{noun} must be JSON, and ends too early"
        return bad_json.pos, f"{noun} must be JSON, and {_in_words(bad_json.msg)}"
    except RecursionError:
        return 0, f"{noun} {_TOO_DEEP}"
    except RecordError as constant:
        word = str(constant)
        return _first_hit(text, rf"{_STRING}|(?P<hit>{re.escape(word)})"), f"number must be finite, not {word}"
    if "out of range" in str(error):
        place = _first_hit(text, _NUMBERS, lambda number: math.isinf(float(number)))
        return place, "number must fit float64, not a larger one"
    return _first_hit(text, _HALVES), "string must be Unicode text, not half of a surrogate pair"


def _in_words(message: str) -> str:
    """Return what Python's reader says about text that is no JSON, in common words."""
    return next((words for start, words in _WORDS.items() if message.startswith(start)), "has a mistake here")


def _refuse_constant(word: str) -> Any:
    raise RecordError(word)


def _first_hit(text: str, pattern: str, wanted: Callable[[str], bool] = lambda _: True) -> int:
    """Return the place, from 0, of the first group ``hit`` that is wanted."""
    hits = (match for match in re.finditer(pattern, text) if match["hit"] and wanted(match["hit"]))
    return next((match.start() for match in hits), 0)
