"""The scores of one image or of many: the counts, their sums, and the scores that follow.

Counts are summed over images before anything is divided (micro averages): an image weighs as much as it has objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from dcap.core.errors import ConfigError
from dcap.evaluate.categories import CategoryRule

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU thresholds of the mean, as in COCO: 0.50, 0.55, ..., 0.95."""
AT_50 = THRESHOLDS.index(0.5)
TOLD = (0.5, 0.75, 0.95)
"""Thresholds whose scores are told one by one, before the mean over all."""
MEAN = "0.50:0.95"
"""Name of the mean over `THRESHOLDS`."""


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the measures: distances, a threshold, and where categories come from."""

    line_tolerance_px: float = 10.0
    """Distance within which two lines run together, in pixels of the image file."""
    line_tolerance_share: float = 0.01
    """The same, as a share of the diagonal of the image. Lines are measured with both distances."""
    duplicate_iou: float = 0.9
    """Two predictions with the same caption are duplicates if their IoU (lines: agreement) is above this, 0..1."""
    category: CategoryRule = field(default_factory=CategoryRule)
    """How the category of an object follows from its caption."""

    def __post_init__(self) -> None:
        for name in ("line_tolerance_px", "line_tolerance_share"):
            if not 0.0 < (value := getattr(self, name)) < float("inf"):
                raise ConfigError(f"{name} must be above 0, not {value}")
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
    repeats: int = 0
    """Predictions that repeat an earlier one exactly, those that were dropped included."""
    unrepeated_answers: int = 0
    """Answers without an exact repeat."""
    empty_images: int = 0
    """Images without a true object."""
    disturbed_images: int = 0
    """Of these, the images with a prediction."""
    empty_image_predictions: int = 0
    """Predictions on images without a true object: all of them are wrong."""
    sized_truth_lines: int = 0
    """True lines on images of known size; the next ones are measured on these, relative to the diagonal."""
    sized_pred_lines: int = 0
    sized_found_lines: int = 0
    sized_truth_px: float = 0.0
    sized_pred_px: float = 0.0
    sized_truth_covered_px: float = 0.0
    sized_pred_covered_px: float = 0.0

    def __add__(self, other: Scores) -> Scores:
        values: dict[str, Any] = {}
        for each in fields(self):
            a, b = getattr(self, each.name), getattr(other, each.name)
            values[each.name] = tuple(map(sum, zip(a, b, strict=True))) if isinstance(a, tuple) else a + b
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
    def lines_to_scale(self) -> PrecisionRecall | None:
        """As `lines`, within a share of the diagonal. `None`: there are lines, and the size of no image is known."""
        if not self.sized_truth_lines + self.sized_pred_lines and self.truth_lines + self.pred_lines:
            return None
        return PrecisionRecall(
            self.sized_truth_px, self.sized_pred_px, self.sized_truth_covered_px, self.sized_pred_covered_px
        )

    @property
    def objects(self) -> PrecisionRecall:
        """Score of all objects: regions at an IoU of 0.5 and lines at an agreement of 0.5."""
        found = self.found[AT_50] + self.found_lines
        return PrecisionRecall(self.truth_regions + self.truth_lines, self.pred_regions + self.pred_lines, found, found)

    def to_dict(self, options: ScoreOptions = ScoreOptions()) -> dict[str, Any]:
        """Return all scores as plain nested numbers, ready for JSON.

        ::

            images, answers, missing_answers     how many
            parse_rate                           share of the answers that parse without a problem
            no_repeat                            share of the answers without an exact repeat, and the number of repeats
            objects                              all objects, at an IoU or agreement of 0.5
            regions      0.50, 0.75, 0.95        boxes and polygons at that IoU;
                         0.50:0.95               and as the mean over `THRESHOLDS`
            regions_with_caption                 the same, where the captions of a pair are equal too
            lines                                shares of length in pixels, within tolerance_px of a line
                         matched                 and one to one, at an agreement of 0.5
                         to_scale                both again, within a share of the diagonal; null without sizes
            captions                             of the matched pairs: share of equal ones, mean token F1, mean IoU
            duplicates                           predictions that repeat another one of that caption, more or less
            empty_images                         images without a true object, and what was predicted on them

        Args:
            options: Those that were counted with.
        """
        predicted = self.pred_regions + self.pred_lines
        return {
            "images": self.images,
            "answers": self.answers,
            "missing_answers": self.images - self.answers,
            "parse_rate": self.clean_answers / self.answers if self.answers else 0.0,
            "no_repeat": {
                "share": self.unrepeated_answers / self.answers if self.answers else 0.0,
                "repeats": self.repeats,
            },
            "objects": {**self.objects.to_dict(), "truth": int(self.objects.truth), "predicted": predicted},
            "regions": {
                **at_thresholds([self.regions(iou) for iou in THRESHOLDS]),
                "truth": self.truth_regions,
                "predicted": self.pred_regions,
            },
            "regions_with_caption": at_thresholds([self.regions(iou, captioned=True) for iou in THRESHOLDS]),
            "lines": self._lines_dict(options),
            "captions": {
                "pairs": self.pairs,
                "exact": self.equal_captions / self.pairs if self.pairs else 0.0,
                "token_f1": self.captions_f1 / self.pairs if self.pairs else 0.0,
                "mean_iou": self.pairs_iou / self.pairs if self.pairs else 0.0,
            },
            "duplicates": {"count": self.duplicates, "rate": self.duplicates / predicted if predicted else 0.0},
            "empty_images": {
                "images": self.empty_images,
                "with_predictions": self.disturbed_images,
                "predictions": self.empty_image_predictions,
            },
        }

    def _lines_dict(self, options: ScoreOptions) -> dict[str, Any]:
        matched = PrecisionRecall(self.truth_lines, self.pred_lines, self.found_lines, self.found_lines)
        found = self.sized_found_lines
        scaled = PrecisionRecall(self.sized_truth_lines, self.sized_pred_lines, found, found)
        to_scale = self.lines_to_scale and {
            **self.lines_to_scale.to_dict(),
            "tolerance_of_diagonal": options.line_tolerance_share,
            "matched": scaled.to_dict(),
            "truth": self.sized_truth_lines,
            "predicted": self.sized_pred_lines,
        }
        return {
            **self.lines.to_dict(),
            "tolerance_px": options.line_tolerance_px,
            "matched": matched.to_dict(),
            "to_scale": to_scale,
            "truth": self.truth_lines,
            "predicted": self.pred_lines,
        }


def at_thresholds(scores: Sequence[PrecisionRecall]) -> dict[str, dict[str, float]]:
    """Return the scores at each of `TOLD`, and their mean over `THRESHOLDS`.

    Args:
        scores: One for each of `THRESHOLDS`.
    """
    each = [score.to_dict() for score in scores]
    told = {f"{iou:.2f}": each[THRESHOLDS.index(iou)] for iou in TOLD}
    return {**told, MEAN: {name: float(np.mean([score[name] for score in each])) for name in each[0]}}
