"""Row groups of a Parquet file: decoded when a row of them is asked for, a few kept by each process.

Owns what is held in memory, and what is no Parquet file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import MissingPackageError, RecordError
from dcap.records.files.recent import Recent
from dcap.records.files.steady_file import SteadyFile

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


class RowGroups:
    """The row groups of one file; it may be pickled and forked, and each process opens and decodes for itself.

    Args:
        path: The file.

    Attributes:
        starts: First row of each group and the number of all rows, int64 (G + 1,).
        schema: Columns as Arrow types.
        leaves: Paths of the columns as they are stored, such as ``image.bytes``.

    Raises:
        RecordError: The file is missing, or no Parquet file.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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

        batches, size = [], 0
        meta = file.metadata.row_group(group)
        chunks = (meta.column(k) for k, leaf in enumerate(self.leaves) if leaf in columns)
        said = sum(chunk.total_uncompressed_size for chunk in chunks)
        # Both are looked at: what the file says costs nothing, and a dictionary may stand for more than it says.
        # No value is larger than all that is stored, so that of a dictionary, too, no batch is beyond the bound.
        num_rows = max(1, min(_BATCH_ROWS, MAX_GROUP_BYTES // max(said, 1)))
        for batch in _batches(file, group, columns, num_rows) if said <= MAX_GROUP_BYTES else ():
            batches.append(batch)
            size += batch.nbytes
            if size > MAX_GROUP_BYTES:
                break
        if max(said, size) > MAX_GROUP_BYTES:
            raise RecordError(
                f"{self.path}: row group {group} must have at most {MAX_GROUP_BYTES} bytes of records or of images, "
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

            # The very file that must not change, whatever lies at its path by now.
            return ParquetFile(f"/proc/self/fd/{self._file.fd()}", pre_buffer=False)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            from pyarrow import ArrowException
        except ModuleNotFoundError:
            raise MissingPackageError(
                'pyarrow must be installed to read .parquet files, and it is not. Run: pip install "dcap[formats]"'
            ) from None
        try:
            yield
        except (ArrowException, OSError) as error:
            raise RecordError(
                f"{self.path}: file must be a whole Parquet file, not truncated or damaged ({error}). "
                "Copy it again, or write it again."
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": None}


def _batches(file: ParquetFile, group: int, columns: Columns, num_rows: int) -> Iterator[pa.RecordBatch]:
    # One thread: a worker process has its core, and a forked one has no threads of its parent's.
    batches: Iterator[pa.RecordBatch] = file.iter_batches(
        num_rows, row_groups=[group], columns=list(columns), use_threads=False
    )
    return batches
