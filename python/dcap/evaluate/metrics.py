"""The scores of one image or of many: the counts, their sums, and the scores that follow.

Counts are summed over images before anything is divided (micro averages): an image weighs as much as it has objects.
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
    """Options of the measures: a distance and a threshold."""

    line_tolerance_px: float = 10.0
    """Distance within which two lines run together, in pixels of the image file."""
    duplicate_iou: float = 0.9
    """Two predictions with the same caption are duplicates if their IoU (lines: agreement) is above this, 0..1."""

    def __post_init__(self) -> None:
        if not 0.0 < self.line_tolerance_px < float("inf"):
            raise ConfigError(f"line_tolerance_px must be above 0, not {self.line_tolerance_px}")
        if not 0.0 < self.duplicate_iou <= 1.0:
            raise ConfigError(f"duplicate_iou must be within 0..1, not {self.duplicate_iou}")


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision, recall and F1, 0..1 each, with their counts: numbers of objects, or lengths in pixels."""

    truth: float
    """Amount in the truth."""
    pred: float
    """Amount that was predicted."""
    found_truth: float
    """Part of the truth that was found."""
    found_pred: float
    """Part of the prediction that is in the truth."""

    @property
    def precision(self) -> float:
        """Share of the prediction that is true; 1 if both the prediction and the truth are empty."""
        return self.found_pred / self.pred if self.pred else float(not self.truth)

    @property
    def recall(self) -> float:
        """Share of the truth that was found; 1 if both the prediction and the truth are empty."""
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
class Scores:
    """The counts of one image, or of many after ``+``, and the scores that follow.

    Regions are boxes and polygons; two of them are compared by the exact IoU of their areas. Two lines are compared by
    `dcap.evaluate.lines.line_agreement`. Pairs are one to one and optimal, whatever their captions.
    """

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

    def __add__(self, other: Scores) -> Scores:
        values: dict[str, Any] = {}
        for field in fields(self):
            a, b = getattr(self, field.name), getattr(other, field.name)
            values[field.name] = tuple(map(sum, zip(a, b, strict=True))) if isinstance(a, tuple) else a + b
        return Scores(**values)

    def regions(self, iou: float = 0.5, *, captioned: bool = False) -> PrecisionRecall:
        """Return the score of boxes and polygons.

        Args:
            iou: Least IoU of a pair; one of `THRESHOLDS`.
            captioned: Whether the captions of a pair must be equal too (Unicode NFKC, case and white space apart).

        Raises:
            ConfigError: `iou` is none of `THRESHOLDS`.
        """
        if iou not in THRESHOLDS:
            raise ConfigError(f"iou must be one of {', '.join(map(str, THRESHOLDS))}, not {iou}")
        found = (self.found_captioned if captioned else self.found)[THRESHOLDS.index(iou)]
        return PrecisionRecall(self.truth_regions, self.pred_regions, found, found)

    @property
    def lines(self) -> PrecisionRecall:
        """Score of the lines by length: the share that runs along a line of the other side."""
        return PrecisionRecall(self.truth_px, self.pred_px, self.truth_covered_px, self.pred_covered_px)

    @property
    def objects(self) -> PrecisionRecall:
        """Score of all objects: regions at an IoU of 0.5 and lines at an agreement of 0.5."""
        found = self.found[_AT_50] + self.found_lines
        return PrecisionRecall(self.truth_regions + self.truth_lines, self.pred_regions + self.pred_lines, found, found)

    def to_dict(self, options: ScoreOptions = ScoreOptions()) -> dict[str, Any]:
        """Return all scores as plain nested numbers, ready for JSON.

        ::

            images, answers, missing_answers     how many
            parse_rate                           share of the answers that parse without a problem
            objects                              all objects, at an IoU or agreement of 0.5
            regions               0.50, 0.75     boxes and polygons at that IoU;
                                  0.50:0.95      and as the mean over `THRESHOLDS`
            regions_with_caption                 the same, where the captions of a pair are equal too
            lines                                shares of length in pixels, within tolerance_px of a line
                                  matched        and one to one, at an agreement of 0.5
            captions                             of the matched pairs: share of equal ones, mean token F1, mean IoU
            duplicates                           predictions that repeat another one

        Args:
            options: Those that were counted with.
        """
        mean = "0.50:0.95"
        at = (THRESHOLDS[_AT_50], THRESHOLDS[_AT_75])
        regions, captioned = (
            {
                **{f"{iou:.2f}": self.regions(iou, captioned=c).to_dict() for iou in at},
                mean: _mean([self.regions(iou, captioned=c).to_dict() for iou in THRESHOLDS]),
            }
            for c in (False, True)
        )
        predicted = self.pred_regions + self.pred_lines
        return {
            "images": self.images,
            "answers": self.answers,
            "missing_answers": self.images - self.answers,
            "parse_rate": self.clean_answers / self.answers if self.answers else 0.0,
            "objects": {**self.objects.to_dict(), "truth": int(self.objects.truth), "predicted": predicted},
            "regions": {**regions, "truth": self.truth_regions, "predicted": self.pred_regions},
            "regions_with_caption": captioned,
            "lines": {
                **self.lines.to_dict(),
                "tolerance_px": options.line_tolerance_px,
                "matched": PrecisionRecall(
                    self.truth_lines, self.pred_lines, self.found_lines, self.found_lines
                ).to_dict(),
                "truth": self.truth_lines,
                "predicted": self.pred_lines,
            },
            "captions": {
                "pairs": self.pairs,
                "exact": self.equal_captions / self.pairs if self.pairs else 0.0,
                "token_f1": self.captions_f1 / self.pairs if self.pairs else 0.0,
                "mean_iou": self.pairs_iou / self.pairs if self.pairs else 0.0,
            },
            "duplicates": {"count": self.duplicates, "rate": self.duplicates / predicted if predicted else 0.0},
        }


def count_image(
    truth: ShapeArray,
    truth_captions: Sequence[str],
    pred: ShapeArray,
    pred_captions: Sequence[str],
    options: ScoreOptions = ScoreOptions(),
) -> Scores:
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
    return Scores(
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
    """Return the number of duplicates: all predictions in clusters of repeats, less one per cluster."""
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


def _mean(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
