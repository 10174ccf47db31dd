"""Objects of Parquet files as Hugging Face ``datasets`` writes them, to the objects of a record.

Owns the meaning of their keys. A key that could mean several things is left to the record's rules, which refuse it::

    {"bbox": [[1, 2, 3, 4], ...], "category": [0, ...]}     one list per key
    [{"bbox": [1, 2, 3, 4], "category": 0}, ...]            one struct per object
    [{"bbox_2d": [1, 2, 4, 6], "desc": "cup"}, ...]         a record

``bbox`` is ``[x, y, width, height]``, as the documentation of ``datasets`` and COCO have it. A class number becomes
the name that the file's features give it. Each ring of a ``segmentation`` becomes an object. All other keys stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dcap.core.errors import RecordError
from dcap.core.words import show
from dcap.geometry.shapes import KEYS
from dcap.records.objects import COORDINATE_LIMIT

_BOXES = ("bbox", "bboxes")
_RINGS = ("segmentation", "segments", "polygon", "polygons")
_TEXTS = ("category", "categories", "label", "labels", "class", "classes", "name", "caption")
_FEATURES = b"huggingface"
_SLACK = 1.0
"""Pixels by which a box may be outside its image by rounding alone."""

Names = Mapping[str, Sequence[str]]
"""Names of the classes of each key whose values are class numbers."""


def class_names(metadata: Mapping[bytes, bytes] | None) -> Names:
    """Return the class names of the keys of ``objects``, as the metadata of a file's schema gives them.

    Metadata that cannot be read names no class.
    """
    try:
        features = msgspec.json.decode((metadata or {}).get(_FEATURES, b"{}"))
        objects = features["info"]["features"]["objects"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return {}
    keys = _inside(objects)
    found = {key: _inside(feature).get("names") for key, feature in keys.items()}
    return {key: names for key, names in found.items() if isinstance(names, list) and all(map(_is_text, names))}


def _inside(feature: Any) -> dict[str, Any]:
    """Return a feature without the lists around it: ``[f]`` and ``{"feature": f}`` are lists of f."""
    for _ in range(4):
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
    return feature if isinstance(feature, dict) else {}


def is_foreign(objects: Any) -> bool:
    """Whether these objects are none of a record yet, and `as_record_objects` may make them so."""
    if isinstance(objects, list):
        return any(isinstance(item, dict) and not KEYS.keys() & item.keys() for item in objects)
    return isinstance(objects, dict)


def as_record_objects(objects: Any, names: Names, width: Any, height: Any) -> list[Any]:
    """Return the objects of a row as a record has them.

    Args:
        objects: One list per key, or one dict per object.
        names: Names of classes.
        width: Of the image as the row gives it, to tell a box that cannot be ``[x, y, width, height]``.
        height: The same.

    Raises:
        RecordError: The lists differ in length, a box or ring has another form, or a class has no name; the message
            names the object and the key.
    """
    items = _rows(objects) if isinstance(objects, dict) else objects
    return [each for i, item in enumerate(items) for each in _read(item, f"objects[{i}]", names, (width, height))]


def _rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    columns = {key: values for key, values in columns.items() if values is not None}
    for key, values in columns.items():
        if not isinstance(values, list):
            raise RecordError(f"objects.{key} must be a list with one value per object, not {show(values)}")
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{count} of {key}" for key, count in lengths.items())
        raise RecordError(f"objects must have as many values of each key, not {counts}")
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _read(item: Any, where: str, names: Names, size: tuple[Any, Any]) -> Iterator[Any]:
    """Yield the objects that one foreign object becomes: one, or one for each of its rings."""
    if not isinstance(item, dict) or KEYS.keys() & item.keys():
        yield item
        return
    rest = dict(item)
    if "desc" not in rest:
        key = next((key for key in _TEXTS if key in rest), None)
        if key is not None:
            rest["desc"] = _text(rest.pop(key), f"{where}.{key}", names.get(key))
    ring_key = next((key for key in _RINGS if rest.get(key)), None)
    box_key = next((key for key in _BOXES if key in rest), None)
    if ring_key is not None:
        rings = _rings(rest.pop(ring_key), f"{where}.{ring_key}")
        yield from ({**rest, "poly": ring} for ring in rings)
    elif box_key is not None:
        box = _corners(rest.pop(box_key), f"{where}.{box_key}", size)
        yield {**rest, "bbox_2d": box}
    else:
        yield rest


def _text(value: Any, where: str, names: Sequence[str] | None) -> Any:
    if type(value) is not int:
        return value  # a text, or what the record's rules refuse
    if names is None:
        raise RecordError(
            f"{where} must be a text, or the number of a class that the file names, and it names none: {show(value)}. "
            "Write the names: dataset.cast_column(...) to ClassLabel(names=[...]), or texts."
        )
    if not 0 <= value < len(names):
        raise RecordError(f"{where} must be one of the file's {len(names)} classes, from 0, not {show(value)}")
    return names[value]


def _corners(value: Any, where: str, size: tuple[Any, Any]) -> list[float]:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise RecordError(f"{where} must be [x, y, width, height], not {show(value)}")
    x, y, w, h = value
    if w <= 0 or h <= 0:
        raise RecordError(f"{where} must be [x, y, width, height] with width and height above 0, not {show(value)}")
    if all(map(_is_number, size)):
        _check_inside(value, where, size)
    return [x, y, round(x + w, 6), round(y + h, 6)]  # 0.1 + 0.2 is 0.3


def _check_inside(box: Sequence[float], where: str, size: tuple[float, float]) -> None:
    """Refuse a box that is outside its image, or is inside only with corners in place of the size."""
    (x, y, w, h), (width, height) = box, size
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise RecordError(f"{where} must be at least partly inside the image, {width} x {height}, not {show(box)}")
    crosses = x + w > width + _SLACK or y + h > height + _SLACK
    if crosses and 0 <= x < w <= width + _SLACK and 0 <= y < h <= height + _SLACK:
        raise RecordError(
            f"{where} must be [x, y, width, height] inside the image, and {show(box)} is only as [x1, y1, x2, y2]. "
            "If it is that, name the key bbox_2d."
        )


def _rings(value: Any, where: str) -> list[list[float]]:
    """Return flat rings of ``[x1, y1, ...]``, ``[[x1, y1], ...]``, or a list of either."""
    whole = isinstance(value, list) and (all(map(_is_number, value)) or _is_points(value))
    rings = [_flat(ring) for ring in ([value] if whole else value if isinstance(value, list) else [])]
    if not rings or not all(isinstance(ring, list) and all(map(_is_number, ring)) for ring in rings):
        raise RecordError(f"{where} must be rings [[x1, y1, x2, y2, ...], ...], not {show(value)}")
    return rings


def _flat(ring: Any) -> Any:
    return [xy for point in ring for xy in point] if _is_points(ring) else ring


def _is_points(ring: Any) -> bool:
    return isinstance(ring, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in ring
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= COORDINATE_LIMIT
