"""What is counted on one image, how counts add up, and the scores that follow from them.

Scores come from summed counts (micro averages), so an image weighs as much as it has objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import ConfigError
from dcap.evaluate.captions import equal_captions, token_f1
from dcap.evaluate.lines import covered_lengths, line_lengths
from dcap.evaluate.matching import is_line, match, similarity
from dcap.geometry.shapes import ShapeArray

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU thresholds of the mean, as in COCO: 0.50, 0.55, ..., 0.95."""
_AT_50, _AT_75 = THRESHOLDS.index(0.5), THRESHOLDS.index(0.75)


@dataclass(frozen=True)
class ScoreOptions:
    """The two lengths of the measures that are a matter of choice."""

    line_tolerance_px: float = 10.0
    """Distance within which two lines run together, in pixels of the image file."""
    duplicate_iou: float = 0.9
    """Two predictions of the same caption that are more alike than this are one and the same, 0..1."""

    def __post_init__(self) -> None:
        if not 0.0 < self.line_tolerance_px < float("inf"):
            raise ConfigError(f"line_tolerance_px must be above 0, not {self.line_tolerance_px}")
        if not 0.0 < self.duplicate_iou <= 1.0:
            raise ConfigError(f"duplicate_iou must be within 0..1, not {self.duplicate_iou}")


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 of `found` pairs among `truth` and `pred` objects (or lengths)."""

    truth: float
    pred: float
    found_truth: float
    found_pred: float

    @property
    def precision(self) -> float:
        """Share of what was predicted that is true; 1 when nothing was predicted and nothing was there."""
        return self.found_pred / self.pred if self.pred else float(not self.truth)

    @property
    def recall(self) -> float:
        """Share of what is there that was found; 1 when nothing was there and nothing was predicted."""
        return self.found_truth / self.truth if self.truth else float(not self.pred)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything that is counted on one image, or on many after ``+``; regions are boxes and polygons."""

    images: int = 0
    answers: int = 0
    """Images that have a line in the predictions."""
    clean_answers: int = 0
    """Answers that parsed without a problem."""
    truth_regions: int = 0
    pred_regions: int = 0
    found: tuple[int, ...] = (0,) * len(THRESHOLDS)
    """Matched regions at each of `THRESHOLDS`."""
    found_captioned: tuple[int, ...] = (0,) * len(THRESHOLDS)
    """Matched regions whose captions are equal too."""
    truth_lines: int = 0
    pred_lines: int = 0
    found_lines: int = 0
    """Matched lines at an agreement of 0.5."""
    truth_px: float = 0.0
    """Length of the true lines, in pixels."""
    pred_px: float = 0.0
    truth_covered_px: float = 0.0
    """Length of the true lines that predicted lines run along."""
    pred_covered_px: float = 0.0
    pairs: int = 0
    """Matched regions at 0.5 and matched lines: the pairs whose captions are compared."""
    pairs_iou: float = 0.0
    """Their similarities, summed."""
    equal_captions: int = 0
    captions_f1: float = 0.0
    """Token F1 of their captions, summed."""
    duplicates: int = 0
    """Predictions that repeat another one."""

    def __add__(self, other: Counts) -> Counts:
        values: dict[str, Any] = {}
        for field in fields(self):
            a, b = getattr(self, field.name), getattr(other, field.name)
            values[field.name] = tuple(map(sum, zip(a, b, strict=True))) if isinstance(a, tuple) else a + b
        return Counts(**values)

    def regions(self, index: int, *, captioned: bool = False) -> Score:
        """Return the score of boxes and polygons at ``THRESHOLDS[index]``; `captioned` wants equal captions too."""
        found = (self.found_captioned if captioned else self.found)[index]
        return Score(self.truth_regions, self.pred_regions, found, found)

    @property
    def lines(self) -> Score:
        """Score of the lines by length: the share that runs along a line of the other side."""
        return Score(self.truth_px, self.pred_px, self.truth_covered_px, self.pred_covered_px)

    @property
    def objects(self) -> Score:
        """Score of all objects: regions at an IoU of 0.5 and lines at an agreement of 0.5."""
        found = self.found[_AT_50] + self.found_lines
        return Score(self.truth_regions + self.truth_lines, self.pred_regions + self.pred_lines, found, found)


def count_image(
    truth: ShapeArray,
    truth_captions: Sequence[str],
    pred: ShapeArray,
    pred_captions: Sequence[str],
    options: ScoreOptions = ScoreOptions(),
) -> Counts:
    """Return the counts of one answered image; shapes are in pixels of the image file.

    Pairs are made without regard to captions, which only settle ties; `found_captioned` is matched anew among
    pairs of equal captions.
    """
    alike = similarity(truth, pred, options.line_tolerance_px)
    equal = equal_captions(truth_captions, pred_captions)
    overlap = _caption_overlap(truth_captions, pred_captions, equal, alike > 0.0)
    truth_lines, pred_lines = is_line(truth), is_line(pred)
    regions = alike * ~truth_lines[:, None]
    pairs = match(alike, THRESHOLDS[_AT_50], tie=0.5 * equal + 0.5 * overlap)
    a, b = truth.take(truth_lines), pred.take(pred_lines)
    return Counts(
        images=1,
        answers=1,
        clean_answers=1,
        truth_regions=int((~truth_lines).sum()),
        pred_regions=int((~pred_lines).sum()),
        found=tuple(len(match(regions, t)) for t in THRESHOLDS),
        found_captioned=tuple(len(match(regions * equal, t)) for t in THRESHOLDS),
        truth_lines=len(a),
        pred_lines=len(b),
        found_lines=int(truth_lines[pairs.truth].sum()),
        truth_px=float(line_lengths(a).sum()),
        pred_px=float(line_lengths(b).sum()),
        truth_covered_px=float(covered_lengths(a, b, options.line_tolerance_px).sum()),
        pred_covered_px=float(covered_lengths(b, a, options.line_tolerance_px).sum()),
        pairs=len(pairs),
        pairs_iou=float(alike[pairs.truth, pairs.pred].sum()),
        equal_captions=int(equal[pairs.truth, pairs.pred].sum()),
        captions_f1=float(overlap[pairs.truth, pairs.pred].sum()),
        duplicates=count_duplicates(pred, pred_captions, options),
    )


def count_duplicates(pred: ShapeArray, captions: Sequence[str], options: ScoreOptions) -> int:
    """Return how many predictions would go if of every cluster of repeats one stayed."""
    alike = similarity(pred, pred, options.line_tolerance_px)
    linked = (alike > options.duplicate_iou) & equal_captions(captions, captions)
    group = np.arange(len(pred))
    for i, j in np.argwhere(np.triu(linked, 1)):
        group[group == group[j]] = group[i]
    return len(pred) - len(np.unique(group))


def _caption_overlap(
    a: Sequence[str], b: Sequence[str], equal: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return the token F1 of the wanted pairs, float64 (len a, len b); 1 where the captions are equal."""
    out = equal.astype(np.float64)
    for i, j in np.argwhere(wanted & ~equal):
        out[i, j] = token_f1(a[i], b[j])
    return out


def summarize(counts: Counts, options: ScoreOptions) -> dict[str, Any]:
    """Return all scores as plain nested numbers, ready for JSON."""
    mean = "0.50:0.95"
    every = range(len(THRESHOLDS))
    regions = {f"{THRESHOLDS[i]:.2f}": counts.regions(i).to_dict() for i in (_AT_50, _AT_75)}
    captioned = {f"{THRESHOLDS[i]:.2f}": counts.regions(i, captioned=True).to_dict() for i in (_AT_50, _AT_75)}
    regions[mean] = _mean([counts.regions(i).to_dict() for i in every])
    captioned[mean] = _mean([counts.regions(i, captioned=True).to_dict() for i in every])
    predicted = counts.pred_regions + counts.pred_lines
    return {
        "images": counts.images,
        "answers": counts.answers,
        "missing_answers": counts.images - counts.answers,
        "parse_rate": counts.clean_answers / counts.answers if counts.answers else 0.0,
        "objects": {**counts.objects.to_dict(), "truth": int(counts.objects.truth), "predicted": predicted},
        "regions": {**regions, "truth": counts.truth_regions, "predicted": counts.pred_regions},
        "regions_with_caption": captioned,
        "lines": {
            **counts.lines.to_dict(),
            "tolerance_px": options.line_tolerance_px,
            "matched": Score(counts.truth_lines, counts.pred_lines, counts.found_lines, counts.found_lines).to_dict(),
            "truth": counts.truth_lines,
            "predicted": counts.pred_lines,
        },
        "captions": {
            "pairs": counts.pairs,
            "exact": counts.equal_captions / counts.pairs if counts.pairs else 0.0,
            "token_f1": counts.captions_f1 / counts.pairs if counts.pairs else 0.0,
            "mean_iou": counts.pairs_iou / counts.pairs if counts.pairs else 0.0,
        },
        "duplicates": {"count": counts.duplicates, "rate": counts.duplicates / predicted if predicted else 0.0},
    }


def _mean(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
