"""What a caption says about an object besides its words: its category, and its ``key=value`` attributes.

::

    caption                        rule           category
    Road, paved, 2 lanes           caption        road, paved, 2 lanes
    Road, paved, 2 lanes           before:,       road
    class=road, surface=paved      key:class      road          attributes {class: road, surface: paved}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from dcap.core.errors import ConfigError
from dcap.core.words import show
from dcap.evaluate.captions import normalize

_PIECES = re.compile(r"[,;，；、|\n]")

NO_CATEGORY = ""
"""Category of a caption in which the rule finds nothing."""


@dataclass(frozen=True, slots=True)
class CategoryRule:
    """How the category of an object follows from its caption; the result is normalised as captions are."""

    kind: Literal["caption", "key", "before"] = "caption"
    """``caption``: the whole caption; ``key``: the value of an attribute; ``before``: the text up to a separator."""
    text: str = ""
    """Name of the attribute, or the separator; empty for ``caption``."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``caption``, ``key:NAME`` or ``before:SEPARATOR``.

        Raises:
            ConfigError: The text is none of the three.
        """
        kind, colon, rest = text.partition(":")
        if text == "caption":
            return cls()
        if colon and rest.strip() and kind in ("key", "before"):
            return cls("key", rest.strip()) if kind == "key" else cls("before", rest)
        raise ConfigError(
            f"category must be caption, key:NAME or before:SEPARATOR, not {show(text)}. For example: key:class"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}" if self.text else self.kind

    def category(self, caption: str) -> str:
        """Return the category of a caption; `NO_CATEGORY` where the caption lacks it."""
        if self.kind == "key":
            return read_attributes(caption).get(normalize(self.text), NO_CATEGORY)
        return normalize(caption.partition(self.text)[0] if self.kind == "before" else caption)

    def categories(self, captions: Sequence[str]) -> tuple[str, ...]:
        """Return the category of each caption."""
        return tuple([self.category(caption) for caption in captions])


def equal_categories(a: Sequence[str], b: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return for each pair whether both have a category, and the same one: bool (len a, len b)."""
    known = np.array([name != NO_CATEGORY for name in a], np.bool_)
    return known[:, None] & np.asarray(np.equal.outer(np.array(a, dtype=object), np.array(b, dtype=object)), np.bool_)


def read_attributes(caption: str) -> dict[str, str]:
    """Return the ``key=value`` attributes of a caption, both sides normalised; of a repeated key the first.

    Attributes end at a comma, a semicolon, a bar or a line end, or where the next one begins: ``size=very large
    color=red`` has two. Words without an equals sign are no attributes.
    """
    found: dict[str, str] = {}
    for piece in _PIECES.split(caption) if "=" in caption else ():
        parts = piece.split("=")
        keys = [part.split()[-1:] for part in parts[:-1]]
        for k, key in enumerate(keys):
            words = parts[k + 1].split()
            value = words if k + 2 == len(parts) else words[:-1]
            if key:
                found.setdefault(normalize(key[0]), normalize(" ".join(value)))
    return found
