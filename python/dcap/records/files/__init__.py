"""Readers of annotation files; each gives `Record` objects by index."""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.records.files.compressed import open_compressed
    from dcap.records.files.jsonl import JsonlFile
    from dcap.records.files.opening import Records, expand_sources, open_records, open_source
    from dcap.records.files.parquet import ParquetRecords
    from dcap.records.files.source import RecordSource
    from dcap.records.files.tar_shard import TarShard

__all__ = [
    "JsonlFile",
    "ParquetRecords",
    "RecordSource",
    "Records",
    "TarShard",
    "expand_sources",
    "open_compressed",
    "open_records",
    "open_source",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "compressed": ("open_compressed",),
        "jsonl": ("JsonlFile",),
        "opening": ("Records", "expand_sources", "open_records", "open_source"),
        "parquet": ("ParquetRecords",),
        "source": ("RecordSource",),
        "tar_shard": ("TarShard",),
    },
)
