"""One line of JSON, token by token: what the numba twin reads records with; C++ has dcap/json.hpp."""

from __future__ import annotations

from typing import Final

import numpy as np

from dcap.kernels._types import I64, U8, jit

TEXT_COLUMNS: Final = 3
VALUE_COLUMNS: Final = 4

# Of one type, since numba would compile a copy of a function for each literal.
BRACE, BRACE_END, BRACKET, BRACKET_END, COMMA, COLON, QUOTE, BACKSLASH, POINT, ZERO, NINE = map(
    np.int64, b'{}[],:"\\.09'
)

# The place in a line, int64 (2,): next byte, and bytes before it that go on with a character.
AT: Final = 0
CONTINUATIONS: Final = 1
PLACE_SIZE: Final = 2

FAILED: Final = -1.0
MOST_DIGITS: Final = 18
MOST_WHOLE: Final = 2**31
_POWERS: Final = 10 ** np.arange(MOST_DIGITS + 1)

_BLANK, _VISIBLE, _CONTINUATION, _CONTROL = range(4)


def _classes() -> U8:
    """What each byte of a text is; 0xc2 and 0xe1 to 0xe3 begin what may be white space."""
    classes = np.full(256, _VISIBLE, np.uint8)
    classes[:0x20], classes[0x20], classes[0x80:0xC0], classes[0xC0:0xE4] = _CONTROL, _BLANK, _CONTINUATION, _BLANK
    return classes


_CLASSES: Final = _classes()


@jit
def peek(line: U8, place: I64) -> int:
    """Return the next byte; 0, which stands nowhere in JSON, behind the end."""
    return line[place[AT]] if place[AT] < len(line) else 0


@jit
def skip_space(line: U8, place: I64) -> None:
    byte = peek(line, place)
    while byte == 32 or byte == 9 or byte == 13 or byte == 10:
        place[AT] += 1
        byte = peek(line, place)


@jit
def take(line: U8, place: I64, wanted: int) -> bool:
    """Move behind the next sign if it is the wanted one."""
    skip_space(line, place)
    if peek(line, place) != wanted:
        return False
    place[AT] += 1
    return True


@jit
def take_null(line: U8, place: I64) -> bool:
    skip_space(line, place)
    at = place[AT]
    if len(line) - at < 4 or line[at] != 110 or line[at + 1] != 117 or line[at + 2] != 108 or line[at + 3] != 108:
        return False
    place[AT] += 4
    return True


@jit
def number(line: U8, place: I64) -> float:
    """Read a number of at most 18 digits without sign and exponent, correctly rounded; FAILED for all else."""
    skip_space(line, place)
    start, decimals = place[AT], 0
    value = _digits(line, place, np.int64(0))
    whole = place[AT] - start
    if whole == 0 or (whole > 1 and line[start] == ZERO):
        return FAILED
    if line[start] == ZERO:
        whole = 0
    if peek(line, place) == POINT:
        place[AT] += 1
        before = place[AT]
        value = _digits(line, place, value)
        decimals = place[AT] - before
        if decimals == 0:
            return FAILED
    if whole + decimals > MOST_DIGITS:
        return FAILED
    if value > 1 << 53:
        return _long_decimal(value, decimals)
    # Both are exact, so one division rounds once.
    return float(value / _POWERS[decimals])


@jit
def _digits(line: U8, place: I64, value: int) -> int:
    at = place[AT]
    while at < len(line) and ZERO <= line[at] <= NINE:
        digit: int = line[at] - ZERO
        value = 10 * value + digit  # wraps where there are too many, which is found later
        at += 1
    place[AT] = at
    return value


@jit
def _long_decimal(value: int, decimals: int) -> float:
    """Return value / 10^decimals, rounded half to even, for a value of more than 53 bits."""
    power = _POWERS[decimals]
    quotient, rest = value // power, value % power
    if quotient >= MOST_WHOLE:
        return FAILED
    scale = 1
    while quotient < 1 << 53:  # a bit of the fraction at a time, until there are 54
        rest *= 2
        one = 1 if rest >= power else 0
        rest -= power * one
        quotient = 2 * quotient + one
        scale *= 2
    half = quotient & 1
    quotient >>= 1
    if half and (rest != 0 or quotient & 1):
        quotient += 1
    return quotient / (scale // 2)


@jit
def whole_number(line: U8, place: I64) -> int:
    """Read a whole number below 2^31 without a sign; -1 for all else."""
    skip_space(line, place)
    start = place[AT]
    value = number(line, place)
    if value >= MOST_WHOLE:
        return -1
    for at in range(start, place[AT]):
        if line[at] == POINT:
            return -1
    return int(value)


@jit
def read_text(line: U8, place: I64, row: I64) -> bool:
    """Tell in `row` which characters a text has, and whether it needs a look."""
    if not take(line, place, QUOTE):
        return False
    first = place[AT] - place[CONTINUATIONS]
    look = _skip_text(line, place)
    last = place[AT] - place[CONTINUATIONS] - 1
    row[0], row[1], row[2] = first, last, look
    return look >= 0 and last - first > 0


@jit
def _skip_text(line: U8, place: I64) -> int:
    """Move from behind a quote to behind the one that ends the text; return whether it needs a look, -1 at no end."""
    visible, escaped = False, False
    while place[AT] < len(line):
        byte = line[place[AT]]
        place[AT] += 1
        if byte == QUOTE:
            return 1 if escaped or not visible else 0
        if byte == BACKSLASH:
            escaped = True
            if peek(line, place) == QUOTE or peek(line, place) == BACKSLASH:
                place[AT] += 1
            continue
        what = _CLASSES[byte]
        if what == _CONTROL:
            return -1
        visible |= what == _VISIBLE
        place[CONTINUATIONS] += what == _CONTINUATION
    return -1


@jit
def skip_value(line: U8, place: I64, row: I64) -> bool:
    """Move from the bracket that begins an object or a list behind the one that ends it; `row` gets what is there."""
    row[1] = place[AT] - place[CONTINUATIONS]
    depth = num_keys = 0
    while True:
        byte = peek(line, place)
        if byte == 0:
            return False
        place[AT] += 1
        if byte == QUOTE and _skip_text(line, place) < 0:
            return False
        depth += byte in (BRACE, BRACKET)
        depth -= byte in (BRACE_END, BRACKET_END)
        num_keys += byte == COLON
        place[CONTINUATIONS] += _CLASSES[byte] == _CONTINUATION
        if depth == 0:
            break
    row[2], row[3] = place[AT] - place[CONTINUATIONS], num_keys
    return True
