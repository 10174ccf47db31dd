"""The objects that an answer names, in pixels of the image file: the way back from what a model wrote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import parse, to_canvas
from dcap.answers.profile import AnswerProfile
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import transform
from dcap.geometry.shapes import ShapeArray, rings_without_area


@dataclass(frozen=True, eq=False, slots=True)
class FoundObjects:
    """The objects of an answer."""

    shapes: ShapeArray
    """Shapes in pixels of the image file, pixel-edge frame."""
    captions: tuple[str, ...]
    """One per shape."""
    problems: tuple[str, ...]
    """What is wrong with the answer; empty if it parsed cleanly."""
    index: npt.NDArray[np.int64]
    """int64 (N,): number of each shape among the objects that `dcap.answers.codec.parse` reads."""


def find_objects(text: str, profile: AnswerProfile, seen: Canvas, file: Canvas, *, reasoning: bool) -> FoundObjects:
    """Return the objects that an answer names. What cannot be read is a problem, and no error.

    Args:
        text: What the model wrote.
        profile: How answers are written.
        seen: Size of the image as the model saw it.
        file: Size of the image as displayed.
        reasoning: Whether the prompt opened reasoning; objects inside do not count.
    """
    parsed = parse(text, profile, strict=False, reasoning=reasoning)
    shapes = _in_file(to_canvas(parsed, seen, profile), seen, file)
    # The grid of answers has such polygons, records have none, and a prediction can be read as a record.
    flat = rings_without_area(shapes.xy, shapes.offsets, shapes.kinds)
    lost = [f"object {k + 1} must enclose an area, and is left out" for k in np.flatnonzero(flat)]
    return FoundObjects(
        shapes=shapes.take(~flat),
        captions=tuple([caption for caption, drop in zip(parsed.captions, flat, strict=True) if not drop]),
        problems=(*parsed.problems, *lost),
        index=np.flatnonzero(~flat),
    )


def _in_file(shapes: ShapeArray, seen: Canvas, file: Canvas) -> ShapeArray:
    """Map shapes from the canvas that the model saw to the image file.

    Rounded to 1e-4 pixels, finer than any answer grid, so that lines stay short and numbers whole where they can.
    """
    mapped = transform(shapes, Affine.scaling(file.width / seen.width, file.height / seen.height))
    xy = mapped.xy.round(4).clip(0.0, [float(file.width), float(file.height)])
    return ShapeArray.trusted(xy, mapped.offsets, mapped.kinds)
