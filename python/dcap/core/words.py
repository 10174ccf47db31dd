"""Words of messages: numbers of things, and values in the words of JSON and YAML."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

_SHOWN_CHARS = 60


def counted(number: int, noun: str) -> str:
    """Return ``"1 record"``, ``"2 records"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show(value: Any) -> str:
    """Return a value as a file has it, such as ``null`` and not ``None``; cut to 60 characters for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, a circle, or thousands of digits
        text = "a list or mapping" if isinstance(value, Collection) else "a number with thousands of digits"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
