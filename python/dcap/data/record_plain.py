"""Records that hold nothing unusual, decoded straight into typed fields; nearly all records of a good file are such.

Owns speed only. What is not plain in any way, right or wrong, is left to `dcap.data.records`, which reads all records
and has the words for what is wrong with them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from dcap.data.record_json import MAX_DEPTH, MAX_LINE_BYTES, num_key_ends, num_keys
from dcap.data.record_objects import check_text, is_clean, is_inside, without_repeats
from dcap.geometry.shapes import MIN_POINTS, GeometryKind, ShapeArray

_LEAST_POINTS = np.array(MIN_POINTS)
_UNSET = msgspec.UNSET
_Numbers = list[float] | msgspec.UnsetType
_Count = int | msgspec.UnsetType


class _Object(msgspec.Struct, gc=False):
    desc: str
    bbox_2d: _Numbers = _UNSET
    poly: _Numbers = _UNSET
    line: _Numbers = _UNSET
    poly_points: _Count = _UNSET
    line_points: _Count = _UNSET
    attributes: Any = _UNSET


class _Record(msgspec.Struct, gc=False):
    images: list[str]
    width: int
    height: int
    objects: list[_Object]
    summary: str | msgspec.UnsetType | None = _UNSET
    metadata: dict[str, Any] | msgspec.UnsetType | None = _UNSET


_DECODER = msgspec.json.Decoder(_Record)


class PlainRecord(NamedTuple):
    """The fields of `dcap.data.records.Record` that a plain record has."""

    image: str
    width: int
    height: int
    shapes: ShapeArray
    captions: tuple[str, ...]
    attributes: tuple[Any, ...]
    summary: str | None
    metadata: dict[str, Any]


def read_plain(line: bytes, max_side: int) -> PlainRecord | None:
    """Read one line of JSONL if it is a plain record: right, without unknown keys, all shapes inside the image.

    Args:
        line: UTF-8 JSON without its line end.
        max_side: Largest width or height.

    Raises:
        RecordError: The line is nested deeper than `MAX_DEPTH`.
    """
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        data = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    captions = [item.desc for item in data.objects]
    texts = [*data.images, *captions] if data.summary in (None, _UNSET) else [*data.images, *captions, data.summary]
    if len(data.images) != 1 or any(map(check_text, texts, texts)):
        return None
    if not (1 <= data.width <= max_side and 1 <= data.height <= max_side):
        return None
    # As many ends of keys as keys were taken: none is unknown, none is given twice. A text may look like one.
    if num_key_ends(line) != _num_keys(data):
        return None
    shapes = _shapes(data.objects)
    if shapes is None or not is_inside(shapes, data.width, data.height):
        return None
    return PlainRecord(
        data.images[0], data.width, data.height, shapes, tuple(captions),
        tuple([None if item.attributes is _UNSET else item.attributes for item in data.objects]),
        data.summary or None, data.metadata or {},
    )  # fmt: skip


def _num_keys(data: _Record) -> int:
    """Count the keys that the line must have if it has no others."""
    # A shape has one key of three, which `_shapes` sees to.
    count = 4 + (data.summary is not _UNSET) + (data.metadata is not _UNSET) + 2 * len(data.objects)
    count += num_keys(data.metadata, MAX_DEPTH - 1)
    for item in data.objects:
        count += (item.poly_points is not _UNSET) + (item.line_points is not _UNSET)
        if item.attributes is not _UNSET:
            count += 1 + num_keys(item.attributes, MAX_DEPTH - 3)
    return count


def _shapes(objects: list[_Object]) -> ShapeArray | None:
    """Return the shapes without repeated points, or None where one is not as it must be."""
    flat: list[float] = []
    ends, kinds = [0], []
    for item in objects:
        box, poly, line = item.bbox_2d, item.poly, item.line
        if poly and box is line is _UNSET:
            values, kind, count = poly, GeometryKind.POLYGON, item.poly_points
            good = len(poly) >= 6 and item.line_points is _UNSET
        elif box and poly is line is _UNSET:
            values, kind, count = box, GeometryKind.BOX, _UNSET
            good = len(box) == 4 and item.poly_points is item.line_points is _UNSET
        elif line and box is poly is _UNSET:
            values, kind, count = line, GeometryKind.LINE, item.line_points
            good = len(line) >= 4 and item.poly_points is _UNSET
        else:
            return None
        if not good or len(values) % 2 or (count is not _UNSET and 2 * count != len(values)):
            return None
        flat += values
        ends.append(len(flat) // 2)
        kinds.append(kind)
    if not kinds:
        return ShapeArray.empty()
    xy, offsets, codes = np.array(flat).reshape(-1, 2), np.array(ends), np.array(kinds, np.uint8)
    if not is_clean(xy, offsets, codes):
        xy, offsets = without_repeats(xy, offsets, codes)
        if (np.diff(offsets) < _LEAST_POINTS[codes]).any() or not is_clean(xy, offsets, codes):
            return None
    return ShapeArray.trusted(xy, offsets, codes)
