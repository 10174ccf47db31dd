"""dcap's own records: to resize their images, or to move the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.convert.record_files import good_records
from dcap.geometry.shapes import KEY_OF_KIND
from dcap.records.files.jsonl import JsonlFile
from dcap.records.record import Record


@READERS.register("jsonl")
@dataclass(frozen=True)
class Jsonl:
    """Records as dcap reads them, one per line; image paths start at the folder of the file."""

    def open(self, source: Path, images: Path | None, report: ConversionReport) -> Opened:
        """Open the file. With `images`, all images must be there."""
        file = JsonlFile(source)
        folder = images or source.parent
        items = (_item(record, place) for place, record in good_records(file, report))
        return Opened(folder, len(file), items, confined=images is not None)


def _item(record: Record, place: SourcePlace) -> Item:
    ids = record.metadata.get("annotation_ids")
    n = len(record.shapes)
    known = ids if isinstance(ids, list) and len(ids) == n else [None] * n
    objects = [
        FoundObject(
            f"objects[{k}]",
            record.captions[k],
            KEY_OF_KIND[kind],
            points.ravel().tolist(),
            record.attributes[k],
            record.extras[k] if record.extras else {},
            known[k],
        )
        for k, (kind, points) in enumerate(record.shapes)
    ]
    size = (record.canvas.width, record.canvas.height)
    return Item(
        place, (record.image,), objects, size, summary=record.summary, metadata=record.metadata, extra=record.extra
    )
