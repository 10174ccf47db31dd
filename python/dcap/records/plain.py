"""Records that hold nothing unusual, read quickly; nearly all records of a good file are such.

Owns speed only: the C++ kernel reads a line in one pass; without it, msgspec decodes the types of the contract. All
other lines, right or wrong, are left to `dcap.records.record`, which reads any record and has the error messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from dcap import kernels
from dcap.geometry.shapes import MIN_POINTS, GeometryKind, ShapeArray
from dcap.records.json_line import MAX_DEPTH, MAX_LINE_BYTES, count_key_ends, num_keys
from dcap.records.objects import COORDINATE_LIMIT, ShapeColumns, check_text

_TEXT = msgspec.json.Decoder(str)
_VALUE = msgspec.json.Decoder()


class PlainRecord(NamedTuple):
    """The fields of `dcap.records.record.Record` that a plain record has."""

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

    Images with a side beyond `COORDINATE_LIMIT` are not plain. Other limits, such as numbers with an exponent for the
    kernel, only affect speed.

    Args:
        line: UTF-8 JSON without its line end.
        max_side: Largest width or height.

    Raises:
        RecordError: A value of the line is nested deeper than `MAX_DEPTH`.
    """
    if len(line) > MAX_LINE_BYTES:
        return None
    # Inside a larger image a coordinate may be farther out than the rules allow.
    max_side = min(max_side, int(COORDINATE_LIMIT))
    try:
        if kernels.read_record is None:
            return _by_msgspec(line, max_side)
        return _by_kernel(kernels.read_record, line, max_side)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _by_kernel(read_record: Callable[[bytes, int], Any], line: bytes, max_side: int) -> PlainRecord | None:
    r"""Read a line by the C++ kernel. It reads the fields that every record has and returns the places of the rest.

    ::

        {"images": ["a.png"], ..., "objects": [{"desc": "a \"b\"", "bbox_2d": [1, 2, 3, 4]}], "metadata": {"k": [1]}}
        texts       0 -----                              1 -------                            values       ----------
    """
    found = read_record(line, max_side)
    if found is None:
        return None
    xy, offsets, kinds, texts, values, (width, height) = found
    metadata: dict[str, Any] = {}
    attributes: list[Any] = [None] * len(kinds)
    whole = line.decode()
    strings = [whole[a:b] if not look else _looked_at(whole[a:b]) for a, b, look in texts.tolist()]
    for owner, a, b, count in values.tolist():
        value = _VALUE.decode(whole[a:b])
        # A key that is given twice is counted twice in the line.
        if num_keys(value, MAX_DEPTH - (1 if owner < 0 else 3)) != count:
            return None
        if owner < 0:
            metadata = value
        else:
            attributes[owner] = value
    image, summary, *captions = strings
    return PlainRecord(
        image, width, height, ShapeArray.frozen(xy, offsets, kinds), tuple(captions), tuple(attributes),
        summary or None, metadata,
    )  # fmt: skip


def _looked_at(text: str) -> str:
    """Decode the escapes of a text.

    Raises:
        msgspec.DecodeError: They are wrong, or the text is none that a record may have.
    """
    if "\\" in text:
        text = _TEXT.decode(f'"{text}"')
    if check_text(text, "text"):
        raise msgspec.DecodeError
    return text


class _Object(msgspec.Struct, forbid_unknown_fields=True):
    desc: str
    bbox_2d: list[float] | UnsetType = UNSET
    poly: list[float] | UnsetType = UNSET
    line: list[float] | UnsetType = UNSET
    # msgspec takes 3.0 for an int, which the contract does not.
    poly_points: int | float | UnsetType = UNSET
    line_points: int | float | UnsetType = UNSET
    attributes: Any = UNSET


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    images: list[str]
    width: int
    height: int
    objects: list[_Object]
    summary: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


_RECORD = msgspec.json.Decoder(_Record)


def _by_msgspec(line: bytes, max_side: int) -> PlainRecord | None:
    """Read a line by the types above; then the shapes by a few array operations."""
    found = _RECORD.decode(line)
    columns, keys = ShapeColumns(), 4 + (found.summary is not UNSET)
    for i, obj in enumerate(found.objects):
        keys += _add(obj, i, columns)
    if found.metadata is not UNSET:
        keys += 1 + num_keys(found.metadata, MAX_DEPTH - 1)
    texts = [*found.images, found.summary or "-", *[obj.desc for obj in found.objects]]
    sides = (found.width, found.height)
    if (
        len(columns.index) != len(found.objects)
        or len(found.images) != 1
        or found.summary == ""
        or not all(1 <= side <= max_side for side in sides)
        or any(check_text(text, "text") for text in texts)
        or count_key_ends(line) != keys
    ):
        return None
    shapes, faults = columns.cleaned()
    if faults.any().any() or (shapes.xy < 0).any() or (shapes.xy > np.array(sides, np.float64)).any():
        return None
    return PlainRecord(
        found.images[0], *sides, shapes, tuple([obj.desc for obj in found.objects]),
        tuple([None if obj.attributes is UNSET else obj.attributes for obj in found.objects]),
        found.summary or None, found.metadata or {},
    )  # fmt: skip


def _add(obj: _Object, i: int, columns: ShapeColumns) -> int:
    """Add the shape of an object if it has one and no more, and return how many keys the object has."""
    shapes = [
        (kind, values, told)
        for kind, values, told in (
            (GeometryKind.BOX, obj.bbox_2d, UNSET),
            (GeometryKind.POLYGON, obj.poly, obj.poly_points),
            (GeometryKind.LINE, obj.line, obj.line_points),
        )
        if values is not UNSET
    ]
    counts = [told for told in (obj.poly_points, obj.line_points) if told is not UNSET]
    if len(shapes) == 1:
        kind, values, told = shapes[0]
        least = 2 * MIN_POINTS[kind]
        fits = len(values) == 4 if kind is GeometryKind.BOX else len(values) >= least and not len(values) % 2
        if fits and (counts == [] or (counts == [told] and type(told) is int and 2 * told == len(values))):
            columns.add(i, kind, values)
    keys = 1 + len(shapes) + len(counts)
    return keys if obj.attributes is UNSET else keys + 1 + num_keys(obj.attributes, MAX_DEPTH - 3)
