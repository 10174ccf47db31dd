"""Token kinds: what every token of a sample is, from prompt to coordinate.

Owns the codes and the rule: a token is of the kind of its first byte, so one that reaches from punctuation into a
caption is structure. What the bytes are, the answer format says when it writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.answers.formats import Part

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

_KIND_OF_PART = np.array([TokenKind.STRUCTURE, TokenKind.COORDINATE, TokenKind.CAPTION], np.uint8)
_IS_DIGIT = bytes(byte in b"0123456789-." for byte in range(256))


def byte_kinds(parts: Iterable[Part], normalised: Callable[[str], str] = str) -> U8:
    """Return the kind of every byte of an answer.

    ::

        {"object_1": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "a wire"}}
        ssssssssssssssssssssssssssssssssssssssssssnssnnssssnnnssnnnsssssssssssssccccccsss

    with s for structure, n for a coordinate, c for a caption. Of a part with numbers, the digits with their signs and
    points are coordinates, and what is between them is structure.

    Args:
        parts: What an answer format writes; see `dcap.answers.codec.write_parts`.
        normalised: What the tokenizer does to a text before it cuts it.

    Returns:
        uint8 (bytes of the normalised text in UTF-8,): CAPTION, COORDINATE or STRUCTURE.
    """
    texts, kinds = [], []
    for text, kind in parts:
        texts.append((text if text.isascii() else normalised(text)).encode())
        kinds.append(kind)
    out = np.repeat(_KIND_OF_PART[np.array(kinds, np.int64)], np.array([len(text) for text in texts], np.int64))
    is_digit = np.frombuffer(b"".join(texts).translate(_IS_DIGIT), np.bool_)
    out[(out == TokenKind.COORDINATE) & ~is_digit] = TokenKind.STRUCTURE
    return out


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
