"""What needs scores and the package hotcoco: AP as COCO has it, errors, calibration, dense captioning.

Owns the way of an evaluation into COCO's terms. The measures themselves are hotcoco's::

    AP, AR         boxes: bounding boxes of boxes and polygons; masks: their areas in pixels. COCO's protocol
    errors         TIDE: how much AP would rise if one kind of error did not happen
    calibration    whether predictions with a score of 0.8 are right in 8 of 10 cases
    dense caption  AP where a pair must be near by its shape and alike by its caption
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcap.answers.prediction import Prediction
from dcap.core.errors import MissingPackageError, RecordError
from dcap.core.packages import install_command
from dcap.core.words import counted
from dcap.evaluate.captions import token_f1
from dcap.evaluate.categories import NO_CATEGORY
from dcap.evaluate.counting import SideCount
from dcap.evaluate.evaluation import Evaluation
from dcap.evaluate.matching import Floats, is_line, reaches, right_by_score, similarity
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.records.record import Record

MOST_PER_IMAGE = 100
"""Predictions of one category that count in an image, those with the highest scores; COCO's number."""
DENSE_IOU = (0.3, 0.4, 0.5, 0.6, 0.7)
DENSE_CAPTION = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Least token F1 of the captions of a pair."""
COCO_KINDS = {"boxes": "bbox", "masks": "segm"}
"""Names of COCO's two ways to compare objects."""


@dataclass(frozen=True, slots=True, eq=False)
class AveragePrecision:
    """AP and what belongs to it; a value that COCO has no object for is None."""

    coco: dict[str, dict[str, float | None]]
    """``boxes``, and ``masks`` where there is a polygon: COCO's twelve numbers by name."""
    by_category: dict[str, dict[str, float | None]]
    """AP of each category that is in the truth, by the same names."""
    errors: dict[str, dict[str, Any]]
    """TIDE by the same names: ``delta_ap`` and ``counts`` of each kind of error, at an IoU of 0.5."""
    calibration: dict[str, Any]
    """Expected and largest error (``ece``, ``mce``), and the bins behind them."""
    dense: dict[str, Any]
    """``map``, and ``ap`` for each least IoU (rows) and least token F1 of captions (columns)."""
    notes: tuple[str, ...]
    """What these numbers leave out, and when they mean little."""

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        return {
            "coco": self.coco,
            "by_category": self.by_category,
            "errors": self.errors,
            "calibration": self.calibration,
            "dense_caption": self.dense,
            "notes": list(self.notes),
        }


def average_precision(evaluation: Evaluation) -> AveragePrecision:
    """Measure AP, errors, calibration and dense captioning.

    Args:
        evaluation: At least one image; each predicted object has a score.

    Raises:
        MissingPackageError: hotcoco is not installed.
        RecordError: A predicted object has no score.
    """
    require_scores(evaluation)
    names = category_names([evaluation])
    coco, errors = {}, {}
    by_category: dict[str, dict[str, float | None]] = {}
    for name in comparisons([evaluation]):
        evaluator = run_coco(evaluation, names, name)
        numbers = {key: _value(value) for key, value in evaluator.get_results(per_class=True).items()}
        coco[name] = {key: value for key, value in numbers.items() if not key.startswith("AP/")}
        for key, value in numbers.items():
            if key.startswith("AP/") and value is not None:
                by_category.setdefault(key.removeprefix("AP/"), {})[name] = value
        tide = evaluator.tide_errors()
        errors[name] = {"delta_ap": tide["delta_ap"], "counts": tide["counts"]}
    return AveragePrecision(
        coco, by_category, errors, _calibration(evaluation), _dense_caption(evaluation), tuple(_notes(evaluation))
    )


def load_hotcoco() -> Any:
    """Return the package hotcoco.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import hotcoco
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"hotcoco must be installed for AP, and it is not. Run: {install_command('eval')}"
        ) from None
    return hotcoco


def require_scores(evaluation: Evaluation) -> None:
    """Check that each predicted object has a score, for without an order there is no AP.

    Raises:
        RecordError: One has none; the message names its line.
    """
    for result in evaluation.images:
        if result.count.ranked is None and result.pair.pred is not None:
            raise RecordError(
                f"{result.pair.pred.where}: each object must have a score for AP, and not each has one. Predict with "
                "--scores, or leave out --ap."
            )


def comparisons(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the names of `COCO_KINDS` that say something: masks only where there is a polygon."""
    sides = (side for each in evaluations for count in each.counts for side in (count.truth, count.pred))
    polygons = any((side.kinds == GeometryKind.POLYGON).any() for side in sides)
    return ["boxes", "masks"] if polygons else ["boxes"]


def category_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the categories of the truth and of all predictions, in the order of the alphabet."""
    counts = [count for evaluation in evaluations for count in evaluation.counts]
    names = {name for count in counts for side in (count.truth, count.pred) for name in side.categories}
    return sorted(names - {NO_CATEGORY})


def run_coco(evaluation: Evaluation, names: Sequence[str], comparison: str) -> Any:
    """Return hotcoco's evaluator after its work. Objects without a category do not count.

    Args:
        evaluation: Truth, and predictions with scores.
        names: `category_names`.
        comparison: One of `COCO_KINDS`.

    Raises:
        MissingPackageError: hotcoco is not installed.
    """
    hotcoco = load_hotcoco()
    ids = {name: k for k, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    pred: list[dict[str, Any]] = []
    for i, result in enumerate(evaluation.images, 1):
        record, count = result.pair.truth, result.count
        images.append({"id": i, "width": record.canvas.width, "height": record.canvas.height, "file_name": str(i)})
        crowds = _crowds(record)
        for k, shape in _annotations(record.shapes, record, comparison):
            if count.truth.categories[k] == NO_CATEGORY:
                continue
            item = {"id": len(truth) + 1, "image_id": i, "category_id": ids[count.truth.categories[k]], **shape}
            truth.append({**item, "area": float(count.truth.areas[k]), "iscrowd": crowds[k]})
        if result.pair.pred is not None and count.ranked is not None:
            for k, shape in _annotations(result.pair.pred.shapes, record, comparison):
                if count.pred.categories[k] == NO_CATEGORY:
                    continue
                item = {"image_id": i, "category_id": ids[count.pred.categories[k]], **shape}
                pred.append({**item, "score": float(count.ranked.scores[k])})
    categories = [{"id": k, "name": name} for name, k in ids.items()]
    coco = hotcoco.COCO({"images": images, "annotations": truth, "categories": categories})
    evaluator = hotcoco.COCOeval(coco, coco.load_res(pred), COCO_KINDS[comparison])
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summary_lines()  # what summarize() computes, without printing it
    return evaluator


def _annotations(shapes: ShapeArray, record: Record, comparison: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield index and COCO's shape of each box and polygon: a bounding box, or a mask of the size of the image."""
    canvas, bounds = record.canvas, shapes.bounds().tolist()
    for k in np.flatnonzero(~is_line(shapes)).tolist():
        x1, y1, x2, y2 = bounds[k]
        if comparison == "boxes":
            yield k, {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            continue
        is_box = shapes.kinds[k] == GeometryKind.BOX
        ring = [x1, y1, x2, y1, x2, y2, x1, y2] if is_box else shapes.points(k).ravel().tolist()
        yield k, {"segmentation": load_hotcoco().mask.frPyObjects([ring], canvas.height, canvas.width)[0]}


def _crowds(record: Record) -> list[int]:
    """Return 1 for each region that stands for many objects: COCO counts it neither as missed nor as found."""
    return [int(isinstance(each, dict) and each.get("iscrowd") == 1) for each in record.attributes]


def _calibration(evaluation: Evaluation) -> dict[str, Any]:
    """Return the calibration of all objects, lines too: right at an IoU or agreement of 0.5, with equal category."""
    ranked = [count.ranked for count in evaluation.counts if count.ranked is not None]
    scores = np.concatenate([np.zeros(0), *(each.scores for each in ranked)])
    right = np.concatenate([np.zeros(0, np.bool_), *(each.right_in_category for each in ranked)])
    metrics = load_hotcoco().metrics
    ece, mce = metrics.calibration_error(scores, right)
    names = {"bin_lower": "low", "bin_upper": "high", "avg_confidence": "score", "avg_accuracy": "right",
             "count": "count"}  # fmt: skip
    bins = metrics.calibration_curve(scores, right)
    return {"ece": ece, "mce": mce, "bins": [{name: each[key] for key, name in names.items()} for each in bins]}


def _dense_caption(evaluation: Evaluation) -> dict[str, Any]:
    """Return AP at each least IoU and least token F1 of captions, and their mean.

    Source: Johnson, Karpathy, Fei-Fei, "DenseCap", CVPR 2016, with other words for alike: there it is METEOR, from 0 to
    0.25, and pairs are chosen one by one; here it is token F1, and pairs are optimal. Numbers do not compare.
    """
    measure = load_hotcoco().metrics.average_precision
    flags: list[list[Any]] = []
    scores, num_truth = [np.zeros(0)], 0
    for result in evaluation.images:
        truth, pred, ranked = result.pair.truth, result.pair.pred, result.count.ranked
        num_truth += len(truth.shapes)
        if pred is not None and ranked is not None:
            scores.append(ranked.scores)
            flags.append(_right_at_all(truth, pred, ranked.scores, evaluation.options.line_tolerance_px))
    everyone = np.concatenate(scores)
    ap = [
        [
            float(measure(everyone, np.concatenate(column), num_truth)) if column else 0.0
            for column in ([image[i * len(DENSE_CAPTION) + j] for image in flags] for j in range(len(DENSE_CAPTION)))
        ]
        for i in range(len(DENSE_IOU))
    ]
    return {
        "map": float(np.mean(ap)) if num_truth else None,
        "similarity": "token F1",
        "iou": list(DENSE_IOU),
        "caption": list(DENSE_CAPTION),
        "ap": ap,
    }


def _right_at_all(truth: Record, pred: Prediction, scores: Floats, line_tolerance_px: float) -> list[Any]:
    """Return which predictions are right at each pair of thresholds, IoU by caption."""
    alike = similarity(truth.shapes, pred.shapes, line_tolerance_px)
    words: Floats = np.zeros(alike.shape)
    for i, j in np.argwhere(reaches(alike, DENSE_IOU[0])):
        words[i, j] = token_f1(truth.captions[i], pred.captions[j])
    return [
        right_by_score(reaches(alike, iou) & reaches(words, least), scores)
        for iou in DENSE_IOU
        for least in DENSE_CAPTION
    ]


def _notes(evaluation: Evaluation) -> Iterator[str]:
    counts = evaluation.counts
    ranked = [count.ranked.scores for count in counts if count.ranked is not None]
    scores = np.concatenate([np.zeros(0), *ranked])
    if len(scores) > 1 and (scores == scores[0]).all():
        yield "all scores are equal: AP, errors and calibration then say nothing about how sure the model was"
    lines = sum(count.scores.truth_lines + count.scores.pred_lines for count in counts)
    if lines:
        yield f"{counted(lines, 'line')} of truth and predictions are not in AP and errors, which COCO has no lines for"
    truth, pred = (
        [_region_categories(side) for side in sides]
        for sides in ([count.truth for count in counts], [count.pred for count in counts])
    )
    known = {name for names in truth for name in names}
    unknown = sum(name not in known for names in pred for name in names)
    if unknown:
        yield (
            f"{counted(unknown, 'prediction')} of categories that are not in the truth: AP leaves them out as COCO "
            "does, the table by category counts them"
        )
    beyond = sum(max(n - MOST_PER_IMAGE, 0) for names in pred for n in Counter(names).values())
    if beyond:
        found = counted(beyond, "prediction")
        yield f"{found} beyond {MOST_PER_IMAGE} of a category in an image are left out, as in COCO"


def _region_categories(side: SideCount) -> list[str]:
    return [name for name, kind in zip(side.categories, side.kinds, strict=True) if kind != GeometryKind.LINE]


def _value(number: float) -> float | None:
    """Return a number of hotcoco's, where -1 says that there was nothing to measure."""
    return None if number == -1.0 else float(number)
