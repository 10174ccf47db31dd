"""The bridge between plain dicts and `ShapeArray`; the only place below `dcap.data` that knows the JSON keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import GeometryError
from dcap.geometry.shapes import GeometryKind, ShapeArray

KEYS: dict[str, GeometryKind] = {
    "bbox_2d": GeometryKind.BOX,
    "poly": GeometryKind.POLYGON,
    "line": GeometryKind.LINE,
}
"""JSON key of each kind."""
KEY_OF_KIND: dict[int, str] = {kind: key for key, kind in KEYS.items()}

_MIN_NUMBERS = {GeometryKind.BOX: 4, GeometryKind.POLYGON: 6, GeometryKind.LINE: 4}


def read_shape(obj: Mapping[str, Any]) -> tuple[GeometryKind, npt.NDArray[np.float64]]:
    """Return kind and cleaned points, float64 (n, 2), of one plain dict.

    Consecutive repeats and the repeated closing point of a ring are removed.

    Raises:
        GeometryError: None or several of the three keys, or numbers that are no legal shape; the message starts
            with the key.
    """
    keys = [key for key in KEYS if key in obj]
    if len(keys) != 1:
        raise GeometryError(f"object must have exactly one of bbox_2d, poly, line, not {keys or 'none'}")
    key = keys[0]
    kind = KEYS[key]
    points = _numbers(obj[key], key, kind).reshape(-1, 2)
    if kind is GeometryKind.BOX:
        if not (points[0] < points[1]).all():
            raise GeometryError(f"{key} must have x1 < x2 and y1 < y2, not {points.ravel().tolist()}")
        return kind, points
    return kind, _without_repeats(points, key, kind)


def _numbers(values: Any, key: str, kind: GeometryKind) -> npt.NDArray[np.float64]:
    if isinstance(values, np.ndarray):
        values = values.ravel().tolist()
    if not isinstance(values, (list, tuple)):
        raise GeometryError(f"{key} must be a list of numbers, not {type(values).__name__}")
    if kind is GeometryKind.BOX and len(values) != 4:
        raise GeometryError(f"{key} has {len(values)} numbers, must be 4")
    if len(values) % 2 or len(values) < _MIN_NUMBERS[kind]:
        raise GeometryError(f"{key} has {len(values)} numbers, must be an even count >= {_MIN_NUMBERS[kind]}")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise GeometryError(f"{key}[{i}] must be a number, not {value!r}")
    try:
        array = np.array(values, np.float64)
    except OverflowError:
        raise GeometryError(f"{key} must hold numbers that fit float64, not larger ones") from None
    for i in np.flatnonzero(~np.isfinite(array))[:1]:
        raise GeometryError(f"{key}[{i}] must be finite, not {values[i]!r}")
    return array


def _without_repeats(points: npt.NDArray[np.float64], key: str, kind: GeometryKind) -> npt.NDArray[np.float64]:
    keep = np.ones(len(points), bool)
    keep[1:] = (points[1:] != points[:-1]).any(axis=1)
    points = points[keep]
    if kind is GeometryKind.POLYGON and len(points) > 1 and (points[0] == points[-1]).all():
        points = points[:-1]
    least = 3 if kind is GeometryKind.POLYGON else 2
    if len(points) < least:
        raise GeometryError(f"{key} must have at least {least} distinct points, not {len(points)}")
    return points


def read_objects(objects: Iterable[Mapping[str, Any]]) -> ShapeArray:
    """Build a `ShapeArray` from plain dicts.

    Raises:
        GeometryError: As `read_shape`, with the object's index in front.
    """
    points, kinds = [], []
    for i, obj in enumerate(objects):
        try:
            kind, xy = read_shape(obj)
        except GeometryError as error:
            raise GeometryError(f"objects[{i}]: {error}") from None
        points.append(xy)
        kinds.append(kind)
    return ShapeArray.from_points(points, kinds)


def write_objects(shapes: ShapeArray) -> list[dict[str, list[float]]]:
    """Return one ``{key: flat numbers}`` per shape; whole numbers stay floats."""
    return [{KEY_OF_KIND[kind]: points.ravel().tolist()} for kind, points in shapes]
