"""Counting tokens without making them: what repeats is looked up, not tokenised again.

Qwen's pre-tokeniser makes each digit a piece of its own, and cuts behind a run of letters and between two signs and a
letter, so no token reaches over these places. An answer is mostly numbers, what stands between them repeats, and so do
the words of captions.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import Any

from dcap.answers.outline import Outline

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
