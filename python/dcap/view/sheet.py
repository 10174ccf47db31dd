"""Contact sheets: several pictures with titles and notes on one, such as truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from dcap.core.files import written_whole
from dcap.core.outputs import GENERATOR
from dcap.core.words import counted
from dcap.geometry.canvas import MOST_PIXELS
from dcap.geometry.shapes import ShapeArray
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source
from dcap.records.sixteen_bit import SixteenBit
from dcap.view.draw import Pixels, draw_shapes, scaled_to
from dcap.view.fonts import font_for, load_font

_PAPER = (250, 250, 248)
_INK = (30, 30, 30)
_FAINT = (105, 105, 105)
_GAP = 14
_ANSWER_CHARS = 400


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        title: One line above it.
        notes: Paragraphs below it, wrapped to the tile's width.
    """

    image: Pixels
    title: str = ""
    notes: tuple[str, ...] = ()


def contact_sheet(
    tiles: Sequence[Tile],
    columns: int,
    tile_width: int = 480,
    max_note_lines: int = 8,
    rest: str = "",
    heading: str = "",
) -> Pixels:
    """Return the tiles in rows of `columns`, each as wide as `tile_width` pixels and as high as its row needs.

    Args:
        tiles: At least one.
        columns: Tiles in a row.
        tile_width: Width of each picture, in pixels; a picture higher than 1.25 times that is shrunk to fit.
        max_note_lines: Longer notes are cut with an ellipsis.
        rest: Where the whole notes are; the last line below the picture names it.
        heading: What holds for all pictures, above them.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: There is no tile.
    """
    if not tiles:
        raise ValueError("tiles must hold at least one picture, not none")
    pages = [_tile(tile, tile_width, max_note_lines, rest) for tile in tiles]
    rows = [pages[i : i + columns] for i in range(0, len(pages), columns)]
    heights = [max(page.height for page in row) for row in rows]
    width = _GAP + min(columns, len(tiles)) * (tile_width + _GAP)
    size = _font_px(tile_width)
    head = wrap(heading, width - 2 * _GAP, size)
    top = _GAP + len(head) * _line_px(size)
    sheet = Image.new("RGB", (width, top + sum(heights) + _GAP * len(rows)), _PAPER)
    _write_lines(ImageDraw.Draw(sheet), (_GAP, _GAP), head, size, _INK)
    for row, height in zip(rows, heights, strict=True):
        for column, page in enumerate(row):
            sheet.paste(page, (_GAP + column * (tile_width + _GAP), top))
        top += height + _GAP
    return np.array(sheet)


def _font_px(tile_width: int) -> int:
    return max(12, tile_width // 32)


def _line_px(font_px: int) -> int:
    return round(font_px * 1.45)


def _write_lines(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: Sequence[str], font_px: int, ink: tuple[int, int, int]
) -> None:
    """Write lines below each other from a corner on."""
    left, top = corner
    for i, line in enumerate(lines):
        draw.text((left, top + i * _line_px(font_px)), line, ink, font_for(line, font_px) or load_font(font_px))


def _tile(tile: Tile, width: int, max_note_lines: int, rest: str) -> Image.Image:
    size = _font_px(width)
    height = _line_px(size)
    picture = Image.fromarray(tile.image)
    scale = min(width / picture.width, 1.25 * width / picture.height)
    picture = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
    )
    title = wrap(tile.title, width, size)[:1] if tile.title else []
    notes = [line for note in tile.notes for line in wrap(note, width, size)]
    if len(notes) > max_note_lines:
        last = f"… ({rest})" if rest else notes[max_note_lines - 1][:-1] + "…"
        notes = [*notes[: max_note_lines - 1], last]
    page = Image.new("RGB", (width, (len(title) + len(notes)) * height + picture.height + 4), _PAPER)
    page.paste(picture, ((width - picture.width) // 2, len(title) * height))
    draw = ImageDraw.Draw(page)
    _write_lines(draw, (0, 0), title, size, _INK)
    _write_lines(draw, (0, len(title) * height + picture.height + 4), notes, size, _FAINT)
    return page


def answer_note(text: str) -> str:
    """Return the beginning of an answer as a line below its picture. An answer without words says so."""
    shown = text.strip()[:_ANSWER_CHARS] or ("(only white space)" if text else "(empty)")
    return f"answer: {shown}"


def compare(
    record: Record,
    shapes: ShapeArray,
    captions: Sequence[str],
    place: str,
    notes: Sequence[str],
    side: int,
    root: Path | None = None,
    sixteen_bit: SixteenBit = "full",
) -> list[Tile]:
    """Return the record's objects drawn on its image, and the predicted ones on the same image.

    Args:
        record: The true record.
        shapes: Predicted shapes in pixels of the image file.
        captions: One per predicted shape.
        place: Where the record is, as `dcap.records.source_names.SourceNames` says.
        notes: Lines below the prediction.
        side: Longer side of the pictures, in pixels.
        root: Folder that the image must be in.
        sixteen_bit: Range of 16-bit values that the image is decoded with.

    Raises:
        RecordError: The image is missing, or not what the record says.
    """
    source = image_source(record, root)
    # The model has seen this image, so its size was checked; here any size that can be drawn will do.
    image = decode_image(source, record.canvas, MOST_PIXELS, record.origin, sixteen_bit=sixteen_bit)
    small, truth = scaled_to(image, record.shapes, side)
    _, predicted = scaled_to(image, shapes, side)
    title = f"truth: {counted(len(truth), 'object')}, {place}"
    return [
        Tile(draw_shapes(small, truth, record.captions), title, (record.image,)),
        Tile(
            draw_shapes(small, predicted, captions),
            f"prediction: {counted(len(predicted), 'object')}",
            tuple(notes),
        ),
    ]


def wrap(text: str, width_px: int, font_px: int) -> list[str]:
    """Return the text in lines of at most `width_px` pixels, broken at spaces where there are any."""
    font = font_for(text, font_px) or load_font(font_px)
    lines, line = [], ""
    for char in " ".join(text.split()):
        if font.getlength(line + char) <= width_px:
            line += char
            continue
        head, space, tail = line.rpartition(" ")
        broken = space and char != " "
        lines.append(head if broken else line)
        line = (tail + char if broken else char).lstrip()
    return [*lines, line] if line else lines


def write_png(path: Path, image: Pixels) -> None:
    """Write a PNG file, whole or not at all; folders on the way are made.

    It says that dcap wrote it, so that a later run may replace it.
    """
    about = PngInfo()
    about.add_text("Software", GENERATOR)
    with written_whole(path, durable=False) as file:
        Image.fromarray(image).save(file, format="PNG", optimize=True, pnginfo=about)
