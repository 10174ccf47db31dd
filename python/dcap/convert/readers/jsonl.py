"""dcap's own records: to resize their images, to move the file, or to make a JSONL file of another kind of file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.image_folder import ImageFolder, ImageSearch
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.convert.record_files import common_folder, good_records
from dcap.geometry.shapes import KEY_OF_KIND
from dcap.records.files.opening import open_records
from dcap.records.record import Record


@READERS.register("jsonl")
@dataclass(frozen=True)
class Jsonl:
    """Records as dcap reads them; image paths start at the folder of their file.

    Images inside a .tar or .parquet file are written into a folder beside the output.
    """

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        """Open the file, or the files of a folder or pattern. With `images`, all images must be there."""
        records = open_records(source)
        base = common_folder(records)
        folder = images.within(base) if images.folder else ImageFolder(base, confined=False)
        items = (_item(record, place, folder) for place, record in good_records(records, report))
        return Opened(folder, len(records), items)


def _item(record: Record, place: SourcePlace, folder: ImageFolder) -> Item:
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
    here = folder.root if folder.confined else Path(record.origin.file).parent.resolve()
    below = os.path.relpath(here, folder.root)
    name = record.image if below == os.curdir else os.path.join(below, record.image)
    return Item(
        place, (name,), objects, size, summary=record.summary, metadata=record.metadata, extra=record.extra,
        embedded=record.embedded,
    )  # fmt: skip
