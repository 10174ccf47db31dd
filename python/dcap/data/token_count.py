"""Counting tokens without making them: what stands between two digits is looked up, not tokenised again.

Qwen's pre-tokeniser makes each digit a piece of its own, so no token reaches over one. An answer is mostly numbers, and
what stands between them repeats.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import Any

_BETWEEN_DIGITS = re.compile(r"[^0-9]+")
_MOST_SEGMENTS = 1 << 16


class TokenCounter:
    """Counts what a tokenizer would make of texts.

    Args:
        backend: Tokenizer of the ``tokenizers`` library, without control tokens.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._before_digit = lru_cache(_MOST_SEGMENTS)(self._count_before_digit)
        # Another tokenizer may join digits, or a space and a digit; it is asked for every text then.
        probe = "0".join(string.printable) + " 12  345\n6789, 0"
        self._splits_digits = self._by_segments(probe) == len(backend.encode(probe).ids)

    def __call__(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return self._by_segments(text) if self._splits_digits else len(self._backend.encode(text).ids)

    def _by_segments(self, text: str) -> int:
        segments = _BETWEEN_DIGITS.findall(text)
        count = len(text) - sum(map(len, segments))
        if segments and not text.endswith(tuple(string.digits)):
            count += len(self._backend.encode(segments.pop()).ids)
        return count + sum(map(self._before_digit, segments))

    def _count_before_digit(self, segment: str) -> int:
        # With the digit, since the last space of several goes with what follows.
        return len(self._backend.encode(f"{segment}0").ids) - 1
