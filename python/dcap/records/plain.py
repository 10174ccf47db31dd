"""Records that hold nothing unusual, read by a kernel in one pass; nearly all records of a good file are such.

Owns speed only. What is not plain in any way, right or wrong, is left to `dcap.records.record`, which reads all records
and has the words for what is wrong with them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from dcap import kernels
from dcap.geometry.shapes import ShapeArray
from dcap.records.json_line import MAX_DEPTH, MAX_LINE_BYTES, num_keys
from dcap.records.objects import COORDINATE_LIMIT, check_text

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
    r"""Read one line of JSONL if it is a plain record: right, without unknown keys, all shapes inside the image.

    The kernel reads what every record has and tells where the rest stands::

        {"images": ["a.png"], ..., "objects": [{"desc": "a \"b\"", "bbox_2d": [1, 2, 3, 4]}], "metadata": {"k": [1]}}
        texts       0 -----                              1 -------                            values       ----------

    Numbers with a sign, an exponent or more than 18 digits, keys with escapes, and images with a side beyond
    `COORDINATE_LIMIT`, are not plain.

    Args:
        line: UTF-8 JSON without its line end.
        max_side: Largest width or height.

    Raises:
        RecordError: A value of the line is nested deeper than `MAX_DEPTH`.
    """
    # Inside a larger image a coordinate may be farther out than the rules allow.
    max_side = min(max_side, int(COORDINATE_LIMIT))
    found = kernels.read_record(line, max_side) if len(line) <= MAX_LINE_BYTES else None
    if found is None:
        return None
    xy, offsets, kinds, texts, values, (width, height) = found
    metadata: dict[str, Any] = {}
    attributes: list[Any] = [None] * len(kinds)
    try:
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
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
