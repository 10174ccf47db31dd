"""Words of messages: numbers of things, and values in the words of JSON and YAML."""

from __future__ import annotations

import json
from typing import Any

_SHOWN_CHARS = 60
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, default=str)


def counted(number: int, noun: str) -> str:
    """Return ``"1 record"``, ``"2 records"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show(value: Any) -> str:
    """Return a value as a file has it, such as ``null`` and not ``None``; cut to 60 characters for a message."""
    text = ""
    try:
        # Piece by piece: written out, a list that holds itself has no end.
        for piece in _ENCODER.iterencode(value):
            text += piece
            if len(text) > _SHOWN_CHARS:
                return text[: _SHOWN_CHARS - 3] + "..."
    except TypeError:
        return "a mapping whose keys are no texts"
    except ValueError:
        return "a number with thousands of digits"
    return text
