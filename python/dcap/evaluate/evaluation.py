"""An evaluation: the scores of predictions, in all and for each image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcap.answers.prediction import Prediction
from dcap.core.errors import GeometryError, RecordError
from dcap.core.progress import progress
from dcap.core.words import show
from dcap.evaluate.counting import ImageCount, Side, count_image
from dcap.evaluate.metrics import ScoreOptions, Scores
from dcap.evaluate.pairs import Pair, pair_up
from dcap.evaluate.repeats import Pruning, exact_repeats, prune
from dcap.geometry.shapes import ShapeArray
from dcap.records.record import Record

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
    counts = (_count_item(a, b, options, f"[{k}]") for k, (a, b) in enumerate(pairs))
    return sum((count.scores for count in counts), Scores())


def _is_object(item: Any) -> bool:
    return isinstance(item, Mapping) and "objects" not in item


def _count_item(truth: Item, pred: Item | None, options: ScoreOptions, where: str) -> ImageCount:
    """Count on one image; an image without a prediction counts as an empty answer."""
    side = _side(truth, f"truth{where}")
    if pred is None:
        count = count_image(side, Side(ShapeArray.empty(), ()), options, _diagonal(truth))
        return dataclasses.replace(count, scores=dataclasses.replace(count.scores, answers=0, clean_answers=0))
    answer = _side(pred, f"pred{where}")
    count = count_image(side, answer, options, _diagonal(truth))
    repeats = int(exact_repeats(answer.shapes, answer.captions).sum())
    if isinstance(pred, Prediction):
        repeats += pred.dropped.repeats
    scores = dataclasses.replace(
        count.scores, clean_answers=int(not _problems(pred)), repeats=repeats, unrepeated_answers=int(not repeats)
    )
    return dataclasses.replace(count, scores=scores)


def _side(item: Item, where: str) -> Side:
    if isinstance(item, Prediction):
        return Side(item.shapes, item.captions, item.scores)
    if isinstance(item, Record):
        return Side(item.shapes, item.captions)
    if not isinstance(item, Mapping) or not isinstance(item.get("objects"), Sequence):
        raise RecordError(f"{where} must be a record, a prediction or a dict with objects, not {show(item)}")
    objects = item["objects"]
    for i, obj in enumerate(objects):
        caption = obj.get("desc") if isinstance(obj, Mapping) else None
        if not isinstance(caption, str):
            raise RecordError(f"{where}: objects[{i}].desc must be a string, not {show(caption)}")
    try:
        return Side(ShapeArray.from_objects(objects), tuple(obj["desc"] for obj in objects))
    except GeometryError as error:
        raise RecordError(f"{where}: {error}") from None


def _problems(item: Item) -> bool:
    """Whether an answer has problems."""
    if isinstance(item, Mapping):
        return bool(item.get("problems"))
    return isinstance(item, Prediction) and bool(item.problems)


def _diagonal(item: Item) -> float | None:
    """Return the diagonal of an image in pixels. `None`: the item does not say how large the image is."""
    if isinstance(item, Mapping):
        width, height = item.get("width"), item.get("height")
        return math.hypot(width, height) if type(width) is int and type(height) is int else None
    return math.hypot(item.canvas.width, item.canvas.height)


@dataclass(frozen=True, slots=True, eq=False)
class ImageResult:
    """One image: its record, its prediction, and what was found on it."""

    pair: Pair
    count: ImageCount

    @property
    def scores(self) -> Scores:
        """The scores of this image."""
        return self.count.scores


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The scores of a prediction file; `dcap.evaluate.report` has them as tables, as JSON and as pictures.

    Attributes:
        images: One result per true record, in the order of the truth.
        total: Scores of all images together.
        options: The choices that the scores depend on.
        pruning: Objects that were dropped before anything was counted.
    """

    images: tuple[ImageResult, ...]
    total: Scores
    options: ScoreOptions
    pruning: Pruning

    @property
    def counts(self) -> list[ImageCount]:
        """What was found on each image."""
        return [result.count for result in self.images]

    def worst(self, count: int) -> list[ImageResult]:
        """Return the images with the lowest F1 of all objects, worst first; ties in the order of the truth."""
        return sorted(self.images, key=lambda result: result.scores.objects.f1)[:count]


def evaluate(
    truth: Sequence[str | Path],
    pred: str | Path,
    options: ScoreOptions | None = None,
    pruning: Pruning | None = None,
) -> Evaluation:
    """Score a prediction file against true records; an image without a prediction counts as an empty answer.

    Args:
        truth: Annotation files, folders or patterns.
        pred: What ``dcap predict`` wrote for them: a file, folder or pattern.
        options: Tolerances, in pixels and IoU, and the rule of categories. `None`: the defaults.
        pruning: Objects to drop from the predictions first. `None`: none.

    Raises:
        RecordError: A record or prediction is malformed, a prediction's image is not in the truth, or the two disagree
            on its size, or a shape cannot be measured.
    """
    options, pruning = options or ScoreOptions(), pruning or Pruning()
    images = []
    for pair in progress(pair_up(truth, pred), "Scoring"):
        try:
            kept = Pair(pair.truth, prune(pair.pred, pruning)) if pair.pred and pruning != Pruning() else pair
            images.append(ImageResult(kept, _count_item(kept.truth, kept.pred, options, "")))
        except GeometryError as error:  # shapes that cannot be measured; a record's are cut to its image, and can
            place = pair.truth.origin if pair.pred is None else pair.pred.where
            raise RecordError(f"{place}: {error}") from None
    return Evaluation(tuple(images), sum((result.scores for result in images), Scores()), options, pruning)
