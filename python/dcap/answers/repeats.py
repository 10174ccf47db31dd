"""Repeats in an answer: objects with the kind, points and text of an earlier one."""

from __future__ import annotations

from collections import Counter

from dcap.answers.codec import Parsed


def first_repeat(parsed: Parsed, most: int) -> int | None:
    """Return the place, from 0, of the first object that was written `most` times before. `None`: there is none."""
    seen: Counter[tuple[int, bytes, str]] = Counter()
    for k, ((kind, points), caption) in enumerate(zip(parsed.shapes, parsed.captions, strict=True)):
        key = (int(kind), points.tobytes(), caption)
        if seen[key] >= most:
            return k
        seen[key] += 1
    return None
