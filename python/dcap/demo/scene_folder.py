"""Scenes as files: images, a file of their records, and a sheet of the first ones with their labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from dcap.core.files import written_whole
from dcap.demo.scenes import SceneRecords
from dcap.records.record import to_dict
from dcap.view.draw import DrawStyle, draw_shapes, scaled_to
from dcap.view.sheet import Tile, contact_sheet, write_png

RECORDS_FILE = "scenes.jsonl"
SHEET_FILE = "sheet.png"
IMAGE_FOLDER = "images"
NUM_SHOWN = 12
"""Scenes on the sheet."""
_COLUMNS = 4
_TILE_PX = 320


def write_scenes(scenes: SceneRecords, folder: Path, on_written: Callable[[int], None] = lambda _: None) -> None:
    """Write scenes into a folder: ``scenes.jsonl``, ``images/`` as PNG files, and ``sheet.png``.

    Each file is written whole or not at all, and the file of records after its images.

    Args:
        scenes: The scenes.
        folder: Where to; it is made if needed.
        on_written: Called with the number of scenes that are written.

    Raises:
        OutputError: The folder or the disk does not allow it.
    """
    with written_whole(folder / RECORDS_FILE) as out:
        for i in range(len(scenes)):
            record = to_dict(scenes[i])
            image = Path(IMAGE_FOLDER, record["images"][0]).with_suffix(".png")
            write_png(folder / image, scenes.pixels(i))
            out.write(msgspec.json.encode({**record, "images": [image.as_posix()]}) + b"\n")
            on_written(i + 1)
    tiles = [_tile(scenes, i) for i in range(min(NUM_SHOWN, len(scenes)))]
    write_png(folder / SHEET_FILE, contact_sheet(tiles, _COLUMNS, _TILE_PX))


def _tile(scenes: SceneRecords, i: int) -> Tile:
    record = scenes[i]
    image, shapes = scaled_to(scenes.pixels(i), record.shapes, 2 * _TILE_PX)
    # Captions with sides are too long for a label, and so are read below.
    has_sides = scenes.options.relations != "none"
    style = DrawStyle("number" if has_sides else "full", fill_opacity=0.0, font_px=20)
    notes = [f"{k} {caption}" for k, caption in enumerate(record.captions, 1) if has_sides]
    summary = [] if record.summary is None else [record.summary]
    return Tile(draw_shapes(image, shapes, record.captions, style), f"scene {i}", (*notes, *summary))
