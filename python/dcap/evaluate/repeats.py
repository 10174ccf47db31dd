"""Objects of one answer that say the same thing again: exact repeats, overlaps, and what is left without them.

The text of the answer always stays whole; a prediction counts what was dropped from its objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.answers.prediction import Dropped, Prediction
from dcap.core.errors import ConfigError
from dcap.evaluate.captions import same_captions
from dcap.geometry.measures import polygon_iou
from dcap.geometry.shapes import ShapeArray


@dataclass(frozen=True, slots=True)
class Pruning:
    """Which objects of a prediction are dropped; by default none."""

    repeats: bool = False
    """Drop an object that repeats an earlier one exactly: kind, points and caption."""
    suppress_iou: float | None = None
    """Drop a box or polygon that overlaps a better one of the same caption by more than this exact IoU, 0..1. The
    better one has the higher score; without scores, it comes first. `None`: drop none."""
    least_score: float | None = None
    """Drop an object with a lower score, 0..1; objects without a score stay. `None`: drop none."""

    def __post_init__(self) -> None:
        for name in ("suppress_iou", "least_score"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} must be within 0..1, not {value}")


def exact_repeats(shapes: ShapeArray, captions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which objects repeat an earlier one exactly: its kind, its points and its caption. bool (N,)."""
    keys = [(kind, points.tobytes(), caption) for (kind, points), caption in zip(shapes, captions, strict=True)]
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    return np.array([first[key] < i for i, key in enumerate(keys)], np.bool_)


def overlapping(
    shapes: ShapeArray, captions: Sequence[str], scores: Sequence[float | None], iou: float
) -> npt.NDArray[np.bool_]:
    """Return which boxes and polygons overlap a better one that stays, bool (N,); lines never do.

    Args:
        shapes: N shapes.
        captions: One per shape; only objects of one caption, but for case and white space, can overlap.
        scores: One per shape, or none at all. Objects without a score come last; of equal ones the first is better.
        iou: Least exact IoU that is not allowed.
    """
    out = np.zeros(len(shapes), np.bool_)
    worth = np.array([-1.0 if score is None else score for score in scores or [None] * len(shapes)])
    # Caption by caption: among the objects of a large image, most pairs have two.
    for group in same_captions(captions):
        near = polygon_iou(shapes.take(group), shapes.take(group)) > iou
        gone = np.zeros(len(group), np.bool_)
        for i in np.argsort(-worth[group], kind="stable"):
            if not gone[i]:
                gone |= near[i] & (np.arange(len(gone)) != i)
        out[group] = gone
    return out


def prune(pred: Prediction, pruning: Pruning) -> Prediction:
    """Return a prediction without the objects that `pruning` names; `dropped` counts them, and `text` stays whole."""
    unsure = repeats = overlaps = 0
    if pruning.least_score is not None:
        least = pruning.least_score
        scores = pred.scores or [None] * len(pred.shapes)
        pred, unsure = _without(pred, np.array([score is not None and score < least for score in scores], np.bool_))
    if pruning.repeats:
        pred, repeats = _without(pred, exact_repeats(pred.shapes, pred.captions))
    if pruning.suppress_iou is not None:
        flags = overlapping(pred.shapes, pred.captions, pred.scores, pruning.suppress_iou)
        pred, overlaps = _without(pred, flags)
    return dataclasses.replace(pred, dropped=pred.dropped + Dropped(repeats, overlaps, unsure))


def _without(pred: Prediction, flags: npt.NDArray[np.bool_]) -> tuple[Prediction, int]:
    """Return the prediction without the flagged objects, and their number."""
    if not flags.any():
        return pred, 0
    kept = np.flatnonzero(~flags).tolist()
    captions = tuple([pred.captions[i] for i in kept])
    scores = tuple([pred.scores[i] for i in kept]) if pred.scores else ()
    left = dataclasses.replace(pred, shapes=pred.shapes.take(kept), captions=captions, scores=scores)
    return left, len(flags) - len(kept)
