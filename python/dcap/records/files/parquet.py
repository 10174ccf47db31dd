"""Parquet files with random access: columns are the keys of a record, images paths or bytes.

Owns the step from row to record, the cache of decoded row groups, and the errors of files that are not Parquet.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from dcap.core.errors import ImageError, MissingPackageError, RecordError
from dcap.core.packages import install_command
from dcap.records.embedded_image import MAX_IMAGE_BYTES, EmbeddedImage
from dcap.records.files.hub_objects import as_record_objects, class_names, is_foreign
from dcap.records.files.source import RecordSource
from dcap.records.files.steady_file import Recent, SteadyFile
from dcap.records.json_line import Problem, decode_line
from dcap.records.record import Origin, Record

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

CACHE_BYTES = 256 << 20
"""Decoded row groups that a process keeps of all files, if they are more than one."""
MAX_GROUP_BYTES = 1 << 30
"""Largest row group that is decoded, of the columns that are asked for."""

_BATCH_ROWS = 256
_TABLES: Recent[pa.Table] = Recent(CACHE_BYTES, cost=lambda table: int(table.nbytes))
_FILES: Recent[ParquetFile] = Recent(64)
Columns = tuple[str, ...]
_JSON_KEYS = ("objects", "metadata")
"""Columns whose strings are JSON."""


class ParquetRecords(RecordSource):
    """The records of one Parquet file, by index.

    Columns have the names of a record's keys, and a null is an absent key, inside structs too; ``objects`` and
    ``metadata`` may be strings of JSON. ``objects`` may be those of ``datasets``, see
    `dcap.records.files.hub_objects`. The image is ``images`` (list of one path), ``image`` (path, or bytes), or one of
    them as ``datasets`` writes it: struct of ``bytes`` and ``path``, where the path counts if the bytes are null. Other
    columns of bytes are not read. Origins count rows from 1.

    Reading a row decodes its row group; records and images are decoded apart. For images in random order, use small
    groups.

    Args:
        path: The file.
        max_image_bytes: Largest image that is opened.
        max_group_bytes: Largest row group that is decoded, of the columns that are asked for.

    Raises:
        RecordError: The file is missing, or no Parquet file.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(
        self, path: Path, max_image_bytes: int = MAX_IMAGE_BYTES, max_group_bytes: int = MAX_GROUP_BYTES
    ) -> None:
        self.path, self.max_image_bytes = path, max_image_bytes
        self._rows = RowGroups(path, max_group_bytes)
        stored = _bytes_leaves(self._rows)
        self._image = next((leaf for leaf in stored if leaf.partition(".")[0] in ("image", "images")), None)
        self._keys = tuple(leaf for leaf in self._rows.leaves if leaf not in stored)
        self._names = class_names(self._rows.schema.metadata)

    def __len__(self) -> int:
        return len(self._rows)

    def origin(self, i: int) -> Origin:
        """Return file and row, from 1, of record `i`."""
        return Origin(str(self.path), self._row(i) + 1)

    def line(self, i: int) -> bytes:
        """Return row `i` as JSON text.

        Raises:
            RecordError: The file has changed or is damaged, or a row group is too large.
            IndexError: There is no such row.
        """
        return self._read(self._row(i))[0]

    def explain(
        self, i: int, line: bytes | None = None, *, text: bool = False
    ) -> tuple[Record | None, tuple[Problem, ...]]:
        """Return record `i`, or `None` and all its problems; see `RecordSource.explain`.

        Raises:
            RecordError: The file has changed or is damaged, or a row group is too large.
            IndexError: There is no such row.
        """
        record, problems = super().explain(i, line, text=text)
        if record is None and (problem := self._read(self._row(i))[1]) is not None:
            return None, (problem,)
        return record, problems

    def _read(self, i: int) -> tuple[bytes, Problem | None]:
        """Return row `i` as JSON text, and what keeps it from being a record, where that text does not show it."""
        table, problem = self._rows.row(i, self._keys) if self._keys else None, None
        row: dict[str, Any] = {}
        try:
            row = table.to_pylist()[0] if table is not None else {}
        except (ValueError, OverflowError) as error:  # text that is no UTF-8, or a date beyond Python's
            problem = Problem("row", f"must hold values that can be read, not {error}")
        row = {key: _as_json(key, value) for key, value in row.items() if value is not None}
        try:
            row |= self._objects(row)
        except RecordError as error:
            problem = Problem.of(str(error))
        images = _image_names(row, f"{self.path.name}/{i + 1}" if self._has_bytes(i) else None)
        row.pop("image", None)
        return msgspec.json.encode({**row, **images}, enc_hook=str), problem

    def _objects(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the objects of a row as those of a record, where the row has others."""
        objects = row.get("objects")
        if isinstance(objects, msgspec.Raw):
            if not is_foreign(msgspec.json.decode(objects)):
                return {}
            objects = decode_line(b'{"objects": ' + bytes(objects) + b"}")["objects"]  # refuses a key given twice
        if not is_foreign(objects):
            return {}
        return {"objects": as_record_objects(objects, self._names, row.get("width"), row.get("height"))}

    def embedded(self, i: int) -> EmbeddedImage | None:
        """Return the image of record `i`. `None`: the record names a file."""
        i = self._row(i)
        if not self._has_bytes(i):
            return None
        return EmbeddedImage(f"in row {i + 1} of {self.path.name}", self, i, self._is_named(i))

    def open_image(self, i: int) -> BinaryIO:
        """Open the image of record `i`.

        Raises:
            ImageError: It has more than `max_image_bytes`.
            RecordError: As `line`.
        """
        data = self._bytes(i)
        if data is None:
            raise RecordError(f"{self.origin(i)}: image must be in the file, and it is not")
        if data.size > self.max_image_bytes:
            where = f"in row {i + 1} of {self.path.name}"
            raise ImageError(f"image {where} must have at most {self.max_image_bytes} bytes, not {data.size}")
        return io.BytesIO(data)

    def _is_named(self, i: int) -> bool:
        """Return whether row `i` has a path beside the bytes of its image."""
        if not self._keys:
            return False
        table = self._rows.row(i, self._keys)
        names = table.select([name for name in ("image", "images") if name in table.column_names])
        try:
            row = names.to_pylist()[0] if names.num_columns else {}
        except ValueError:  # text that is no UTF-8, which is said when the row is read
            return False
        return any(_image_names(row, None).get("images") or ())

    def _has_bytes(self, i: int) -> bool:
        if self._image is None:
            return False
        # Where all rows of a group are alike, planning reads no image.
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


class RowGroups:
    """The row groups of one file; it may be pickled and forked, and each process opens and decodes for itself.

    Args:
        path: The file.
        max_group_bytes: Largest group that is decoded, of the columns that are asked for.

    Attributes:
        starts: First row of each group and the number of all rows, int64 (G + 1,).
        schema: Columns as Arrow types.
        leaves: Paths of the columns as they are stored, such as ``image.bytes``.

    Raises:
        RecordError: The file is missing, or no Parquet file.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(self, path: Path, max_group_bytes: int = MAX_GROUP_BYTES) -> None:
        self.path, self.max_group_bytes = path, max_group_bytes
        self._file = SteadyFile(path)
        self._key: object = None
        with self._whole():
            file = self._open()
            meta, self.schema = file.metadata, file.schema_arrow
            self.leaves: Columns = tuple(file.schema.column(k).path for k in range(meta.num_columns))
            counts = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
            if min(counts, default=0) < 0 or not sum(counts) == meta.num_rows < 1 << 62:
                raise OSError(f"{meta.num_rows} rows, and {counts[:9]} in its groups")
        self.starts: npt.NDArray[np.int64] = np.cumsum([0, *counts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def find(self, i: int) -> tuple[int, int]:
        """Return the group of a row, and the row's place in it.

        Raises:
            IndexError: There is no such row.
        """
        i = range(len(self))[i]
        group = int(np.searchsorted(self.starts, i, "right")) - 1
        return group, i - int(self.starts[group])

    def row(self, i: int, columns: Columns) -> pa.Table:
        """Return some columns of one row.

        Args:
            i: Row, from 0.
            columns: Leaves.

        Raises:
            RecordError: The file has changed or is damaged, or the row's group is too large.
            IndexError: There is no such row.
        """
        group, row = self.find(i)
        return self._table(group, columns).slice(row, 1)

    def has_value(self, i: int, leaf: str) -> bool | None:
        """Return whether row `i` has one value in a leaf, if that is known without decoding its group."""
        group, _ = self.find(i)
        self._file.fd()
        meta = self._open().metadata.row_group(group)
        chunk = meta.column(self.leaves.index(leaf))
        found = chunk.statistics
        if found is None or not found.has_null_count or chunk.num_values != meta.num_rows:
            return None
        return {0: True, chunk.num_values: False}.get(found.null_count)

    def _table(self, group: int, columns: Columns) -> pa.Table:
        self._file.fd()
        file = self._open()
        return _TABLES.get((self._key, group, columns), lambda: self._decoded(file, group, columns))

    def _decoded(self, file: ParquetFile, group: int, columns: Columns) -> pa.Table:
        with self._whole():
            return self._measured(file, group, columns)

    def _measured(self, file: ParquetFile, group: int, columns: Columns) -> pa.Table:
        import pyarrow as pa

        batches, size, limit = [], 0, self.max_group_bytes
        meta = file.metadata.row_group(group)
        chunks = (meta.column(k) for k, leaf in enumerate(self.leaves) if leaf in columns)
        said = sum(chunk.total_uncompressed_size for chunk in chunks)
        # Check both: the size that the file states costs nothing, and a dictionary may decode to more than that.
        # No value is larger than all that is stored, so that of a dictionary, too, no batch is beyond the bound.
        num_rows = max(1, min(_BATCH_ROWS, limit // max(said, 1)))
        for batch in _batches(file, group, columns, num_rows) if said <= limit else ():
            batches.append(batch)
            size += batch.nbytes
            if size > limit:
                break
        if max(said, size) > limit:
            raise RecordError(
                f"{self.path}: row group {group} must have at most {limit} bytes of records or of images, "
                f"not {max(said, size)}. Write the file with smaller groups: write_table(..., row_group_size=100)."
            )
        wanted, there = int(self.starts[group + 1] - self.starts[group]), sum(batch.num_rows for batch in batches)
        if there != wanted:
            raise pa.ArrowInvalid(f"row group {group} must have {wanted} rows, not {there}")
        return pa.Table.from_batches(batches)

    def _open(self) -> ParquetFile:
        # A forked process opens anew: its parent's file has a position that both would move.
        self._key = self._key or object()
        return _FILES.get((self._key, os.getpid()), self._opened)

    def _opened(self) -> ParquetFile:
        with self._whole():
            from pyarrow.parquet import ParquetFile

            # The file that must not change, even if another file has its path by now.
            return ParquetFile(f"/proc/self/fd/{self._file.fd()}", pre_buffer=False)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            from pyarrow import ArrowException
        except ModuleNotFoundError:
            raise MissingPackageError(
                f"pyarrow must be installed to read .parquet files, and it is not. Run: {install_command('formats')}"
            ) from None
        try:
            yield
        except RecordError:
            raise
        # Not all of pyarrow's errors have its own type: of a column's name that is no UTF-8, it is Python's.
        except (ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
            raise RecordError(
                f"{self.path}: file must be a whole Parquet file, not truncated or damaged ({error}). "
                "Copy it again, or write it again."
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": None}


def _batches(file: ParquetFile, group: int, columns: Columns, num_rows: int) -> Iterator[pa.RecordBatch]:
    # One thread: a worker process has one core, and a forked one does not have its parent's threads.
    batches: Iterator[pa.RecordBatch] = file.iter_batches(
        num_rows, row_groups=[group], columns=list(columns), use_threads=False
    )
    return batches
