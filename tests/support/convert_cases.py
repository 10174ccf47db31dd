"""Small data sets of other formats, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from dcap.convert.conversion import ConvertOptions, read_records
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.readers import READERS
from dcap.records.record import Record

CATEGORIES = [
    {"id": 1, "name": "cup", "supercategory": "kitchen"},
    {"id": 7, "name": "dog"},
]


def image(path: Path, width: int = 8, height: int = 6, orientation: int = 1) -> Path:
    """Write an image of a stored size with an EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), (90, 120, 30)).save(path, exif=exif)
    return path


def write_json(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), "utf-8")
    return path


def instances(folder: Path, *annotations: dict[str, Any], **image_keys: Any) -> Path:
    """Write a COCO file of one image of 8 x 6 with some annotations, and the image."""
    if not (folder / "a.png").exists():
        image(folder / "a.png")
    entry = {"id": 3, "file_name": "a.png", "width": 8, "height": 6, **image_keys}
    found = [{"id": 10 + k, "image_id": 3, "category_id": 1, **given} for k, given in enumerate(annotations)]
    return write_json(folder / "in.json", {"images": [entry], "annotations": found, "categories": CATEGORIES})


def read(
    name: str, source: Path, images: Path | None = None, on_bad: str = "error", **fields: Any
) -> tuple[list[Record], ConversionReport]:
    """Return all records of a data set, and the losses."""
    report = ConversionReport("skip" if on_bad == "skip" else "error")
    options = ConvertOptions(
        images,
        fields.pop("follow_links", False),
        frame=fields.pop("frame", "auto"),
        swapped=fields.pop("swapped", "drop"),
    )
    folder = source if source.is_dir() else source.parent
    records = list(read_records(READERS.get(name)(**fields), source, folder / "out.jsonl", report, options))
    return records, report


def counts(report: ConversionReport) -> dict[str, int]:
    """Reasons to counts, without notes."""
    return {loss.reason: loss.count for loss in report.found if loss.action != "note"}
