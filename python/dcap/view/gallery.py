"""Truth and prediction side by side, for ``dcap predict`` and ``dcap evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcap.core.words import counted
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.shapes import ShapeArray
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source
from dcap.view.draw import draw_shapes, fit
from dcap.view.sheet import Tile

_TEXT_CHARS = 400


def answer_note(text: str) -> str:
    """Return the beginning of an answer as a line below its picture; one without anything to read is named so."""
    shown = text.strip()[:_TEXT_CHARS] or ("(only white space)" if text else "(empty)")
    return f"answer: {shown}"


def compare(
    record: Record,
    shapes: ShapeArray,
    captions: Sequence[str],
    notes: Sequence[str],
    side: int,
    root: Path | None = None,
) -> list[Tile]:
    """Return the record's objects drawn on its image, and the predicted ones on the same image.

    Args:
        record: What is true.
        shapes: Predicted shapes in pixels of the image file.
        captions: One per predicted shape.
        notes: Lines below the prediction.
        side: Longer side of the pictures, in pixels.
        root: Folder that the image must lie in.

    Raises:
        RecordError: The image is missing, or not what the record says.
    """
    image = decode_image(image_source(record, root), record.canvas, MAX_PIXELS, record.origin)
    small, truth = fit(image, record.shapes, side)
    _, predicted = fit(image, shapes, side)
    title = f"{record.origin}  truth: {counted(len(truth), 'object')}"
    return [
        Tile(draw_shapes(small, truth, record.captions), title, (record.image,)),
        Tile(
            draw_shapes(small, predicted, captions),
            f"prediction: {counted(len(predicted), 'object')}",
            tuple(notes),
        ),
    ]
