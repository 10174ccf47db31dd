"""Tokens: the kind of each token of a sample, and the number of tokens of an answer without making them.

A token has the kind of its first byte, so a token that reaches from punctuation into a caption is structure. The answer
format gives the kind of each byte when it writes the answer.

Qwen's pre-tokeniser makes each digit a piece of its own. It cuts behind a run of letters, and between two signs and a
letter, so no token reaches over these places. An answer is mostly numbers. The text between them and the words of
captions repeat, so they are looked up and not tokenised again.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import Outline
from dcap.answers.formats import PartKind, TextPart

U8 = npt.NDArray[np.uint8]


class TokenKind(IntEnum):
    """Kind of a token. Kinds from `CAPTION` on are supervised."""

    PROMPT = 0
    """Everything before the answer except image placeholders; padding too."""
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


def byte_kinds(parts: Sequence[TextPart], normalised: Callable[[str], str] = str) -> U8:
    """Return the kind of every byte of an answer.

    ::

        {"object_1": {"line_points": 2, "line": [[0, 32], [125, 102]], "desc": "a wire"}}
        ssssssssssssssssssssssssssssssssssssssssssnssnnssssnnnssnnnsssssssssssssccccccsss

    with s for structure, n for a coordinate, c for a caption. Of a part with numbers, the digits with their signs and
    points are coordinates, and what is between them is structure.

    Args:
        parts: What an answer format writes; see `dcap.answers.codec.write_parts`.
        normalised: The tokenizer's normalisation of a text before it cuts it.

    Returns:
        uint8 (bytes of the normalised text in UTF-8,): CAPTION, COORDINATE or STRUCTURE.
    """
    texts, kinds = _part_bytes(parts, normalised), [kind for _, kind in parts]
    out = np.repeat(_KIND_OF_PART[np.array(kinds, np.int64)], np.array([len(text) for text in texts], np.int64))
    is_digit = np.frombuffer(b"".join(texts).translate(_IS_DIGIT), np.bool_)
    out[(out == TokenKind.COORDINATE) & ~is_digit] = TokenKind.STRUCTURE
    return out


def _part_bytes(parts: Sequence[TextPart], normalised: Callable[[str], str]) -> list[bytes]:
    return [(text if text.isascii() else normalised(text)).encode() for text, _ in parts]


def object_bytes(parts: Sequence[TextPart], normalised: Callable[[str], str] = str) -> npt.NDArray[np.int64]:
    """Return the bounds of the objects in the bytes of an answer.

    An object begins where its numbers or its caption do, whichever is first, and ends where the next one begins.

    ::

        {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}, "object_2": {"bbox_2d": [9, 4, 30, 8], ...
                                  ^ 26                                                          ^ 88

    Args:
        parts: As of `byte_kinds`.
        normalised: As of `byte_kinds`.

    Returns:
        int64 (N + 1,), rising; the last one is the length of the text. A text without objects, such as a summary, has
        only that, and so has one whose parts are not a shape and a caption of each object.
    """
    ends = np.cumsum([0, *map(len, _part_bytes(parts, normalised))])
    numbers, captions = (
        [i for i, (_, kind) in enumerate(parts) if kind is wanted] for wanted in (PartKind.NUMBERS, PartKind.CAPTION)
    )
    pairs = zip(numbers, captions, strict=True) if len(numbers) == len(captions) else ()
    return ends[[*map(min, pairs), -1]]


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


_BETWEEN_DIGITS = re.compile(r"[^0-9]+")
_LETTERS, _SIGNS = string.ascii_letters + "\u4e00\u9fff", string.punctuation
_LETTER, _SIGN = r"[a-zA-Z\u4e00-\u9fff]", f"[{re.escape(_SIGNS)}]"
_BESIDE_WORDS = re.compile(rf"(?<={_LETTER})(?= |{_SIGN})|(?<=(?: |{_SIGN}){_SIGN})(?={_LETTER})")
_MOST_SEGMENTS = 1 << 16


class TokenCounter:
    """Counts what a tokenizer would make of texts.

    Args:
        backend: Tokenizer of the ``tokenizers`` library, without control tokens.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._before_digit = lru_cache(_MOST_SEGMENTS)(self._count_before_digit)
        self._piece = lru_cache(_MOST_SEGMENTS)(self._count)
        self._splits_words = False
        # Another tokenizer may join digits, or a space and a digit; it is asked for every text then.
        probe = "0".join(string.printable) + " 12  345\n6789, 0"
        self.splits_digits = self._by_segments(probe) == self._count(probe)
        self._splits_words = _cuts_beside_words(backend)
        self._before_digit.cache_clear()

    def __call__(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return self._by_segments(text) if self.splits_digits else self._count(text)

    def of_outline(self, outline: Outline) -> int:
        """Return the number of tokens of the answer that an outline is of; only where the tokenizer splits digits."""
        between = sum([count * self._before_digit(text) for text, count in outline.between.items()])
        return self._by_segments(outline.text) + between + outline.digits

    def _by_segments(self, text: str) -> int:
        segments = _BETWEEN_DIGITS.findall(text)
        count = len(text) - sum(map(len, segments))
        if segments and not text.endswith(tuple(string.digits)):
            count += self._by_words(segments.pop())
        return count + sum(map(self._before_digit, segments))

    def _count_before_digit(self, segment: str) -> int:
        # With the digit, since the last space of several goes with what follows.
        return self._by_words(f"{segment}0") - 1

    def _by_words(self, segment: str) -> int:
        if not self._splits_words:
            return self._count(segment)
        return sum(map(self._piece, _BESIDE_WORDS.split(segment)))

    def _count(self, text: str) -> int:
        return len(self._backend.encode(text).ids)


def _cuts_beside_words(backend: Any) -> bool:
    """Whether the pre-tokeniser cuts where `_BESIDE_WORDS` does, for every letter beside every sign."""
    if backend.pre_tokenizer is None:
        return False
    pairs = [(letter, sign) for letter in _LETTERS for sign in f" {_SIGNS}"]
    probe = "".join([f'{letter}{sign}{letter}l {letter}{sign}.{letter}{sign}"{letter} ' for letter, sign in pairs])
    starts = {start for _, (start, _) in backend.pre_tokenizer.pre_tokenize_str(probe)}
    return all(match.start() in starts for match in _BESIDE_WORDS.finditer(probe))
