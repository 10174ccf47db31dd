"""Token kinds: what every token of a sample is, from prompt to coordinate.

Owns the codes and the rule: a token is of the kind of its first byte, so one that reaches from punctuation into a
caption is structure. Bytes are classified in one vectorised pass over the answer's text, not token by token.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


class TokenKind(IntEnum):
    """What a token is; those from `CAPTION` on are supervised."""

    PROMPT = 0
    """Everything before the answer but placeholders; padding too."""
    IMAGE = 1
    """Image placeholder."""
    CAPTION = 2
    """Text of an object, or of a summary."""
    COORDINATE = 3
    """Digits of a shape's numbers."""
    STRUCTURE = 4
    """The rest of an answer: punctuation, keys, counts of points, and ``<|im_end|>``."""


SUPERVISED_KINDS = tuple(kind for kind in TokenKind if kind >= TokenKind.CAPTION)

_QUOTE, _COLON = ord('"'), ord(":")
_NUMBER, _LIST, _BRACKET = 1, 2, 3
_CLASSES = bytearray(256)
for _chars, _class in ((b"0123456789-.", _NUMBER), (b"[", _LIST), (b"]{}", _BRACKET)):
    for _char in _chars:
        _CLASSES[_char] = _class


def answer_kinds(text: str) -> U8:
    """Return the kind of every byte of an answer in JSON, or in something like it.

    ::

        {"object_1": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "a wire"}}
        ssssssssssssssssssssssssssssssssssssssssssnssnnssssnnnssnnnsssssssssssssccccccsss

    with s for structure, n for a coordinate, c for a caption.

    A string before a colon is a key, any other one a caption, with its escapes and without its quotes. A number is a
    coordinate where the last bracket before it is ``[``, so the count of a shape's points is none.

    Args:
        text: Any string that has a UTF-8 form; where it is no JSON, the same rule is followed.

    Returns:
        uint8 (bytes of the UTF-8 form,): CAPTION, COORDINATE or STRUCTURE.
    """
    raw = text.encode()
    if b"\\" in raw:  # what is escaped neither ends a string nor escapes what follows
        raw = raw.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    chars = np.frombuffer(raw + b" ", np.uint8)
    quotes = np.flatnonzero(chars == _QUOTE)
    # Part 0 lies before the first quote, part k begins at quote k - 1: strings are the odd ones.
    lengths = _lengths(quotes, len(raw))
    kinds = np.full(len(lengths), TokenKind.STRUCTURE, np.uint8)
    kinds[1::2] = TokenKind.CAPTION
    kinds[1 : len(quotes) : 2][chars[quotes[1::2] + 1] == _COLON] = TokenKind.STRUCTURE
    out = np.repeat(kinds, lengths)
    out[quotes] = TokenKind.STRUCTURE
    outside = np.repeat(np.arange(len(lengths), dtype=np.uint8) & 1 == 0, lengths)
    classes = np.frombuffer(raw.translate(_CLASSES), np.uint8) * outside
    brackets = np.flatnonzero(classes >= _LIST)
    in_list = np.concatenate([[False], classes[brackets] == _LIST])
    out[(classes == _NUMBER) & np.repeat(in_list, _lengths(brackets, len(raw)))] = TokenKind.COORDINATE
    return out


def _lengths(starts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Return the lengths of the parts into which `starts` cut 0..total."""
    return np.diff(starts, prepend=0, append=total)


class TokenStarts:
    """Tells at which byte each token begins, from its id: ``Encoding.offsets`` takes many times longer.

    Args:
        backend: Byte-level tokenizer of the ``tokenizers`` library, whose token of n bytes is spelt in n letters.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._num_bytes = np.zeros(backend.get_vocab_size(), np.int64)

    def __call__(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the first byte of each token in the normalised text, int64 (len(ids),).

        Args:
            ids: int64, all tokens of a text.
        """
        lengths = self._num_bytes[ids]
        if not lengths.all():  # tokens not met before; to look up all 150 000 would take as long as many samples
            for token in np.unique(ids[lengths == 0]).tolist():
                self._num_bytes[token] = len(self._backend.id_to_token(token))
            lengths = self._num_bytes[ids]
        return np.asarray(np.cumsum(lengths) - lengths, np.int64)
