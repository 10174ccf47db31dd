"""Outline of an answer: what its token count depends on, without the digits of its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import Answer
from dcap.answers.formats import ANSWER_FORMATS, BETWEEN_NUMBERS, BETWEEN_POINTS, JsonFormat


@dataclass(frozen=True, slots=True)
class Outline:
    """An answer text with the numbers of each object drawn together to one digit.

    ::

        answer   {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}
        text     {"object_1": {"bbox_2d": [0], "desc": "cup"}}
        between  {", ": 3}
        digits   11                                                 of 12, one stands in the text
    """

    text: str
    between: Mapping[str, int]
    """How often each text stands between two numbers of one object."""
    digits: int
    """Digits that the answer has and `text` has not."""


def outline(answer: Answer, format_name: str) -> Outline | None:
    """Return the outline of an answer, or None where the format is not one of dcap's own layouts.

    Raises:
        ConfigError: The format is not registered.
    """
    written = ANSWER_FORMATS.get(format_name, "data.answer.format")
    if type(written) is not JsonFormat:  # what a plugin makes of it may write numbers otherwise
        return None
    shapes = answer.shapes
    kinds, num_points = shapes.kinds.tolist(), (shapes.offsets[1:] - shapes.offsets[:-1]).tolist()
    pieces = written.pieces(zip(kinds, num_points, repeat("0"), answer.captions, strict=False))
    between = Counter({BETWEEN_NUMBERS: len(shapes.xy)})
    for kind, count in zip(kinds, num_points, strict=True):
        between[BETWEEN_POINTS[kind]] += count - 1
    return Outline("".join(pieces), between, _num_digits(shapes.xy) - len(shapes))


def _num_digits(values: npt.NDArray[np.float64]) -> int:
    """Count the digits of whole numbers that are not negative."""
    count, power, most = values.size, 10, values.max(initial=0.0)
    while power <= most:
        count += int(np.count_nonzero(values >= power))
        power *= 10
    return count
