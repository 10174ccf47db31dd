"""The ``objects`` of a record to shapes and texts, all objects of a record in a few array operations.

Owns the shape rules of the record contract: counts, order of box corners, repeats, bounds, clipping. The messages for
one object come from `dcap.geometry.shapes.read_shape`, so both borders give the same message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import GeometryError
from dcap.core.words import show
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import clip
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import KEY_OF_KIND, KEYS, MIN_POINTS, GeometryKind, ShapeArray, read_shape, rings_without_area
from dcap.records.json_line import Problem
from dcap.records.keys import FORMS, key_hint

COORDINATE_LIMIT = 1e9
"""Largest magnitude of a coordinate, in pixels. A larger one is a mistake of units, not a shape partly outside."""

_NUMBER_TYPES = frozenset((int, float))
_COUNT_KEYS = ("poly_points", "line_points")
_OWN_KEYS = frozenset((*KEYS, *_COUNT_KEYS, "desc", "attributes"))


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The ``objects`` of a record, as `read_objects` returns them."""

    shapes: ShapeArray
    captions: tuple[str, ...]
    attributes: tuple[Any, ...]
    extras: tuple[Mapping[str, Any], ...]
    clipped: tuple[int, ...]
    """Objects that are partly outside the canvas in the file."""
    other_parts: tuple[tuple[int, ShapeArray], ...] = ()
    """For each object that the border splits: its index, and all its parts but the largest."""


class Faults(NamedTuple):
    """What is wrong with each of N shapes."""

    is_far: npt.NDArray[np.bool_]
    """Bool (N,): a coordinate is too far out."""
    is_bad: npt.NDArray[np.bool_]
    """Bool (N,): too few points, or corners of a box in the wrong order."""
    is_flat: npt.NDArray[np.bool_]
    """Bool (N,): a ring without area."""

    def any(self) -> npt.NDArray[np.bool_]:
        """Return which shapes have a fault, bool (N,)."""
        return self.is_far | self.is_bad | self.is_flat


@dataclass(slots=True)
class ShapeColumns:
    """The shapes of a record's objects while they are read: position in the record, kind, number of points, numbers."""

    index: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    flat: list[float] = field(default_factory=list)

    def add(self, i: int, kind: GeometryKind, values: list[float]) -> None:
        """Take the numbers of object `i`: pairs, as many as its kind needs at least, of a box two."""
        self.index.append(i)
        self.kinds.append(kind)
        self.counts.append(len(values) // 2)
        self.flat += values

    def cleaned(self) -> tuple[ShapeArray, Faults]:
        """Return the shapes without repeated points, and which of them must not be used."""
        if not self.kinds:
            none = np.empty(0, np.bool_)
            return ShapeArray.empty(), Faults(none, none, none)
        kinds = np.array(self.kinds, np.uint8)
        offsets = np.zeros(len(kinds) + 1, np.int64)
        np.cumsum(self.counts, out=offsets[1:])
        try:
            xy = np.array(self.flat, np.float64).reshape(-1, 2)
        except OverflowError:
            xy = np.array([_to_float(value) for value in self.flat]).reshape(-1, 2)
        is_far = np.maximum.reduceat(~(np.abs(xy) <= COORDINATE_LIMIT).all(axis=1), offsets[:-1])
        xy, offsets = kernels.without_repeats(xy, offsets, kinds)
        is_bad = np.diff(offsets) < np.array(MIN_POINTS)[kinds]
        corners = offsets[:-1][kinds == GeometryKind.BOX]
        is_bad[kinds == GeometryKind.BOX] = ~(xy[corners] < xy[corners + 1]).all(axis=1)
        is_flat = rings_without_area(xy, offsets, kinds) & ~(is_far | is_bad)
        return ShapeArray.trusted(xy, offsets, kinds), Faults(is_far, is_bad, is_flat)


def read_objects(objects: Any, canvas: Canvas | None, problems: list[Problem]) -> ObjectList | None:
    """Read the list of objects. Each problem is appended to `problems`.

    Args:
        objects: The value of ``objects``.
        canvas: The record's canvas. `None`: the canvas itself is wrong, and nothing is checked against it.
        problems: Gets one entry per thing that is wrong.

    Returns:
        The objects with shapes inside the canvas, or None where `problems` grew.
    """
    if not isinstance(objects, list):
        problems.append(Problem("objects", f"must be a list, not {show(objects)}"))
        return None
    before = len(problems)
    columns = ShapeColumns()
    for i, obj in enumerate(objects):
        if not isinstance(obj, dict):
            problems.append(Problem(f"objects[{i}]", f"must be an object, not {show(obj)}"))
            continue
        problem = check_text(obj.get("desc"), f"objects[{i}].desc")
        if problem and "desc" not in obj:
            problem = Problem(problem.field, problem.text + key_hint(obj, ("desc",)))
        elif problem and obj["desc"] is None:
            problem = Problem(problem.field, "must be a string, not null")
        if problem:
            problems.append(problem)
        _read_one(obj, i, columns, problems)
    shapes = _shapes(columns, objects, problems)
    clipped: tuple[int, ...] = ()
    other_parts: tuple[tuple[int, ShapeArray], ...] = ()
    if shapes is not None and canvas is not None:
        shapes, clipped, other_parts = _into_canvas(shapes, columns.index, canvas, problems)
    if shapes is None or len(problems) > before:
        return None
    return ObjectList(
        shapes,
        tuple([obj["desc"] for obj in objects]),
        tuple([obj.get("attributes") for obj in objects]),
        # Most have a caption and a shape, nothing else.
        tuple([{} if len(obj) == 2 else {k: v for k, v in obj.items() if k not in _OWN_KEYS} for obj in objects]),
        clipped,
        other_parts,
    )


def check_text(text: Any, name: str) -> Problem | None:
    """Return what is wrong with a caption or summary: it must be a string with something to read in it."""
    if not isinstance(text, str):
        return Problem(name, "must be given" if text is None else f"must be a string, not {show(text)}")
    if not text.strip():
        return Problem(name, f"must not be empty, not {show(text)}")
    if "\0" in text:
        return Problem(name, "must not hold the NUL character")
    return None


def _read_one(obj: dict[str, Any], i: int, columns: ShapeColumns, problems: list[Problem]) -> None:
    keys = [key for key in KEYS if key in obj]
    if len(keys) != 1:
        found = " and ".join(keys) or "none" + key_hint(obj, KEYS)
        problems.append(Problem(f"objects[{i}]", f"must have exactly one of bbox_2d, poly, line, not {found}"))
        return
    key, kind = keys[0], KEYS[keys[0]]
    values = obj[key]
    plain = type(values) is list and _NUMBER_TYPES.issuperset(map(type, values))
    least = 2 * MIN_POINTS[kind]
    if type(values) is list and not plain and isinstance(values[0], (list, dict)):
        text = f"must be the flat list {FORMS[key]}, not nested points such as {show(values[0])}"
        problems.append(Problem(f"objects[{i}].{key}", text))
        return
    if not plain or len(values) % 2 or len(values) < least or (kind is GeometryKind.BOX and len(values) != 4):
        problems.append(_problem_of(obj, i))
        return
    for name in _COUNT_KEYS:
        if name in obj:
            problem = _check_count(obj[name], f"objects[{i}].{name}", name == f"{key}_points", len(values) // 2)
            if problem:
                problems.append(problem)
    columns.add(i, kind, values)


def _check_count(value: Any, name: str, belongs: bool, num_points: int) -> Problem | None:
    if not belongs:
        return Problem(name, f"must be given with {name.rsplit('.', 1)[1].removesuffix('_points')}, not alone")
    if type(value) is not int or value != num_points:
        return Problem(name, f"must be the number of points as given, {num_points}, not {show(value)}")
    return None


def _problem_of(obj: Mapping[str, Any], i: int) -> Problem:
    try:
        read_shape(obj)
    except GeometryError as error:
        path, _, text = str(error).partition(" ")
        return Problem(f"objects[{i}].{path}", text)
    raise AssertionError(f"objects[{i}]: the array checks refuse what read_shape accepts: {obj!r}")


def _shapes(columns: ShapeColumns, objects: Sequence[Any], problems: list[Problem]) -> ShapeArray | None:
    """Turn the columns into cleaned shapes, or report the objects that are not legal."""
    shapes, faults = columns.cleaned()
    wrong = faults.any()
    for k in np.flatnonzero(wrong):
        i = columns.index[k]
        if faults.is_flat[k]:
            text = f"must enclose an area, not {show(objects[i]['poly'])}: its points are on one line, or its edges "
            problems.append(Problem(f"objects[{i}].poly", text + "cancel out. Give a line under the key line."))
        elif faults.is_far[k]:
            key = next(key for key in KEYS if key in objects[i])
            text = f"must have coordinates within {COORDINATE_LIMIT:.0e} pixels of the image"
            problems.append(Problem(f"objects[{i}].{key}", text))
        else:
            problems.append(_problem_of(objects[i], i))
    return None if wrong.any() else shapes


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _into_canvas(
    shapes: ShapeArray, index: Sequence[int], canvas: Canvas, problems: list[Problem]
) -> tuple[ShapeArray, tuple[int, ...], tuple[tuple[int, ShapeArray], ...]]:
    """Clip shapes that are partly outside. If the border splits a shape, its largest (longest) part stays.

    Returns:
        The shapes, which objects were clipped, and the other parts of those that were split.
    """
    limit = np.array([canvas.width, canvas.height], np.float64)
    inside = (shapes.xy >= 0).all(axis=1) & (shapes.xy <= limit).all(axis=1)
    if inside.all():
        return shapes, (), ()
    cut = np.flatnonzero(~np.minimum.reduceat(inside, shapes.offsets[:-1]))
    try:
        parts = clip(shapes.take(cut), canvas)
        sizes = area_or_length(parts.shapes)
    except GeometryError:
        problems += _problems_of_clipping(shapes, cut.tolist(), index, canvas)
        return shapes, (), ()
    best: dict[int, int] = {}
    others: dict[int, list[int]] = {}
    for k in np.unique(parts.source_index).tolist():
        found = np.flatnonzero(parts.source_index == k)
        largest = int(found[sizes[found].argmax()])
        best[int(cut[k])] = largest
        if len(found) > 1:
            others[index[int(cut[k])]] = [part for part in found.tolist() if part != largest]
    for k in cut.tolist():
        if k not in best:
            text = f"must have some area or length inside the image ({canvas.width} x {canvas.height})"
            problems.append(Problem(_field(shapes, k, index), text))
    points = [parts.shapes.points(best[k]) if k in best else shapes.points(k) for k in range(len(shapes))]
    kinds = [parts.shapes.kinds[best[k]] if k in best else shapes.kinds[k] for k in range(len(shapes))]
    other_parts = tuple((i, parts.shapes.take(rest)) for i, rest in sorted(others.items()))
    return ShapeArray.from_points(points, kinds), tuple(index[k] for k in sorted(best)), other_parts


def _problems_of_clipping(shapes: ShapeArray, cut: list[int], index: Sequence[int], canvas: Canvas) -> list[Problem]:
    """Find the shapes that cannot be clipped: rings that cross themselves millions of times."""
    found = []
    for k in cut:
        try:
            clip(shapes.take([k]), canvas)
        except GeometryError as error:
            found.append(Problem(_field(shapes, k, index), str(error).removeprefix("polygon ")))
    return found


def _field(shapes: ShapeArray, k: int, index: Sequence[int]) -> str:
    return f"objects[{index[k]}].{KEY_OF_KIND[GeometryKind(int(shapes.kinds[k]))]}"
