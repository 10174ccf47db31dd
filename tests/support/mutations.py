"""Files with small damages: flipped bits, cut ends, joined pieces, and values that no honest program writes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import strategies as st

VALUES = (
    b"1e999", b"9" * 5000, b"-1", b"0", b"1e308", b"NaN", b"null", b"true", b"{}", b"[]", b'""', b"[" * 3000, b"[1,2]",
    b"[" * 70 + b"]" * 70, b'"\\ud800"', b'"\\u0000"', b'"\\u001b[31m"', b'"' + b"x" * 300 + b'"', b'"../../x"',
    b'"\xff"', '"\u202e"'.encode(), b'{"a": {"a": 1, "a": 2}}', b"18446744073709551616",
)  # fmt: skip
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[[^\[\]{}]*\]|\{[^\[\]{}]*\}')
_RUNS = (b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0\0\0\x80")


def damaged(seeds: Sequence[bytes], is_text: bool) -> st.SearchStrategy[bytes]:
    """Return a strategy of files that are one of the seeds but for one to three changes."""

    @st.composite
    def made(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(1, 3))):
            _change(draw, data, seeds, is_text)
        return bytes(data)

    return made()


def _change(draw: st.DrawFn, data: bytearray, seeds: Sequence[bytes], is_text: bool) -> None:
    spans = [match.span() for match in _TOKEN.finditer(bytes(data))] if is_text and draw(st.booleans()) else []
    place = draw(st.integers(0, max(0, len(data) - 1)))
    kind = draw(st.sampled_from(("flip", "cut", "lose", "join", "run")))
    if spans:
        start, stop = draw(st.sampled_from(spans))
        data[start:stop] = draw(st.sampled_from(VALUES))
    elif kind == "flip" and data:
        data[place] ^= 1 << draw(st.integers(0, 7))
    elif kind == "cut":
        del data[place:]
    elif kind == "lose":
        del data[place : place + draw(st.integers(1, 40))]
    elif kind == "join":
        other = draw(st.sampled_from(seeds))
        start = draw(st.integers(0, len(other) - 1))
        data[place:place] = other[start : start + draw(st.integers(1, 200))]
    elif kind == "run":
        data[place : place + 8] = draw(st.sampled_from(_RUNS))
