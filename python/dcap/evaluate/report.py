"""The report of ``dcap evaluate`` in its forms: tables for the terminal, a page, JSON, and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dcap.core.files import write_whole
from dcap.core.words import counted
from dcap.evaluate.ap import AveragePrecision
from dcap.evaluate.breakdown import (
    SIZES,
    GroupScore,
    breakdown_tree,
    by_category,
    by_kind,
    by_size,
    fold_tail,
    mean_over,
    sum_attributes,
)
from dcap.evaluate.categories import NO_CATEGORY, CategoryRule
from dcap.evaluate.comparison import Comparison
from dcap.evaluate.counting import ImageCount
from dcap.evaluate.evaluation import Evaluation, ImageResult
from dcap.evaluate.metrics import MEAN, THRESHOLDS, TOLD, at_thresholds
from dcap.evaluate.sweep import Sweep, scored
from dcap.geometry.shapes import ShapeArray
from dcap.records.sixteen_bit import SixteenBit
from dcap.records.source_names import SourceNames
from dcap.view.charts import Curves, draw_curves
from dcap.view.draw import Pixels, shorten
from dcap.view.page import render_template
from dcap.view.sheet import Tile, answer_note, compare, contact_sheet
from dcap.view.tables import Grid

TEMPLATE = Path(__file__).with_name("templates") / "evaluation.html"
SIDE = 560
"""Longer side of a picture on a sheet, in pixels."""
COCO_ORDER = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's numbers: mean, at one IoU, by size; then recall by number of predictions in an image, and by size."""
ERRORS = {
    "Cls": "wrong category",
    "Loc": "wrong place",
    "Both": "wrong category and place",
    "Dupe": "found twice",
    "Bkg": "nothing there",
    "Miss": "missed",
    "FP": "any false prediction",
    "FN": "any missed object",
}
"""TIDE's kinds of errors, and their names in tables."""
SWEEP_ROWS = 9
"""Thresholds of the score that the table of them has, besides the best."""


def evaluation_tree(evaluation: Evaluation, ap: AveragePrecision | None = None) -> dict[str, Any]:
    """Return totals, tables and images as plain data, ready for JSON.

    Args:
        evaluation: What to tell.
        ap: What needs scores. `None`: it was not asked for.
    """
    counts = evaluation.counts
    sweeps = {"objects": Sweep.of(counts), "in_category": Sweep.of(counts, in_category=True)}
    return {
        "total": {**evaluation.total.to_dict(evaluation.options), "dropped": dropped_objects(evaluation)},
        **breakdown_tree(counts, str(evaluation.options.category)),
        "score_thresholds": {name: sweep and sweep.to_dict() for name, sweep in sweeps.items()},
        "average_precision": ap and ap.to_dict(),
        "images": [_image_row(r) for r in evaluation.images],
    }


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
        "repeats": scores.repeats,
    }


def write_json(tree: Mapping[str, Any], path: Path) -> None:
    """Write plain data as JSON, whole or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n")


def score_grids(evaluation: Evaluation, most_categories: int = 10) -> list[Grid]:
    """Return all tables but that of the worst images.

    Args:
        evaluation: What to show.
        most_categories: Number of categories that have a row of their own; the others share one.
    """
    counts = evaluation.counts
    grids = [_total_grid(evaluation), _answer_grid(evaluation)]
    kinds = by_kind(counts)
    if len(kinds) > 1:
        note = "a shape may be found by one of another kind; lines by agreement"
        grids.append(_group_grid("by kind of shape", kinds, (note,)))
    regions = [group for group in by_size(counts) if group.truth or group.pred]
    if regions:
        bounds = ", ".join(f"{name} from {low:g}" for name, (low, _) in SIZES.items())
        note = f"boxes and polygons by their area in square pixels of the image file: {bounds} (COCO's bounds)"
        grids.append(_group_grid("by size", regions, (note,)))
    if most_categories:
        grids += _category_grids(counts, evaluation.options.category, most_categories)
    return [*grids, *_attribute_grids(counts), *_sweep_grids(counts)]


def summary_line(evaluation: Evaluation) -> str:
    """Return the scores in one line: ``F1 at IoU 0.5 in 100 images: boxes 0.94, polygons 0.81, lines 0.77``."""
    f1 = [(group.name, group.at(0.5).f1) for group in by_kind(evaluation.counts)]
    names = {"box": "boxes", "polygon": "polygons", "line": "lines"}
    scores = ", ".join(f"{names[name]} {value:.2f}" for name, value in f1) or "no objects"
    return f"F1 at IoU 0.5 in {counted(len(evaluation.images), 'image')}: {scores}"


def _total_grid(evaluation: Evaluation) -> Grid:
    total = evaluation.total.to_dict(evaluation.options)
    regions, captioned, lines = total["regions"], total["regions_with_caption"], total["lines"]
    names = [f"{iou:.2f}" for iou in TOLD] + [MEAN]
    rows = [_score_row(f"boxes and polygons, IoU {name}", regions[name]) for name in names]
    rows += [_score_row(f"  with equal caption, IoU {name}", captioned[name]) for name in names]
    if lines["truth"] or lines["predicted"]:
        rows.append(_score_row(f"lines, length within {lines['tolerance_px']:g} px", lines))
        rows.append(_score_row("  matched one to one", lines["matched"]))
        scaled = lines["to_scale"]
        rows.append(_score_row(f"lines, length within {scaled['tolerance_of_diagonal']:.3g} of the diagonal", scaled))
        rows.append(_score_row("  matched one to one", scaled["matched"]))
    rows.append(_score_row("all objects, IoU or agreement 0.50", total["objects"]))
    size = f"{regions['truth']} true, {regions['predicted']} predicted"
    note = f"boxes and polygons: {size}; lines: {lines['truth']} true, {lines['predicted']} predicted"
    title = f"{counted(total['images'], 'image')}, {counted(total['answers'], 'answer')}"
    return Grid(title, ("", "precision", "recall", "F1"), tuple(rows), (note,))


def _score_row(name: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    return (name, *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")))


def _answer_grid(evaluation: Evaluation) -> Grid:
    """Return the form and the wording of the answers."""
    total = evaluation.total.to_dict(evaluation.options)
    captions, duplicates, empty = total["captions"], total["duplicates"], total["empty_images"]
    repeats, pairs, answers = total["no_repeat"], captions["pairs"], total["answers"]
    rows = [
        ("answers that parse without a problem", _mean_of(total["parse_rate"], answers)),
        ("answers without an exact repeat", _mean_of(repeats["share"], answers)),
        ("images without an answer", str(total["missing_answers"])),
        (f"equal captions among {pairs} matched pairs", _mean_of(captions["exact"], pairs)),
        ("token F1 of their captions", _mean_of(captions["token_f1"], pairs)),
        ("mean IoU (lines: agreement) of the pairs", _mean_of(captions["mean_iou"], pairs)),
        (f"repeated predictions ({duplicates['count']})", _mean_of(duplicates["rate"], total["objects"]["predicted"])),
        (
            f"predictions on {counted(empty['images'], 'image')} without objects, all wrong",
            f"{empty['predictions']} on {empty['with_predictions']}" if empty["images"] else "-",
        ),
    ]
    why = {"repeats": "repeats", "overlaps": "overlaps with a better object", "unsure": "too low a score"}
    dropped = [f"{counted(n, 'object')} for {why[name]}" for name, n in dropped_objects(evaluation).items() if n]
    notes = [f"dropped before scoring: {', '.join(dropped)}"] if dropped else []
    return Grid("answers", ("", ""), tuple(rows), tuple(notes))


def dropped_objects(evaluation: Evaluation) -> dict[str, int]:
    """Return how many objects are in the answers but were dropped from the predictions, by reason."""
    dropped = [result.pair.pred.dropped for result in evaluation.images if result.pair.pred]
    return {name: sum(getattr(each, name) for each in dropped) for name in ("repeats", "overlaps", "unsure")}


def _mean_of(value: float, count: int) -> str:
    """Return a mean over `count` things in three digits; a mean over none has no value."""
    return f"{value:.3f}" if count else "-"


def _group_grid(title: str, groups: Sequence[GroupScore], notes: tuple[str, ...] = ()) -> Grid:
    headings = ("", "true", "predicted", "P 0.50", "R 0.50", "F1 0.50", "F1 0.75", "F1 0.95", f"F1 {MEAN}")
    return Grid(title, headings, tuple(_group_row(group) for group in groups), notes)


def _group_row(group: GroupScore) -> tuple[str, ...]:
    scores = at_thresholds([group.at(iou) for iou in THRESHOLDS])
    half = scores["0.50"]
    f1 = (f"{score['f1']:.3f}" for score in scores.values())
    name = group.name if group.name != NO_CATEGORY else "(no category)"
    return (name, str(group.truth), str(group.pred), f"{half['precision']:.3f}", f"{half['recall']:.3f}", *f1)


def _category_grids(counts: Sequence[ImageCount], rule: CategoryRule, most: int) -> list[Grid]:
    categories = by_category(counts)
    if len(categories) < 2:
        return []
    shown, rest = fold_tail(categories, most)
    grid = _group_grid("by category", [*shown, *([rest] if rest else [])])
    mean = mean_over(categories)
    rows = grid.rows
    if mean:
        half = mean["0.50"]
        numbers = (f"{half['precision']:.3f}", f"{half['recall']:.3f}", *(f"{mean[name]['f1']:.3f}" for name in mean))
        rows += (("mean over categories in the truth", "", "", *numbers),)
    notes = [f"pairs have one category, which is {_rule_in_words(rule)}"]
    missing = sum(group.truth for group in categories if group.name == NO_CATEGORY)
    if missing:
        notes.append(f"{counted(missing, 'true object')} without one")
    return [Grid(grid.title, grid.headings, rows, tuple(notes))]


def _rule_in_words(rule: CategoryRule) -> str:
    if rule.kind == "caption":
        return "the caption"
    return f"{rule.text}= of the caption" if rule.kind == "key" else f"the caption up to {rule.text!r}"


def _attribute_grids(counts: Sequence[ImageCount]) -> list[Grid]:
    attributes = sum_attributes(counts)
    if not attributes:
        return []
    rows = tuple(
        (key, str(a.truth), str(a.paired), str(a.right), _mean_of(a.right / max(a.paired, 1), a.paired),
         f"{a.right / a.truth:.3f}")
        for key, a in attributes.items()
    )  # fmt: skip
    headings = ("", "true", "matched", "right", "recall of matched", "recall of all")
    return [Grid("attributes (key=value in captions)", headings, rows)]


def _sweep_grids(counts: Sequence[ImageCount]) -> list[Grid]:
    sweep = Sweep.of(counts)
    if sweep is None:
        some, whole = scored(counts)
        if not whole:
            return []
        note = f"{some - whole} of {some} images have predictions without a score, so there are no thresholds"
        return [Grid("by least score", (), (), (note,))]
    rows = []
    for k in sweep.told(SWEEP_ROWS):
        found = sweep.score(k)
        mark = "best" if k == sweep.best else ""
        numbers = (f"{value:.3f}" for value in (found.precision, found.recall, found.f1))
        rows.append((f"{sweep.thresholds[k]:.6f}", str(sweep.kept[k]), *numbers, mark))
    best = Sweep.of(counts, in_category=True)
    notes = ["all objects, IoU or agreement 0.50; a row tells what is left with this score or more"]
    if best is not None:
        notes.append(
            f"with equal category, F1 is best at {best.thresholds[best.best]:.6f}: {best.score(best.best).f1:.3f}"
        )
    headings = ("least score", "kept", "precision", "recall", "F1", "")
    return [Grid("by least score", headings, tuple(rows), tuple(notes))]


def ap_grids(ap: AveragePrecision, most_categories: int = 10) -> list[Grid]:
    """Return the tables of what needs scores: AP, errors, calibration, dense captioning.

    Args:
        ap: What to show.
        most_categories: Number of categories that have a row of their own, those with the lowest AP.
    """
    names = list(ap.coco)
    told = [(key, *(_or_dash(ap.coco[name][key]) for name in names)) for key in COCO_ORDER]
    by_ap = sorted(ap.by_category.items(), key=lambda item: (item[1].get("boxes", 0.0), item[0]))
    rows = [(key or "(no category)", *(_or_dash(found.get(name)) for name in names)) for key, found in by_ap]
    left = len(rows) - most_categories
    notes = (f"{left} more with a higher AP",) if left > 0 else ()
    errors = [
        (ERRORS[kind], *(cell for name in names for cell in _error_cells(ap.errors[name], kind))) for kind in ERRORS
    ]
    wide = [heading for name in names for heading in (f"AP50 lost, {name}", "number")]
    bins = [
        (f"{each['low']:.1f} to {each['high']:.1f}", str(each["count"]), f"{each['score']:.3f}", f"{each['right']:.3f}")
        for each in ap.calibration["bins"]
        if each["count"]
    ]
    dense = [
        (f"IoU {iou:g}", *(f"{value:.3f}" for value in row))
        for iou, row in zip(ap.dense["iou"], ap.dense["ap"], strict=True)
    ]
    return [
        Grid("average precision, as COCO has it", ("", *names), tuple(told), ap.notes),
        *([Grid("lowest AP by category", ("", *names), tuple(rows[:most_categories]), notes)] if rows[1:] else []),
        Grid("errors, as TIDE has them", ("", *wide), tuple(errors), ("at an IoU of 0.5",)),
        Grid(
            "calibration", ("score", "predictions", "mean score", "right"), tuple(bins),
            (f"expected error {ap.calibration['ece']:.3f}, largest {ap.calibration['mce']:.3f}",
             "right: IoU or agreement 0.5, and equal category"),
        ),
        Grid(
            f"dense caption mAP {_or_dash(ap.dense['map'])}",
            ("AP", *(f"caption {least:g}" for least in ap.dense["caption"])), tuple(dense),
            ("caption: least token F1 of a pair. Published numbers use METEOR and do not compare",),
        ),
    ]  # fmt: skip


def _error_cells(errors: Mapping[str, Any], kind: str) -> tuple[str, str]:
    count = errors["counts"].get(kind)
    return f"{errors['delta_ap'][kind]:.3f}", "" if count is None else str(count)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def comparison_grid(comparison: Comparison) -> Grid:
    """Return the table of two runs."""
    rows = [
        (d.name, f"{d.a:.3f}", f"{d.b:.3f}", f"{d.b - d.a:+.3f}", f"{d.low:+.3f} to {d.high:+.3f}",
         f"{d.b_is_higher:.0%}", d.verdict)
        for d in comparison.differences
    ]  # fmt: skip
    headings = ("", "A", "B", "difference", "interval", "B higher", "")
    return Grid("comparison", headings, tuple(rows), tuple(comparison.notes), texts=(0, 6))


def sweep_curves(counts: Sequence[ImageCount]) -> list[Curves]:
    """Return the curves of the least score: precision, recall and F1 over it, and precision over recall.

    Nothing where a prediction has no score.
    """
    sweep = Sweep.of(counts)
    if sweep is None:
        return []
    told = sweep.told()
    lines = tuple(
        (name, tuple((float(sweep.thresholds[k]), getattr(sweep.score(k), key)) for k in told))
        for name, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
    )
    note = f"best F1 {sweep.score(sweep.best).f1:.3f} at {sweep.thresholds[sweep.best]:.6f}"
    by_recall = tuple((sweep.score(k).recall, sweep.score(k).precision) for k in told)
    way = "from the highest least score to the lowest"
    return [
        Curves("precision, recall and F1 by least score", "least score", lines, note),
        Curves("precision by recall", "recall", (("precision", by_recall),), way),
    ]


def curves_sheet(curves: Sequence[Curves]) -> Pixels:
    """Return curves as one picture.

    Args:
        curves: At least one.

    Raises:
        ValueError: There is none.
    """
    tiles = [Tile(draw_curves(each, SIDE), each.title, (each.note,)) for each in curves]
    return contact_sheet(tiles, len(tiles), SIDE)


def worst_grid(evaluation: Evaluation, count: int) -> Grid:
    """Return the images with the lowest F1."""
    rows = []
    for result in evaluation.worst(count):
        row = _image_row(result)
        first = "no answer" if not row["answered"] else shorten("; ".join(row["problems"]), 80)
        numbers = (f"{row['f1']:.3f}", str(row["truth"]), str(row["predicted"]), str(row["found"]))
        rows.append((row["image"], *numbers, first))
    headings = ("image", "F1", "true", "predicted", "found", "problems")
    return Grid("worst images", headings, tuple(rows), texts=(0, 5))


def evaluation_page(title: str, grids: Sequence[Grid], curves: Sequence[Curves] = ()) -> str:
    """Return the report as a page.

    Args:
        title: Heading.
        grids: Tables, in order.
        curves: Charts below them.
    """
    intro = "Scores of predictions. Numbers are shares, 0..1, unless they count something."
    return render_template(TEMPLATE, title=title, intro=intro, grids=grids, curves=curves)


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
    shown = (*worst, *best)
    sources = SourceNames.of(result.pair.truth for result in shown)
    tiles = [tile for result in shown for tile in _tiles(result, sources, root, sixteen_bit)]
    return contact_sheet(tiles, 2, SIDE, heading=sources.legend)


def _tiles(result: ImageResult, sources: SourceNames, root: Path | None, sixteen_bit: SixteenBit) -> list[Tile]:
    pred, objects = result.pair.pred, result.scores.objects
    shapes, captions = (pred.shapes, pred.captions) if pred else (ShapeArray.empty(), ())
    notes = [f"F1 {objects.f1:.2f}, precision {objects.precision:.2f}, recall {objects.recall:.2f}"]
    if pred is None:
        notes.append("no answer")
    elif pred.problems:
        notes += [*pred.problems, answer_note(pred.text)]
    truth = result.pair.truth
    return compare(truth, shapes, captions, sources.place(truth), notes, SIDE, root, sixteen_bit)
