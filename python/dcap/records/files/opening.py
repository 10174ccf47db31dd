"""The kinds of annotation files, told apart by their names.

Owns which ending means which reader. The readers of optional packages are imported when such a file is opened.
"""

from __future__ import annotations

from pathlib import Path

from dcap.core.errors import RecordError
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.source import RecordSource
from dcap.records.files.tar_shard import TarShard
from dcap.records.record import COMPRESSIONS

_TEXTS = (".jsonl", ".ndjson", ".json")
ENDINGS = (*_TEXTS, *(text + compression for text in _TEXTS for compression in COMPRESSIONS), ".parquet", ".tar")
"""Ends of the names of files that can be read."""


def is_known(path: str | Path) -> bool:
    """Whether the name is that of a file that can be read."""
    return str(path).endswith(ENDINGS)


def open_source(path: str | Path) -> RecordSource:
    """Open an annotation file by the ending of its name.

    ::

        .jsonl  .ndjson  .json    one record per line
        .jsonl.gz  .jsonl.zst     the same, compressed; decompressed once, to a file beside it
        .parquet                  one record per row
        .tar                      one record per sample, a WebDataset shard

    Raises:
        RecordError: The name has another ending, or the file cannot be read.
        MissingPackageError: The file needs a package that is not installed.
    """
    path = Path(path)
    if not is_known(path.name):
        raise RecordError(f"{path}: name must end in {', '.join(ENDINGS)}. Rename the file by what it holds.")
    if path.suffix in COMPRESSIONS:
        from dcap.records.files.compressed import open_compressed

        return open_compressed(path)
    if path.suffix == ".parquet":
        from dcap.records.files.parquet import ParquetRecords

        return ParquetRecords(path)
    if path.suffix == ".tar":
        return TarShard(path)
    return JsonlFile(path)
