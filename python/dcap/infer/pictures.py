"""Predictions drawn beside the records' own objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dcap.geometry.shapes import ShapeArray
from dcap.records.files.opening import open_source
from dcap.view.draw import Pixels
from dcap.view.gallery import answer_note, compare
from dcap.view.sheet import Tile, contact_sheet

SIDE = 560


def prediction_sheet(out: Path, data: Sequence[Path], num_images: int, root: Path | None = None) -> Pixels | None:
    """Return a contact sheet of the first predictions of a file that ``dcap predict`` wrote; None when it has none.

    Args:
        out: The prediction file.
        data: The records it was made from.
        num_images: How many to draw.
        root: Folder that the images must lie in.

    Raises:
        RecordError: An image is missing, or not what its record says.
    """
    records = {}
    for path in data:
        file = open_source(path)
        records.update({(origin.file, origin.line): (file, i) for i in range(len(file)) for origin in [file.origin(i)]})
    tiles: list[Tile] = []
    with out.open("rb") as lines:
        for _, text in zip(range(num_images), lines, strict=False):
            line = msgspec.json.decode(text)
            file, i = records[line["source"]["file"], line["source"]["line"]]
            shapes, captions = ShapeArray.from_objects(line["objects"]), [obj["desc"] for obj in line["objects"]]
            notes = [*line["problems"], *([] if captions else [answer_note(line["text"])])]
            tiles += compare(file[i], shapes, captions, notes, SIDE, root)
    return contact_sheet(tiles, 2, SIDE) if tiles else None
