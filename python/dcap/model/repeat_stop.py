"""The end of an answer that begins to repeat itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import parse
from dcap.answers.profile import AnswerProfile
from dcap.answers.repeats import first_repeat
from dcap.data.encode import END, Encoder, token_bytes

if TYPE_CHECKING:
    from dcap.model.generation import Constraint

_OBJECT_ENDS = re.compile(rb'\}|"\s*\]')


class RepeatStop:
    """Ends an answer behind an object that was written several times before; a `dcap.model.generation.Constraint`.

    Args:
        profile: How the answer is written.
        most: How often an object may be written.
        encoder: The tokens.
        inner: What the answer may be otherwise. `None`: anything.
    """

    def __init__(self, profile: AnswerProfile, most: int, encoder: Encoder, inner: Constraint | None = None) -> None:
        self._profile, self._most, self._inner = profile, most, inner
        self._reasons = encoder.opens_reasoning
        self._tokenizer = encoder.tokenizer
        self._end = self._tokenizer.convert_tokens_to_ids(END)
        self._written = bytearray()
        self._is_over = False

    def forced(self) -> Sequence[int]:
        """Return the end of the answer, if an object was repeated; else what is forced otherwise."""
        if self._is_over:
            return [self._end]
        return [] if self._inner is None else self._inner.forced()

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        """Return which tokens may come next. `None`: all."""
        return None if self._inner is None else self._inner.allowed()

    def advance(self, tokens: Sequence[int]) -> None:
        """Take note of tokens that were written."""
        if self._is_over:
            return
        if self._inner is not None:
            self._inner.advance(tokens)
        before = max(len(self._written) - 1, 0)  # a quote may come before its bracket
        for token in tokens:
            self._written += token_bytes(self._tokenizer, token)
        # To read the answer again takes time, so only where an object may have ended.
        if _OBJECT_ENDS.search(self._written, before):
            read = parse(self._written.decode("utf-8", "replace"), self._profile, strict=False, reasoning=self._reasons)
            self._is_over = first_repeat(read, self._most) is not None
