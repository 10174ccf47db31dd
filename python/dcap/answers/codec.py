"""The answer text both ways: shapes in canvas pixels -> grid -> text, and text -> grid -> canvas pixels.

Owns the order of objects, and the legal shapes on the grid. If rounding makes a shape flat, it is widened to the
smallest legal one, so that no object is lost: a box to one unit, a line to a second point one unit beside the first, a
polygon to a triangle of one unit's height. A polygon starts at its top-most, then left-most vertex and runs clockwise
on screen; where it meets that vertex again (up to 8 times), it starts with the smallest sequence. With
``point_order: canonical``, a line begins at its upper, then left end, and nothing depends on how a shape was drawn: not
what is simplified or widened either. Reading accepts what is legal.

The layout of the text is in `dcap.answers.formats`, the prefix in `dcap.answers.prefix`, the rounding in
`dcap.geometry.grid`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.answers.formats import ANSWER_FORMATS, AnswerObject, PartKind, TextPart, own_layout
from dcap.answers.prefix import Prefix
from dcap.answers.profile import AnswerProfile, ObjectOrder
from dcap.answers.reader import Notes
from dcap.answers.reasoning import CLOSING, answer_start
from dcap.core.errors import PluginError
from dcap.core.words import show
from dcap.geometry.canvas import Canvas
from dcap.geometry.grid import SPANS, from_grid, grid_span, to_grid
from dcap.geometry.measures import simplify
from dcap.geometry.shapes import MIN_POINTS, GeometryKind, ShapeArray

Points = list[list[int]]

MAX_COORDINATE = 2**31 - 1
"""Bound on the grid where grid units are the canvas's own pixels."""
_MOST_STARTS = 8
"""Comparing all sequences of a ring would take quadratic time."""
_ORDERS_ON_GRID = ("xy", "center")
"""What the text shows is in exactly this order."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of an answer: shapes on the grid with their captions.

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
    """float64 (N,): IoU of each shape with its full shape; 1 where `max_polygon_points` simplified nothing."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The objects and problems read from an answer text."""

    shapes: ShapeArray
    """Grid units, whole numbers as float64, in the order of the text."""
    captions: tuple[str, ...]
    """One per shape."""
    problems: tuple[str, ...]
    """Problems, each with its character position; empty after strict parsing."""


def order_objects(shapes: ShapeArray, order: ObjectOrder) -> npt.NDArray[np.int64]:
    """Return the order in which an answer lists the shapes, by their bounds; equal ones keep their order.

    ::

        reading   top, left
        xy        left, top, right, bottom
        center    vertical centre, horizontal centre, top, left

    Returns:
        int64 (N,): index of the shape at each place.
    """
    if order == "record" or not len(shapes):
        return np.arange(len(shapes))
    left, top, right, bottom = shapes.bounds().T
    keys = {
        "reading": (left, top),
        "xy": (bottom, right, top, left),
        "center": (left, top, left + right, top + bottom),
    }
    return np.lexsort(keys[order]).astype(np.int64, copy=False)


def to_answer(shapes: ShapeArray, captions: Sequence[str], canvas: Canvas, profile: AnswerProfile) -> Answer:
    """Bring shapes into the order, detail and grid of the profile.

    No object is lost: one that rounding makes flat is widened to the smallest legal shape. ``reading`` compares shapes
    before they are rounded, ``xy`` and ``center`` as they are written.

    Args:
        shapes: Shapes inside `canvas`, pixel-edge frame.
        captions: One per shape.
        canvas: The canvas that the model sees.
        profile: Order, grid and detail.

    Raises:
        GeometryError: A polygon to be simplified crosses itself millions of times.
    """
    on_grid = profile.object_order in _ORDERS_ON_GRID
    order = order_objects(shapes, "record" if on_grid else profile.object_order)
    if profile.point_order == "canonical":
        shapes = _drawn_alike(shapes, shapes.kinds != GeometryKind.BOX)
    iou = np.ones(len(order))
    if profile.max_polygon_points is not None:
        shapes, iou = _simplified(shapes, profile.max_polygon_points, profile.min_polygon_iou)
    grid = to_grid(shapes.xy, canvas, profile.emit_norm)
    written = canonical_shapes(grid, shapes, order, grid_span(canvas, profile.emit_norm))
    if profile.point_order == "canonical":  # on the grid, the ends of a line may be equally high
        written = _drawn_alike(written, (written.kinds == GeometryKind.LINE) | _without_direction(written))
    if on_grid:
        order = order_objects(written, profile.object_order)
        written = written.take(order)
    return Answer(written, tuple([captions[i] for i in order.tolist()]), order, iou[order])


def _drawn_alike(shapes: ShapeArray, chosen: npt.NDArray[np.bool_]) -> ShapeArray:
    """Return the shapes; the chosen lines and polygons have their points in one order, however they were drawn.

    It is the smallest sequence, where y counts before x.
    """
    xy = shapes.xy.copy()
    for i in np.flatnonzero(chosen).tolist():
        start, stop = shapes.offsets[i : i + 2].tolist()
        xy[start:stop, ::-1] = min(_readings(int(shapes.kinds[i]), xy[start:stop, ::-1].tolist()))
    return ShapeArray.trusted(xy, shapes.offsets, shapes.kinds)


def _readings(kind: int, points: list[list[float]]) -> list[list[list[float]]]:
    """Return a line from each of its ends, a ring from its smallest vertex in each direction; up to 8 visits of it."""
    if kind == GeometryKind.LINE:
        return [points, points[::-1]]
    least = min(points)
    starts = [k for k, point in enumerate(points) if point == least][:_MOST_STARTS]
    return [way for k in starts for way in (points[k:] + points[:k], points[k::-1] + points[:k:-1])]


def _without_direction(shapes: ShapeArray) -> npt.NDArray[np.bool_]:
    """Return which polygons, bool (N,), run neither clockwise nor the other way: their signed area is 0."""
    if not len(shapes):
        return np.zeros(0, np.bool_)
    after = np.arange(1, len(shapes.xy) + 1)
    after[shapes.offsets[1:] - 1] = shapes.offsets[:-1]
    (x, y), (next_x, next_y) = shapes.xy.T, shapes.xy[after].T
    doubled = np.add.reduceat(x * next_y - next_x * y, shapes.offsets[:-1])
    return np.asarray((shapes.kinds == GeometryKind.POLYGON) & (doubled == 0), np.bool_)


def _simplified(shapes: ShapeArray, max_points: int, min_iou: float) -> tuple[ShapeArray, npt.NDArray[np.float64]]:
    """Simplify. If a shape loses too much, try again with half as many points more."""
    kept, iou = simplify(shapes, max_points)
    while (poor := iou < min_iou).any():
        max_points = math.ceil(1.5 * max_points)
        finer, finer_iou = simplify(shapes, max_points)
        choice = zip(poor.tolist(), kept, finer, strict=True)
        kept = ShapeArray.from_points([(b if p else a)[1] for p, a, b in choice], shapes.kinds)
        iou = np.where(poor, finer_iou, iou)
    return kept, iou


def canonical_shapes(
    grid: npt.NDArray[np.int64], shapes: ShapeArray, order: npt.NDArray[np.int64], span: tuple[int, int]
) -> ShapeArray:
    """Return shapes on the grid as they are written.

    ::

        grid   [[2, 7], [2, 7], [9, 9]]    a polygon that rounding made flat
        out    [[2, 7], [9, 9], [9, 10]]

    Args:
        grid: The rounded points of all shapes, int64 (P, 2), within the span.
        shapes: Which points belong to which shape, and the kinds.
        order: int64 (N,), a permutation: the shape at each place.
        span: Largest x and y.

    Returns:
        N shapes, whole numbers as float64.
    """
    out, offsets = np.empty_like(grid), np.empty(len(order) + 1, np.int64)
    num_points = kernels.canonicalize(grid, shapes.offsets, shapes.kinds, order, span, out, offsets)
    return ShapeArray.trusted(out[:num_points].astype(np.float64), offsets, shapes.kinds[order])


def write_parts(answer: Answer, profile: AnswerProfile) -> list[TextPart]:
    """Return the text of an answer in the profile's format, with its prefix, in parts that say what they are.

    Raises:
        ConfigError: The profile's format is not registered.
        PluginError: The format is one of a plugin, and its text does not come in parts.
    """
    if not len(answer.shapes) and profile.empty is not None:
        return [*_prefix_parts(answer, profile), (profile.empty, PartKind.STRUCTURE)]
    xy = answer.shapes.xy.astype(np.int64).tolist()
    offsets = answer.shapes.offsets.tolist()
    objects = [
        AnswerObject(kind, xy[offsets[i] : offsets[i + 1]], answer.captions[i])
        for i, (kind, _) in enumerate(answer.shapes)
    ]
    parts: Any = ANSWER_FORMATS.get(profile.format, "data.answer.format").write(objects)
    if isinstance(parts, str):  # the result of plugins written before there were kinds
        raise PluginError(
            f"answer format {profile.format!r} must write pairs of a text and its PartKind, not one text. Let its "
            "method `write` return parts; see dcap.answers.formats.AnswerFormat."
        )
    return [*_prefix_parts(answer, profile), *parts]


def _prefix_parts(answer: Answer, profile: AnswerProfile) -> list[TextPart]:
    if profile.prefix is None:
        return []
    return [(Prefix(profile.prefix).write(answer.shapes.kinds.tolist()), PartKind.STRUCTURE)]


def write_answer(answer: Answer, profile: AnswerProfile) -> str:
    """Return the text of an answer in the profile's format: the parts of `write_parts`, joined.

    Raises:
        ConfigError: As `write_parts`.
        PluginError: As `write_parts`.
    """
    return "".join([text for text, _ in write_parts(answer, profile)])


@dataclass(frozen=True, slots=True)
class Outline:
    """An answer text with the numbers of each object drawn together to one digit.

    ::

        answer   {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}
        text     {"object_1": {"bbox_2d": [0], "desc": "cup"}}
        between  {", ": 3}
        digits   11                                                 one of 12 is in the text
    """

    text: str
    between: Mapping[str, int]
    """How often each text is between two numbers of one object."""
    digits: int
    """Digits of the answer that are not in `text`."""

    @classmethod
    def of(cls, answer: Answer, profile: AnswerProfile) -> Outline | None:
        """Return the outline of an answer, or None where the format is not one of dcap's own layouts.

        Raises:
            ConfigError: The format is not registered.
        """
        layout = own_layout(profile.format)
        if layout is None:
            return None
        shapes = answer.shapes
        if not len(shapes) and profile.empty is not None:
            return cls(write_answer(answer, profile), {}, 0)
        kinds, num_points = shapes.kinds.tolist(), (shapes.offsets[1:] - shapes.offsets[:-1]).tolist()
        pieces = [text for text, _ in _prefix_parts(answer, profile)]
        pieces += layout.pieces(zip(kinds, num_points, repeat("0"), answer.captions, strict=False))
        between: Counter[str] = Counter()
        for kind in set(kinds):
            of_point, of_shape = layout.between(kind)
            counts = [count for each, count in zip(kinds, num_points, strict=True) if each == kind]
            between[of_point] += sum(counts)
            between[of_shape] += sum(counts) - len(counts)
        return cls("".join(pieces), between, _num_digits(shapes.xy) - len(shapes))


def _num_digits(values: npt.NDArray[np.float64]) -> int:
    """Count the digits of whole numbers that are not negative."""
    count, power, most = values.size, 10, values.max(initial=0.0)
    while power <= most:
        count += int(np.count_nonzero(values >= power))
        power *= 10
    return count


def write(shapes: ShapeArray, captions: Sequence[str], canvas: Canvas, profile: AnswerProfile) -> str:
    """Return the answer text for shapes in canvas pixels; `to_answer`, then `write_answer`.

    Raises:
        GeometryError: As `to_answer`.
        ConfigError: As `write_parts`.
        PluginError: As `write_parts`.
    """
    return write_answer(to_answer(shapes, captions, canvas, profile), profile)


def parse(text: str, profile: AnswerProfile, strict: bool = True, reasoning: bool = False) -> Parsed:
    """Read an answer text back to the grid; ``parse(write(x))`` equals `to_answer` of x.

    Args:
        text: Any string.
        profile: Format and grid.
        strict: True: anything that `write` would not write is an error (training data); only blanks and the order of
            keys in JSON are free. False: every complete and legal object is kept, all problems are listed in
            `problems`, and no text raises (a model's answer). Numbers are then rounded and clamped to the grid, and
            swapped box corners are put in order, each with a note. Objects in reasoning before the answer do not count.
        reasoning: Whether the prompt ended inside reasoning, so that `text` begins in it; for ``strict=False``.

    Raises:
        AnswerError: Strict only; the message has the character position.
        ConfigError: The profile's format is not registered.
    """
    notes = Notes(strict)
    start = 0 if strict else answer_start(text, reasoning)
    if start is None:
        notes.add(0, f"reasoning must end with {CLOSING} before the answer")
        return Parsed(ShapeArray.empty(), (), notes.finished())
    prefix, start = _read_prefix(text, start, profile.prefix, notes)
    notes.offset = start
    found: Sequence[AnswerObject] = ()
    if profile.empty is None or profile.empty != (text[start:] if strict else text[start:].strip()):
        found = ANSWER_FORMATS.get(profile.format, "data.answer.format").parse_objects(text[start:], notes)
        if profile.empty is not None and not found and not notes.total:
            notes.add(0, f"answer without objects must be {show(profile.empty)}")
    if prefix and profile.prefix is not None:
        wanted = Prefix(profile.prefix).write([obj.kind for obj in found])
        if prefix != wanted:  # which begins this far before the objects
            notes.add(-len(prefix), f"prefix must be {show(wanted)}, not {show(prefix)}")
    span = SPANS.get(profile.emit_norm, MAX_COORDINATE)  # a text does not tell how large its canvas is
    kinds, points, captions = [], [], []
    for obj in found:
        legal = legal_points(obj, span, notes)
        if legal is not None:
            kinds.append(int(obj.kind))
            points.append(legal)
            captions.append(obj.caption)
    return Parsed(ShapeArray.from_points(points, kinds), tuple(captions), notes.finished())


def _read_prefix(text: str, start: int, template: str | None, notes: Notes) -> tuple[str, int]:
    """Return the prefix of an answer that begins at `start`, and where its objects begin. Empty, with a note: none."""
    if template is None:
        return "", start
    if not notes.strict:  # a model leaves lines between its reasoning and its answer
        start = len(text) - len(text[start:].lstrip())
    end = Prefix(template).end_in(text, start)
    if end is None:
        notes.add(start, f"answer must begin with the prefix {show(template)}")
        return "", start
    return text[start:end], end


def legal_points(obj: AnswerObject, span: int, notes: Notes) -> Points | None:
    """Return the points of an object that was read. `None`, with a note: they are not a legal shape.

    Args:
        obj: As a format read it.
        span: Largest x and y on the grid.
        notes: Gets the problems.

    Raises:
        AnswerError: In strict reading, for every difference from a legal shape.
    """
    name, place = obj.kind.name.lower(), obj.position
    points = [[round(min(max(value, 0), span)) for value in point] for point in obj.points]
    if any(type(value) is float for point in obj.points for value in point):
        notes.add(place, f"{name} must have whole numbers")
    if any(not 0 <= value <= span for point in obj.points for value in point):
        notes.add(place, f"{name} must have numbers within 0..{span}")
    if obj.kind is GeometryKind.BOX:
        return _legal_box(points, place, notes)
    offsets, kinds = np.array([0, len(points)]), np.array([obj.kind], np.uint8)
    kept = kernels.without_repeats(np.array(points, np.int64), offsets, kinds)[0].tolist() if points else points
    if len(kept) < len(points):
        notes.add(place, f"{name} must not repeat a point")
    least = MIN_POINTS[obj.kind]
    if len({(x, y) for x, y in kept}) < least:
        notes.add(place, f"{name} must have at least {least} distinct points")
        return None
    return kept


def _legal_box(points: Points, place: int, notes: Notes) -> Points | None:
    if len(points) != 2:
        notes.add(place, "box must have 4 numbers")
        return None
    (x1, y1), (x2, y2) = points
    if x1 == x2 or y1 == y2:
        notes.add(place, "box must have x1 < x2 and y1 < y2, not an empty side")
        return None
    if x1 > x2 or y1 > y2:
        notes.add(place, "box must have x1 < x2 and y1 < y2, not swapped corners")
    return [[min(x1, x2), min(y1, y2)], [max(x1, x2), max(y1, y2)]]


def to_canvas(answer: Parsed | Answer, canvas: Canvas, profile: AnswerProfile) -> ShapeArray:
    """Return the shapes of an answer in pixels of `canvas`, the one that the model saw.

    Points are clamped to the canvas. That matters only for ``emit_norm: none``, where the text does not give the size
    of the canvas.
    """
    shapes = answer.shapes
    xy = from_grid(shapes.xy.astype(np.int64), canvas, profile.emit_norm)
    xy = np.clip(xy, 0.0, np.array([canvas.width, canvas.height], np.float64))
    return ShapeArray.trusted(xy, shapes.offsets, shapes.kinds)
