"""Repeats are equal in kind, points and text."""

from __future__ import annotations

from typing import Any

import pytest

from dcap.answers.codec import Parsed
from dcap.answers.repeats import first_repeat
from dcap.geometry.shapes import ShapeArray

CUP: tuple[dict[str, Any], str] = ({"bbox_2d": [1, 2, 3, 4]}, "cup")
MUG = (CUP[0], "mug")
MOVED: tuple[dict[str, Any], str] = ({"bbox_2d": [1, 2, 3, 5]}, "cup")
LINE: tuple[dict[str, Any], str] = ({"line": [1, 2, 3, 4]}, "cup")


@pytest.mark.parametrize(
    ("objects", "most", "place"),
    [
        ([], 1, None),
        ([CUP, MUG, MOVED, LINE], 1, None),
        ([CUP, MUG, CUP, CUP], 1, 2),
        ([CUP, MUG, CUP, MUG, CUP], 2, 4),
        ([CUP, LINE, LINE, CUP], 1, 2),
        ([CUP, CUP], 2, None),
    ],
)
def test_first_repeat(objects: list[tuple[dict[str, Any], str]], most: int, place: int | None) -> None:
    shapes = ShapeArray.from_objects([shape for shape, _ in objects])
    assert first_repeat(Parsed(shapes, tuple([text for _, text in objects]), ()), most) == place
