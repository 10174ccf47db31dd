"""Keys that people write instead of those of the record contract, and how a message names the right one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache

from dcap.core.errors import nearest

FORMS = {"bbox_2d": "[x1, y1, x2, y2]", "poly": "[x1, y1, x2, y2, ...]", "line": "[x1, y1, x2, y2, ...]"}
"""The form of the numbers of each kind of shape in a record."""

# Keys with other letters. A key that differs by a few letters is found without being listed here.
_MEANT = {
    **dict.fromkeys(("box", "rect", "rectangle", "xyxy", "xywh"), "bbox_2d"),
    **dict.fromkeys(("polygon", "segmentation", "points", "mask", "ring"), "poly"),
    **dict.fromkeys(("polyline", "linestring"), "line"),
    **dict.fromkeys(("label", "caption", "description", "text", "name", "class", "category", "phrase"), "desc"),
    **dict.fromkeys(("file_name", "filename", "file", "path", "img", "picture", "photo"), "images"),
    **dict.fromkeys(("annotations", "instances", "shapes", "boxes", "labels"), "objects"),
    "w": "width",
    "h": "height",
}
_SURE = 0.6
_MISSPELT = 0.85
"""Likeness of a key with a letter or two wrong; ``summary_en`` is less like ``summary``."""


def key_hint(given: Iterable[str], missing: Collection[str]) -> str:
    """Return ``'; "bbox" is given: did you mean bbox_2d?'`` for the first given key that means a missing one.

    Args:
        given: Keys of the JSON object.
        missing: Keys of the contract. At least one of them should be given, but none is.

    Returns:
        The hint, with the form of a shape's numbers; empty where no key looks like a missing one.
    """
    for key in given:
        meant = _MEANT.get(key.casefold()) or nearest(key.casefold(), missing, _SURE)
        if meant in missing:
            form = f", which is {FORMS[meant]}" if meant in FORMS else ""
            return f'; "{key}" is given: did you mean {meant}{form}?'
    return ""


@lru_cache(maxsize=4096)
def misspelt(key: str, optional: tuple[str, ...]) -> str | None:
    """Return the optional key that an unknown one differs from by a letter or two, or None.

    Args:
        key: A key that dcap does not know.
        optional: Optional keys of the contract that are absent.
    """
    return nearest(key.casefold(), optional, _MISSPELT)
