"""An evaluation: the scores of predictions, one row per image, as tables, as JSON and as pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from dcap.answers.prediction import Prediction
from dcap.core.errors import GeometryError, RecordError
from dcap.core.files import write_whole
from dcap.core.progress import progress
from dcap.core.words import counted, printable, show
from dcap.evaluate.metrics import ScoreOptions, Scores, count_image
from dcap.evaluate.pairs import Pair, pair_up
from dcap.geometry.shapes import ShapeArray
from dcap.records.record import Record
from dcap.records.sixteen_bit import SixteenBit
from dcap.view.draw import Pixels, shorten
from dcap.view.sheet import Tile, answer_note, compare, contact_sheet

SIDE = 560
"""Longer side of a picture on a sheet, in pixels."""

Item = Record | Prediction | Mapping[str, Any]
"""One image with its objects; or one object, as a plain dict."""


def score(
    truth: str | Path | Sequence[str | Path] | Sequence[Item],
    pred: str | Path | Sequence[Item | None],
    options: ScoreOptions | None = None,
) -> Scores:
    """Return how well predictions agree with the truth.

    Both sides are given in one of three ways::

        score("val.jsonl", "pred.jsonl")                     files; lines are joined by image
        score(records, predictions)                          images; the second side answers the first, one to one
        score([{"desc": "cup", "bbox_2d": [1, 2, 9, 8]}],    objects of one image, as in a record
              [{"desc": "cup", "bbox_2d": [1, 2, 9, 9]}])

    Example:
        found = score("val.jsonl", "pred.jsonl")
        found.objects.f1, found.regions(0.75).precision, found.lines.recall
        found.to_dict()     # all of it, as plain numbers

    Args:
        truth: A file or files of records; or images, each a `Record` or a dict with ``objects``; or objects.
        pred: A prediction file; or images, each a `Prediction`, a `Record`, a dict with ``objects``, or None where
            there is no answer; or objects. Both sides are in pixels of the image file, pixel-edge frame.
        options: Tolerances, in pixels and IoU. `None`: the defaults.

    Returns:
        Scores, 0..1, from counts that are summed over all images; `Scores.to_dict` defines each.

    Raises:
        RecordError: A file, record, prediction or object is malformed, or the two sides do not belong together.
    """
    options = options or ScoreOptions()
    if isinstance(pred, str | Path):
        files = [truth] if isinstance(truth, str | Path) else truth
        if not all(isinstance(file, str | Path) for file in files):
            raise RecordError("truth must be a file or files when pred is a file, not objects")
        return evaluate([str(file) for file in files], pred, options).total
    if isinstance(truth, str | Path):
        raise RecordError("pred must be a file when truth is a file, not objects")
    images: list[Any] = list(truth)
    answers: list[Any] = list(pred)
    if any(_is_object(item) for item in (*images, *answers)):
        images, answers = [{"objects": images}], [{"objects": answers}]
    if len(images) != len(answers):
        raise RecordError(f"pred must have one entry per image of truth, {len(images)}, not {len(answers)}")
    pairs = zip(images, answers, strict=True)
    each = (_score_item(a, b, options, f"[{k}]") for k, (a, b) in enumerate(pairs))
    return sum(each, Scores())


def _is_object(item: Any) -> bool:
    return isinstance(item, Mapping) and "objects" not in item


def _score_item(truth: Item, pred: Item | None, options: ScoreOptions, where: str) -> Scores:
    shapes, captions, _ = _parts(truth, f"truth{where}")
    found, names, problems = ((ShapeArray.empty(), (), True)) if pred is None else _parts(pred, f"pred{where}")
    scores = count_image(shapes, captions, found, names, options)
    return dataclasses.replace(scores, answers=int(pred is not None), clean_answers=int(not problems))


def _parts(item: Item, where: str) -> tuple[ShapeArray, tuple[str, ...], bool]:
    """Return shapes, captions, and whether there were problems."""
    if isinstance(item, Prediction):
        return item.shapes, item.captions, bool(item.problems)
    if isinstance(item, Record):
        return item.shapes, item.captions, False
    if not isinstance(item, Mapping) or not isinstance(item.get("objects"), Sequence):
        raise RecordError(f"{where} must be a record, a prediction or a dict with objects, not {show(item)}")
    objects = item["objects"]
    for i, obj in enumerate(objects):
        caption = obj.get("desc") if isinstance(obj, Mapping) else None
        if not isinstance(caption, str):
            raise RecordError(f"{where}: objects[{i}].desc must be a string, not {show(caption)}")
    try:
        shapes = ShapeArray.from_objects(objects)
        return shapes, tuple(obj["desc"] for obj in objects), bool(item.get("problems"))
    except GeometryError as error:
        raise RecordError(f"{where}: {error}") from None


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image: its record, its prediction, and the scores of that one."""

    pair: Pair
    scores: Scores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a prediction file.

    Attributes:
        images: One result per true record, in the order of the truth.
        total: Scores of all images together.
        options: The choices that the scores depend on.
    """

    images: tuple[ImageResult, ...]
    total: Scores
    options: ScoreOptions

    def to_dict(self) -> dict[str, Any]:
        """Return totals and images as plain data, ready for JSON."""
        return {"total": self.total.to_dict(self.options), "images": [_image_row(r) for r in self.images]}

    def worst(self, count: int) -> list[ImageResult]:
        """Return the images with the lowest F1 of all objects, worst first; ties in the order of the truth."""
        return sorted(self.images, key=lambda result: result.scores.objects.f1)[:count]


def evaluate(truth: Sequence[str | Path], pred: str | Path, options: ScoreOptions | None = None) -> Evaluation:
    """Score a prediction file against true records; an image without a prediction counts as an empty answer.

    Args:
        truth: Annotation files, folders or patterns.
        pred: What ``dcap predict`` wrote for them: a file, folder or pattern.
        options: Tolerances, in pixels and IoU. `None`: the defaults.

    Raises:
        RecordError: A record or prediction is malformed, a prediction's image is not in the truth, or the two disagree
            on its size.
    """
    options = options or ScoreOptions()
    pairs = progress(pair_up(truth, pred), "Scoring")
    images = tuple(ImageResult(pair, score_pair(pair, options)) for pair in pairs)
    return Evaluation(images, sum((result.scores for result in images), Scores()), options)


def score_pair(pair: Pair, options: ScoreOptions) -> Scores:
    """Return the scores of one record and its prediction."""
    return _score_item(pair.truth, pair.pred, options, "")


def _image_row(result: ImageResult) -> dict[str, Any]:
    scores, pred = result.scores, result.pair.pred
    return {
        "image": result.pair.truth.image,
        "source": str(result.pair.truth.origin),
        "answered": pred is not None,
        "problems": list(pred.problems) if pred else [],
        "f1": scores.objects.f1,
        "precision": scores.objects.precision,
        "recall": scores.objects.recall,
        "truth": int(scores.objects.truth),
        "predicted": int(scores.objects.pred),
        "found": int(scores.objects.found_truth),
        "equal_captions": scores.equal_captions,
        "duplicates": scores.duplicates,
    }


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write the evaluation as JSON, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(evaluation.to_dict()), indent=2)
    write_whole(path, text + b"\n")


def score_table(evaluation: Evaluation) -> Table:
    """Return the totals as a table for the terminal."""
    total = evaluation.to_dict()["total"]
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


def answer_table(evaluation: Evaluation) -> Table:
    """Return a table of the form and the wording of the answers, for the terminal."""
    total = evaluation.to_dict()["total"]
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
    """Return a mean over `count` things in three digits; a mean over none has no value."""
    return f"{value:.3f}" if count else "-"


def worst_table(evaluation: Evaluation, count: int) -> Table:
    """Return the images with the lowest F1 as a table for the terminal."""
    table = Table(title="worst images", title_justify="left")
    for name in ("F1", "true", "predicted", "found", "image", "problems"):
        table.add_column(name, justify="left" if name in ("image", "problems") else "right", overflow="fold")
    for result in evaluation.worst(count):
        row = _image_row(result)
        first = "no answer" if not row["answered"] else shorten("; ".join(row["problems"]), 80)
        numbers = (f"{row['f1']:.3f}", str(row["truth"]), str(row["predicted"]), str(row["found"]))
        # File names and model output are data, never markup.
        table.add_row(*numbers, Text(printable(row["image"])), Text(printable(first)))
    return table


def score_sheet(
    evaluation: Evaluation,
    num_worst: int,
    num_best: int,
    root: Path | None = None,
    sixteen_bit: SixteenBit = "full",
) -> Pixels:
    """Return a contact sheet of the worst images, then the best, truth beside prediction; an image is shown once.

    Args:
        evaluation: At least one image.
        num_worst: How many of the worst.
        num_best: How many of the best.
        root: Folder that the images must be in. `None`: any folder.
        sixteen_bit: How images of 16 bits are decoded.

    Raises:
        RecordError: An image is missing, or not what its record says.
        ValueError: There is nothing to show.
    """
    ranked = evaluation.worst(len(evaluation.images))
    worst = ranked[:num_worst]
    best = [] if num_best < 1 else ranked[len(worst) :][-num_best:][::-1]
    tiles = [tile for result in (*worst, *best) for tile in _tiles(result, root, sixteen_bit)]
    return contact_sheet(tiles, 2, SIDE)


def _tiles(result: ImageResult, root: Path | None, sixteen_bit: SixteenBit) -> list[Tile]:
    pred, objects = result.pair.pred, result.scores.objects
    shapes, captions = (pred.shapes, pred.captions) if pred else (ShapeArray.empty(), ())
    notes = [f"F1 {objects.f1:.2f}, precision {objects.precision:.2f}, recall {objects.recall:.2f}"]
    if pred is None:
        notes.append("no answer")
    elif pred.problems:
        notes += [*pred.problems, answer_note(pred.text)]
    return compare(result.pair.truth, shapes, captions, notes, SIDE, root, sixteen_bit)
