"""Twin of cpp/src/record.cpp."""

from __future__ import annotations

from typing import Final

import numpy as np

from dcap.kernels import _json as json
from dcap.kernels import _status as status
from dcap.kernels._json import (
    BRACE,
    BRACE_END,
    BRACKET,
    BRACKET_END,
    COLON,
    COMMA,
    QUOTE,
    number,
    peek,
    read_text,
    skip_space,
    skip_value,
    take,
    take_null,
    whole_number,
)
from dcap.kernels._types import BOX, F64, I64, LINE, POLYGON, U8, jit

HEAD_TEXTS: Final = 2

_NAMES: Final = (
    *(b"images", b"width", b"height", b"objects", b"summary", b"metadata"),
    *(b"desc", b"bbox_2d", b"poly", b"line", b"poly_points", b"line_points", b"attributes"),
)
IMAGES, WIDTH, HEIGHT, OBJECTS, SUMMARY, METADATA, *_ = range(len(_NAMES))
DESC, BBOX, POLY, LINE_KEY, POLY_POINTS, LINE_POINTS, ATTRIBUTES = range(6, len(_NAMES))
UNKNOWN: Final = len(_NAMES)
RECORD_NEEDS: Final = 0b1111
_NAME_BYTES: Final = np.array([list(name.ljust(12, b'"')) for name in _NAMES], np.uint8)
_NAME_SIZES: Final = np.array([len(name) for name in _NAMES])

# What was counted so far, int64 (5,): points of an object as given and as it says, and what was written.
GIVEN: Final = 0
TOLD: Final = 1
NUM_OBJECTS: Final = 2
NUM_POINTS: Final = 3
NUM_VALUES: Final = 4
COUNTS_SIZE: Final = 5


def read_record(line: bytes, max_side: int) -> tuple[F64, I64, U8, I64, I64, tuple[int, int]] | None:
    """Read a line of JSONL if it is a plain record. See `dcap.records.plain`.

    Raises:
        TypeError: The line is not of bytes, or the side no whole number.
    """
    if not isinstance(line, bytes) or not isinstance(max_side, int):
        raise TypeError(f"kernels take a line of bytes and a whole number, not {type(line)} and {type(max_side)}")
    if not 1 <= max_side < json.MOST_WHOLE:
        status.raise_if_failed(status.BAD_ARGUMENT)
    most_objects = len(line) // 20 + 1
    xy, kinds = np.empty((len(line) // 4 + 1, 2)), np.empty(most_objects, np.uint8)
    offsets, sides = np.zeros(most_objects + 1, np.int64), np.zeros(2, np.int64)
    texts = np.zeros((HEAD_TEXTS + most_objects, json.TEXT_COLUMNS), np.int64)
    values = np.zeros((1 + most_objects, json.VALUE_COLUMNS), np.int64)
    place, counts, extent = np.zeros(json.PLACE_SIZE, np.int64), np.zeros(COUNTS_SIZE, np.int64), np.zeros(2)
    data = np.frombuffer(line, np.uint8)
    if not _record(data, place, max_side, counts, sides, xy, extent, offsets, kinds, texts, values):
        return None
    _, _, n, num_points, num_values = counts.tolist()
    found = (xy[:num_points], offsets[: n + 1], kinds[:n], texts[: HEAD_TEXTS + n], values[:num_values])
    copies = tuple(array.copy() for array in found)
    for array in copies:
        array.flags.writeable = False
    return (*copies, tuple(sides.tolist()))  # type: ignore[return-value]


@jit
def _record(
    line: U8,
    place: I64,
    max_side: int,
    counts: I64,
    sides: I64,
    xy: F64,
    extent: F64,
    offsets: I64,
    kinds: U8,
    texts: I64,
    values: I64,
) -> bool:
    seen = np.int64(0)
    more = take(line, place, BRACE)
    while more:
        key = _key(line, place, seen)
        if key >= DESC:
            return False
        seen |= 1 << key
        if key == IMAGES:
            good = take(line, place, BRACKET) and read_text(line, place, texts[0]) and take(line, place, BRACKET_END)
        elif key in (WIDTH, HEIGHT):
            side = whole_number(line, place)
            sides[key - WIDTH] = side
            good = 1 <= side <= max_side
        elif key == SUMMARY:
            good = take_null(line, place) or read_text(line, place, texts[1])
        elif key == METADATA:
            good = take_null(line, place) or (
                peek(line, place) == BRACE and _value(line, place, counts, values, np.int64(-1))
            )
        else:
            good = _objects(line, place, counts, xy, extent, offsets, kinds, texts, values)
        if not good:
            return False
        more = take(line, place, COMMA)
    if not take(line, place, BRACE_END) or (seen & RECORD_NEEDS) != RECORD_NEEDS:
        return False
    skip_space(line, place)
    return place[json.AT] == len(line) and extent[0] <= sides[0] and extent[1] <= sides[1]


@jit
def _key(line: U8, place: I64, seen: int) -> int:
    """Read a key that was not there before and its colon; UNKNOWN for anything else."""
    if not take(line, place, QUOTE):
        return UNKNOWN
    at = place[json.AT]
    key = UNKNOWN
    for k in range(UNKNOWN):
        size = _NAME_SIZES[k]
        if at + size < len(line) and line[at + size] == QUOTE:
            same = True
            for i in range(size):
                same &= line[at + i] == _NAME_BYTES[k, i]
            if same:
                key = k
                place[json.AT] += size + 1
                break
    return key if key < UNKNOWN and not seen >> key & 1 and take(line, place, COLON) else UNKNOWN


@jit
def _value(line: U8, place: I64, counts: I64, values: I64, owner: int) -> bool:
    row = values[counts[NUM_VALUES]]
    row[0] = owner
    counts[NUM_VALUES] += 1
    return skip_value(line, place, row)


@jit
def _objects(
    line: U8, place: I64, counts: I64, xy: F64, extent: F64, offsets: I64, kinds: U8, texts: I64, values: I64
) -> bool:
    if not take(line, place, BRACKET):
        return False
    if take(line, place, BRACKET_END):
        return True
    more = True
    while more:
        shape = _object(line, place, counts, xy, extent, offsets, texts, values)
        if shape == UNKNOWN:
            return False
        kinds[counts[NUM_OBJECTS]] = BOX if shape == BBOX else POLYGON if shape == POLY else LINE
        counts[NUM_OBJECTS] += 1
        offsets[counts[NUM_OBJECTS]] = counts[NUM_POINTS]
        more = take(line, place, COMMA)
    return take(line, place, BRACKET_END)


@jit
def _object(line: U8, place: I64, counts: I64, xy: F64, extent: F64, offsets: I64, texts: I64, values: I64) -> int:
    """Return the key of the shape; UNKNOWN where the object is not plain."""
    seen, shape, i = np.int64(0), UNKNOWN, counts[NUM_OBJECTS]
    more = take(line, place, BRACE)
    while more:
        key = _key(line, place, seen)
        if key < DESC or key == UNKNOWN:
            return UNKNOWN
        seen |= 1 << key
        if key == DESC:
            good = read_text(line, place, texts[HEAD_TEXTS + i])
        elif key in (POLY_POINTS, LINE_POINTS):
            counts[TOLD] = whole_number(line, place)
            good = counts[TOLD] >= 0
        elif key == ATTRIBUTES:
            good = take_null(line, place)
            if not good and (peek(line, place) == BRACE or peek(line, place) == BRACKET):
                good = _value(line, place, counts, values, i)
        else:
            good = shape == UNKNOWN and _shape(line, place, counts, xy, extent, offsets[i], key)
            shape = key
        if not good:
            return UNKNOWN
        more = take(line, place, COMMA)
    if not take(line, place, BRACE_END) or not seen >> DESC & 1:
        return UNKNOWN
    if seen >> POLY_POINTS & 1 and (shape != POLY or counts[TOLD] != counts[GIVEN]):
        return UNKNOWN
    if seen >> LINE_POINTS & 1 and (shape != LINE_KEY or counts[TOLD] != counts[GIVEN]):
        return UNKNOWN
    return shape


@jit
def _shape(line: U8, place: I64, counts: I64, xy: F64, extent: F64, first: int, key: int) -> bool:
    if not _points(line, place, counts, xy, extent, first):
        return False
    last = counts[NUM_POINTS] - 1
    if key == BBOX:
        return counts[GIVEN] == 2 and last == first + 1 and xy[first, 0] < xy[last, 0] and xy[first, 1] < xy[last, 1]
    if key == POLY and last > first and xy[first, 0] == xy[last, 0] and xy[first, 1] == xy[last, 1]:
        counts[NUM_POINTS] -= 1
    return counts[NUM_POINTS] - first >= (3 if key == POLY else 2)


@jit
def _points(line: U8, place: I64, counts: I64, xy: F64, extent: F64, first: int) -> bool:
    """Read numbers in pairs, without those that repeat the pair before; all of them are counted."""
    if not take(line, place, BRACKET):
        return False
    counts[GIVEN] = 0
    more = True
    while more:
        x = number(line, place)
        if x < 0.0 or not take(line, place, COMMA):
            return False
        y = number(line, place)
        if y < 0.0:
            return False
        counts[GIVEN] += 1
        n = counts[NUM_POINTS]
        if n == first or x != xy[n - 1, 0] or y != xy[n - 1, 1]:
            xy[n, 0], xy[n, 1] = x, y
            extent[0], extent[1] = max(extent[0], x), max(extent[1], y)
            counts[NUM_POINTS] += 1
        more = take(line, place, COMMA)
    return take(line, place, BRACKET_END)
