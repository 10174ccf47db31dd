"""The answer text both ways: shapes in canvas pixels -> grid -> text, and text -> grid -> canvas pixels.

Owns what a legal object on the grid is, the order of objects, and the order of vertices. The layout of the text is
in `dcap.answers.formats`, the rounding in `dcap.geometry.grid`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.answers.formats import ANSWER_FORMATS, AnswerObject, Part
from dcap.answers.grid import Span, canonical_shapes, legal_points
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import Notes
from dcap.core.errors import PluginError
from dcap.geometry.canvas import Canvas
from dcap.geometry.grid import from_grid, to_grid
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.simplify import simplify

_SPANS: dict[str, int] = {"norm1000": 1000, "norm100": 100}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says: shapes on the grid with their captions.

    ::

        shapes   float64 grid integers; polygons canonical, every shape legal
        index    [2, 0, 1]    answer object k is input shape index[k]
    """

    shapes: ShapeArray
    """Grid units, whole numbers as float64."""
    captions: tuple[str, ...]
    """One per shape."""
    index: npt.NDArray[np.int64]
    """int64 (N,): the input shape of each object, by the order of the profile."""
    kept_iou: npt.NDArray[np.float64]
    """float64 (N,): IoU with the full shape that `max_polygon_points` left, 1 where nothing was simplified."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read from an answer text."""

    shapes: ShapeArray
    """Grid units, whole numbers as float64, in the order of the text."""
    captions: tuple[str, ...]
    """One per shape."""
    problems: tuple[str, ...]
    """What was wrong, each with its character position; empty after strict parsing."""


def order_objects(shapes: ShapeArray, profile: AnswerProfile) -> npt.NDArray[np.int64]:
    """Return the order in which an answer lists the shapes.

    ``reading`` sorts by the top, then the left, of each shape's bounds; equal ones keep their order.

    Returns:
        int64 (N,): index of the shape at each place.
    """
    if profile.object_order == "record" or not len(shapes):
        return np.arange(len(shapes))
    low = np.minimum.reduceat(shapes.xy, shapes.offsets[:-1], axis=0)
    return np.lexsort((low[:, 0], low[:, 1])).astype(np.int64, copy=False)


def to_answer(shapes: ShapeArray, captions: Sequence[str], canvas: Canvas, profile: AnswerProfile) -> Answer:
    """Bring shapes into the order, detail and grid of the profile.

    No object is lost: one that rounding makes flat is widened to the smallest legal shape (see
    `dcap.answers.grid`). Polygons start at their top-most, then left-most vertex and run clockwise on screen.

    Args:
        shapes: Shapes inside `canvas`, pixel-edge frame.
        captions: One per shape.
        canvas: The canvas that the model sees.
        profile: Order, grid and detail.

    Raises:
        GeometryError: A polygon to be simplified crosses itself millions of times.
    """
    order = order_objects(shapes, profile)
    iou = np.ones(len(order))
    if profile.max_polygon_points is not None:
        shapes, iou = _simplified(shapes, profile.max_polygon_points, profile.min_polygon_iou)
    grid = to_grid(shapes.xy, canvas, profile.emit_norm)
    written = canonical_shapes(grid, shapes, order, _span(canvas, profile))
    return Answer(written, tuple([captions[i] for i in order.tolist()]), order, iou[order])


def _simplified(shapes: ShapeArray, max_points: int, min_iou: float) -> tuple[ShapeArray, npt.NDArray[np.float64]]:
    """Simplify; a shape that would lose too much is tried again with half as many points more, until it does not."""
    kept, iou = simplify(shapes, max_points)
    while (poor := iou < min_iou).any():
        max_points = math.ceil(1.5 * max_points)
        finer, finer_iou = simplify(shapes, max_points)
        choice = zip(poor.tolist(), kept, finer, strict=True)
        kept = ShapeArray.from_points([(b if p else a)[1] for p, a, b in choice], shapes.kinds)
        iou = np.where(poor, finer_iou, iou)
    return kept, iou


def write_parts(answer: Answer, profile: AnswerProfile) -> list[Part]:
    """Return the text of an answer in the profile's format, in parts that say what they are.

    Raises:
        ConfigError: The profile's format is not registered.
        PluginError: The format is one of a plugin, and its text does not come in parts.
    """
    xy = answer.shapes.xy.astype(np.int64).tolist()
    offsets = answer.shapes.offsets.tolist()
    objects = [
        AnswerObject(kind, xy[offsets[i] : offsets[i + 1]], answer.captions[i])
        for i, (kind, _) in enumerate(answer.shapes)
    ]
    parts: Any = ANSWER_FORMATS.get(profile.format, "data.answer.format").write(objects)
    if isinstance(parts, str):  # what plugins returned before there were kinds
        raise PluginError(
            f"answer format {profile.format!r} must write pairs of a text and its PartKind, not one text. Let its "
            "method `write` return parts; see dcap.answers.formats.AnswerFormat."
        )
    return list(parts)


def write_answer(answer: Answer, profile: AnswerProfile) -> str:
    """Return the text of an answer in the profile's format: the parts of `write_parts`, joined.

    Raises:
        ConfigError: As `write_parts`.
        PluginError: As `write_parts`.
    """
    return "".join([text for text, _ in write_parts(answer, profile)])


def write(shapes: ShapeArray, captions: Sequence[str], canvas: Canvas, profile: AnswerProfile) -> str:
    """Return the answer text for shapes in canvas pixels; `to_answer`, then `write_answer`.

    Raises:
        GeometryError: As `to_answer`.
        ConfigError: As `write_parts`.
        PluginError: As `write_parts`.
    """
    return write_answer(to_answer(shapes, captions, canvas, profile), profile)


def parse(text: str, profile: AnswerProfile, strict: bool = True) -> Parsed:
    """Read an answer text back to the grid; ``parse(write(x))`` is what `to_answer` made of x.

    Args:
        text: Any string.
        profile: Format and grid.
        strict: True: anything that `write` would not write is an error (training data). False: every complete and
            legal object is kept, everything wrong is in `problems`, and no text raises (a model's answer). Numbers
            are then rounded and clamped to the grid and swapped box corners put in order, each with a note.

    Raises:
        AnswerError: Strict only; the message has the character position.
        ConfigError: The profile's format is not registered.
    """
    notes = Notes(strict)
    found = ANSWER_FORMATS.get(profile.format, "data.answer.format").parse_objects(text, notes)
    span = _SPANS.get(profile.emit_norm)
    ends: Span = (span, span)
    kinds, points, captions = [], [], []
    for obj in found:
        legal = legal_points(obj, ends, notes)
        if legal is not None:
            kinds.append(int(obj.kind))
            points.append(legal)
            captions.append(obj.caption)
    return Parsed(ShapeArray.from_points(points, kinds), tuple(captions), notes.finished())


def to_canvas(answer: Parsed | Answer, canvas: Canvas, profile: AnswerProfile) -> ShapeArray:
    """Return the shapes of an answer in pixels of `canvas`, the one that the model saw.

    Points are clamped to the canvas; that matters only for ``emit_norm: none``, where a text does not tell how
    large the canvas was.
    """
    shapes = answer.shapes
    xy = from_grid(shapes.xy.astype(np.int64), canvas, profile.emit_norm)
    xy = np.clip(xy, 0.0, np.array([canvas.width, canvas.height], np.float64))
    return ShapeArray.trusted(xy, shapes.offsets, shapes.kinds)


def _span(canvas: Canvas, profile: AnswerProfile) -> tuple[int, int]:
    span = _SPANS.get(profile.emit_norm)
    return (canvas.width, canvas.height) if span is None else (span, span)
