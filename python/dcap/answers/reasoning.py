"""Reasoning, ``<think>...</think>``, that some models write in front of an answer: no part of it."""

from __future__ import annotations

import re

OPENING = "<think>"
CLOSING = "</think>"
# Beside a line break. A format writes none inside a string, so a caption with these letters is not taken for it.
_CLOSING_BESIDE_A_BREAK = re.compile(r"(?:\A|(?<=\n))[ \t]*</think>|</think>[ \t]*(?=\n)")


def answer_start(text: str, opened: bool = False) -> int | None:
    """Return where the answer begins, behind all reasoning. `None`: the reasoning does not end.

    ::

        <think>The cup is at [1, 2, 3, 4].</think>[{"bbox_2d": ...
                                                  ^

    Args:
        text: What a model wrote.
        opened: Whether its prompt ended inside reasoning, as that of a thinking model does.
    """
    if opened or text.lstrip().startswith(OPENING):
        place = text.find(CLOSING)
        return None if place < 0 else place + len(CLOSING)
    ends = [match.end() for match in _CLOSING_BESIDE_A_BREAK.finditer(text)]
    return ends[-1] if ends else 0
