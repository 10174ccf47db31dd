"""The worst and the best images of an evaluation, truth beside prediction."""

from __future__ import annotations

from pathlib import Path

from dcap.evaluate.report import ImageResult, Report
from dcap.geometry.shapes import ShapeArray
from dcap.view.draw import Pixels
from dcap.view.gallery import answer_note, compare
from dcap.view.sheet import Tile, contact_sheet

SIDE = 560


def score_sheet(report: Report, num_worst: int, num_best: int, root: Path | None = None) -> Pixels:
    """Return a contact sheet of the worst images, then the best; an image is shown once.

    Args:
        report: At least one image.
        num_worst: How many of the worst.
        num_best: How many of the best.
        root: Folder that the images must lie in.

    Raises:
        RecordError: An image is missing, or not what its record says.
        ValueError: There is nothing to show.
    """
    ranked = report.worst(len(report.images))
    worst = ranked[:num_worst]
    best = [] if num_best < 1 else ranked[len(worst) :][-num_best:][::-1]
    return contact_sheet([tile for result in (*worst, *best) for tile in _tiles(result, root)], 2, SIDE)


def _tiles(result: ImageResult, root: Path | None) -> list[Tile]:
    pred, objects = result.pair.pred, result.counts.objects
    shapes, captions = (pred.shapes, pred.captions) if pred else (ShapeArray.empty(), ())
    notes = [f"F1 {objects.f1:.2f}, precision {objects.precision:.2f}, recall {objects.recall:.2f}"]
    if pred is None:
        notes.append("no answer")
    elif pred.problems:
        notes += [*pred.problems, answer_note(pred.text)]
    return compare(result.pair.truth, shapes, captions, notes, SIDE, root)
