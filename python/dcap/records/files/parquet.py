"""Parquet files with random access: columns are the keys of a record, images paths or bytes.

Owns how a row becomes a record. What is held in memory is in `dcap.records.files.row_groups`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dcap.core.errors import ImageError, RecordError
from dcap.records.files.row_groups import RowGroups
from dcap.records.files.source import RecordSource
from dcap.records.image_source import MAX_IMAGE_BYTES, EmbeddedImage
from dcap.records.record import Origin

_JSON_KEYS = ("objects", "metadata")
"""Columns whose strings are JSON."""


class ParquetRecords(RecordSource):
    """The records of one Parquet file, by index.

    Columns have the names of a record's keys, and a null is an absent key, inside structs too; ``objects`` and
    ``metadata`` may be strings of JSON. The image is ``images`` (list of one path), ``image`` (path, or bytes), or one
    of them as ``datasets`` writes it: struct of ``bytes`` and ``path``, where bytes that are null leave the path.
    Other columns of bytes are not read. Origins count rows from 1.

    Reading one row decodes its row group, records and images apart: images read in random order want small groups.

    Args:
        path: The file.

    Raises:
        RecordError: The file is missing, or no Parquet file.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = RowGroups(path)
        stored = _bytes_leaves(self._rows)
        self._image = next((leaf for leaf in stored if leaf.partition(".")[0] in ("image", "images")), None)
        self._keys = tuple(leaf for leaf in self._rows.leaves if leaf not in stored)

    def __len__(self) -> int:
        return len(self._rows)

    def origin(self, i: int) -> Origin:
        """Return file and row, from 1, of record `i`."""
        return Origin(str(self.path), range(1, len(self) + 1)[i])

    def line(self, i: int) -> bytes:
        """Return row `i` as JSON text.

        Raises:
            RecordError: The file has changed or is damaged, or a row group is too large.
            IndexError: There is no such row.
        """
        i = range(len(self))[i]
        row = self._values(i)
        row = {key: _as_json(key, value) for key, value in row.items() if value is not None}
        images = _image_names(row, f"{self.path.name}/{i + 1}" if self._has_bytes(i) else None)
        row.pop("image", None)
        return msgspec.json.encode({**row, **images}, enc_hook=str)

    def _values(self, i: int) -> dict[str, Any]:
        if not self._keys:
            return {}
        table = self._rows.row(i, self._keys)
        try:
            row: dict[str, Any] = table.to_pylist()[0]
        except (ValueError, OverflowError) as error:  # text that is no UTF-8, or a date beyond Python's
            raise RecordError(f"{self.origin(i)}: row must hold values that can be read, not {error}") from None
        return row

    def embedded(self, i: int) -> EmbeddedImage | None:
        """Return the image of record `i`, or None: the record names a file."""
        i = range(len(self))[i]
        return EmbeddedImage(f"in row {i + 1} of {self.path.name}", self, i) if self._has_bytes(i) else None

    def open_image(self, i: int) -> BinaryIO:
        """Open the image of record `i`.

        Raises:
            ImageError: It has more than `MAX_IMAGE_BYTES`.
            RecordError: As `line`.
        """
        data = self._bytes(i)
        if data is None:
            raise RecordError(f"{self.origin(i)}: image must be in the file, and it is not")
        if data.size > MAX_IMAGE_BYTES:
            where = f"in row {i + 1} of {self.path.name}"
            raise ImageError(f"image {where} must have at most {MAX_IMAGE_BYTES} bytes, not {data.size}")
        return io.BytesIO(data)

    def _has_bytes(self, i: int) -> bool:
        if self._image is None:
            return False
        # Where all rows of a group are alike, planning reads no image to find out.
        known = self._rows.has_value(i, self._image)
        return self._bytes(i) is not None if known is None else known

    def _bytes(self, i: int) -> Any:
        """Return the bytes of an image as an Arrow buffer, or None."""
        cell: Any = self._rows.row(i, (self._image,)).column(0)[0] if self._image is not None else None
        if hasattr(cell, "values"):  # a list
            cell = cell[0] if cell.is_valid and len(cell) == 1 else None
        if hasattr(cell, "keys"):
            cell = cell["bytes"] if cell.is_valid else None
        return None if cell is None else cell.as_buffer()

    def __repr__(self) -> str:
        return f"ParquetRecords({str(self.path)!r}, {len(self)} records)"


def _bytes_leaves(rows: RowGroups) -> tuple[str, ...]:
    """Return the leaves of columns that hold bytes."""
    from pyarrow import types

    found: list[str] = []
    for field in rows.schema:
        kind = field.type.value_type if types.is_list(field.type) or types.is_large_list(field.type) else field.type
        inner = [each.type for each in kind if each.name == "bytes"] if types.is_struct(kind) else [kind]
        if any(types.is_binary(each) or types.is_large_binary(each) for each in inner):
            leaves = [leaf for leaf in rows.leaves if leaf.partition(".")[0] == field.name]
            found += leaves if len(leaves) == 1 else [leaf for leaf in leaves if leaf.endswith(".bytes")]
    return tuple(found)


def _as_json(key: str, value: Any) -> Any:
    if key not in _JSON_KEYS:
        return _without_nulls(value)
    if isinstance(value, str):
        try:
            msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value  # a string, which the record's rules refuse
        return msgspec.Raw(value.encode())  # as it is written: a key given twice is found later
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        value = dict(value)  # an Arrow map
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    """Leave out what is null in structs: all structs of a column have all of its fields."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _image_names(row: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return the ``images`` key of a row: paths as given, and `name` for bytes without one."""
    images = row.get("images")
    if images is None and ("image" in row or name is not None):
        images = [row.get("image")]
    if not isinstance(images, list):
        return {} if images is None else {"images": images}
    paths = [item.get("path") if isinstance(item, dict) else item for item in images]
    return {"images": [path or name for path in paths]}
