"""Twin of cpp/src/lines.cpp."""

from __future__ import annotations

from typing import Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._types import I64, U8, check_types, check_writable, jit, read_only

PLACE: Final = 0
NUMBER: Final = 1
START: Final = 2
FOUND: Final = 3
STATE_SIZE: Final = 4

_NEWLINE: Final = 10


def find_lines(chunk: U8, state: I64, out_starts: I64, out_numbers: I64) -> int:
    """Give out the lines of a chunk that are not blank. See `dcap.records.files.line_index.find_lines`."""
    check_types((chunk, np.uint8), (state, np.int64), (out_starts, np.int64), (out_numbers, np.int64))
    check_writable(state, out_starts, out_numbers)
    if state.size != STATE_SIZE or min(out_starts.size, out_numbers.size) < (chunk.size + 1) // 2:
        status.raise_if_failed(status.BAD_ARGUMENT)
    return int(_find(read_only(chunk).reshape(-1), state.reshape(-1), out_starts.reshape(-1), out_numbers.reshape(-1)))


@jit
def _find(chunk: U8, state: I64, starts: I64, numbers: I64) -> int:
    place, number, start, found = state[PLACE], state[NUMBER], state[START], state[FOUND] != 0
    n = 0
    for i in range(len(chunk)):
        byte = chunk[i]
        if byte == _NEWLINE:
            start = place + i + 1
            number += 1
            found = False
        # What bytes.strip() takes away: a space and the five from tab to carriage return.
        elif not found and byte != 32 and (byte < 9 or byte > 13):
            starts[n] = start
            numbers[n] = number
            n += 1
            found = True
    state[PLACE], state[NUMBER], state[START], state[FOUND] = place + len(chunk), number, start, found
    return n
