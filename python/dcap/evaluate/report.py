"""The result of an evaluation: totals, one row per image, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from dcap.core.log import progress
from dcap.core.words import counted
from dcap.evaluate.metrics import Counts, ScoreOptions, count_image, summarize
from dcap.evaluate.pairs import Pair, pair_up
from dcap.geometry.shapes import ShapeArray
from dcap.view.draw import shorten


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image: what was true, what was predicted, and the counts."""

    pair: Pair
    counts: Counts


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of a prediction file.

    Attributes:
        images: One result per true record, in the order of the truth.
        total: Counts of all images together.
        options: The choices that the scores depend on.
    """

    images: tuple[ImageResult, ...]
    total: Counts
    options: ScoreOptions

    def to_dict(self) -> dict[str, Any]:
        """Return totals and images as plain data, ready for JSON."""
        return {"total": summarize(self.total, self.options), "images": [_image_row(r) for r in self.images]}

    def worst(self, count: int) -> list[ImageResult]:
        """Return the images with the lowest F1 of all objects, worst first; ties in the order of the truth."""
        return sorted(self.images, key=lambda result: result.counts.objects.f1)[:count]


def evaluate(truth: Sequence[Path], pred: Path, options: ScoreOptions | None = None) -> Report:
    """Score a prediction file against true records; an image without a prediction counts as an empty answer.

    Args:
        truth: Annotation files.
        pred: What ``dcap predict`` wrote for them.
        options: Tolerances; none takes the defaults.

    Raises:
        RecordError: As `pair_up`.
    """
    options = options or ScoreOptions()
    pairs = progress(pair_up(truth, pred), "Scoring")
    images = tuple(ImageResult(pair, score_pair(pair, options)) for pair in pairs)
    return Report(images, sum((result.counts for result in images), Counts()), options)


def score_pair(pair: Pair, options: ScoreOptions) -> Counts:
    """Return the counts of one record and its prediction."""
    truth, pred = pair.truth, pair.pred
    shapes, captions = (pred.shapes, pred.captions) if pred else (ShapeArray.empty(), ())
    counts = count_image(truth.shapes, truth.captions, shapes, captions, options)
    return dataclasses.replace(
        counts, answers=int(pred is not None), clean_answers=int(bool(pred and not pred.problems))
    )


def _image_row(result: ImageResult) -> dict[str, Any]:
    counts, pred = result.counts, result.pair.pred
    return {
        "image": result.pair.truth.image,
        "source": str(result.pair.truth.origin),
        "answered": pred is not None,
        "problems": list(pred.problems) if pred else [],
        "f1": counts.objects.f1,
        "precision": counts.objects.precision,
        "recall": counts.objects.recall,
        "truth": int(counts.objects.truth),
        "predicted": int(counts.objects.pred),
        "found": int(counts.objects.found_truth),
        "equal_captions": counts.equal_captions,
        "duplicates": counts.duplicates,
    }


def write_json(report: Report, path: Path) -> None:
    """Write the report as JSON, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(report.to_dict()), indent=2)
    part = path.with_name(path.name + ".part")
    part.write_bytes(text + b"\n")
    os.replace(part, path)


def score_table(report: Report) -> Table:
    """Return the totals as a table for the terminal."""
    total = report.to_dict()["total"]
    table = Table(
        title=f"{counted(total['images'], 'image')}, {counted(total['answers'], 'answer')}", title_justify="left"
    )
    for name in ("", "precision", "recall", "F1"):
        table.add_column(name, justify="right" if name else "left")
    regions, captioned, lines = total["regions"], total["regions_with_caption"], total["lines"]
    size = f"{regions['truth']} true, {regions['predicted']} predicted"
    for name in ("0.50", "0.75", "0.50:0.95"):
        _add_scores(table, f"boxes and polygons, IoU {name}", regions[name])
    for name in ("0.50", "0.75", "0.50:0.95"):
        _add_scores(table, f"  with equal caption, IoU {name}", captioned[name])
    if lines["truth"] or lines["predicted"]:
        _add_scores(table, f"lines, length within {lines['tolerance_px']:g} px", lines)
        _add_scores(table, "lines, matched one to one", lines["matched"])
    _add_scores(table, "all objects, IoU or agreement 0.50", total["objects"])
    table.caption = f"boxes and polygons: {size}; lines: {lines['truth']} true, {lines['predicted']} predicted"
    return table


def _add_scores(table: Table, name: str, scores: dict[str, float]) -> None:
    table.add_row(name, *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")))


def answer_table(report: Report) -> Table:
    """Return how well the answers are formed and worded, as a table for the terminal."""
    total = report.to_dict()["total"]
    captions, duplicates = total["captions"], total["duplicates"]
    table = Table(show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("answers that parse without a problem", _mean_of(total["parse_rate"], total["answers"]))
    table.add_row("images without an answer", str(total["missing_answers"]))
    table.add_row(
        f"equal captions among {captions['pairs']} matched pairs", _mean_of(captions["exact"], captions["pairs"])
    )
    table.add_row("token F1 of their captions", _mean_of(captions["token_f1"], captions["pairs"]))
    table.add_row("mean IoU (lines: agreement) of the pairs", _mean_of(captions["mean_iou"], captions["pairs"]))
    table.add_row(
        f"repeated predictions ({duplicates['count']})", _mean_of(duplicates["rate"], total["objects"]["predicted"])
    )
    return table


def _mean_of(value: float, count: int) -> str:
    """Return a mean over `count` things in three digits; over none it has no value."""
    return f"{value:.3f}" if count else "-"


def worst_table(report: Report, count: int) -> Table:
    """Return the images with the lowest F1 as a table for the terminal."""
    table = Table(title="worst images", title_justify="left")
    for name in ("F1", "true", "predicted", "found", "image", "problems"):
        table.add_column(name, justify="left" if name in ("image", "problems") else "right", overflow="fold")
    for result in report.worst(count):
        row = _image_row(result)
        first = "no answer" if not row["answered"] else shorten("; ".join(row["problems"]), 80)
        numbers = (f"{row['f1']:.3f}", str(row["truth"]), str(row["predicted"]), str(row["found"]))
        # File names and model output are data, never markup.
        table.add_row(*numbers, Text(row["image"]), Text(first))
    return table
