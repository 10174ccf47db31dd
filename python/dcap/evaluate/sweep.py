"""Precision, recall and F1 at each threshold of the score: what is left if unsure predictions are dropped.

The numbers are those of an evaluation of the predictions at or above the threshold, at an IoU or agreement of 0.5;
nothing is matched again (see `dcap.evaluate.matching.right_by_score`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.evaluate.counting import ImageCount
from dcap.evaluate.metrics import PrecisionRecall

MOST_POINTS = 200
"""Number of thresholds that are told; the best is always among them."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The counts at every threshold that makes a difference.

    ::

        thresholds  [0.9, 0.7, 0.2]    float64 (K,), falling: every score that there is, once
        kept        [  3,   8,  20]    int64 (K,): predictions at or above it
        found       [  3,   7,  11]    int64 (K,): of these, the ones that are right
    """

    truth: int
    """True objects."""
    thresholds: npt.NDArray[np.float64]
    kept: npt.NDArray[np.int64]
    found: npt.NDArray[np.int64]

    @classmethod
    def of(cls, counts: Sequence[ImageCount], *, in_category: bool = False) -> Sweep | None:
        """Count over images. `None`: there is no prediction, or not each has a score.

        Args:
            counts: One per image.
            in_category: Whether a prediction is right only with a true object of its category.
        """
        ranked = [count.ranked for count in counts if count.ranked is not None]
        scores = np.concatenate([np.zeros(0), *(each.scores for each in ranked)])
        if len(ranked) < len(counts) or not len(scores):
            return None
        right = np.concatenate([each.right_in_category if in_category else each.right for each in ranked])
        order = np.argsort(-scores, kind="stable")
        scores, found = scores[order], np.cumsum(right[order])
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
        truth = sum(len(count.truth.kinds) for count in counts)
        return cls(truth, scores[last], last + 1, found[last])

    def score(self, k: int) -> PrecisionRecall:
        """Return the score at the k-th threshold."""
        return PrecisionRecall(self.truth, int(self.kept[k]), int(self.found[k]), int(self.found[k]))

    @property
    def best(self) -> int:
        """Index of the threshold with the largest F1; the highest one of equal ones."""
        return int(np.argmax(2 * self.found / (self.truth + self.kept)))

    def told(self, most: int = MOST_POINTS) -> list[int]:
        """Return the indices of at most about `most` thresholds, first, last and best among them."""
        even = np.linspace(0, len(self.thresholds) - 1, min(most, len(self.thresholds))).round().astype(int)
        return sorted({*even.tolist(), self.best})

    def to_dict(self) -> dict[str, Any]:
        """Return the best threshold and the curve, ready for JSON."""
        return {
            "thresholds": len(self.thresholds),
            "best": self._point(self.best),
            "curve": [self._point(k) for k in self.told()],
        }

    def _point(self, k: int) -> dict[str, float]:
        return {"score": float(self.thresholds[k]), "kept": int(self.kept[k]), **self.score(k).to_dict()}


def scored(counts: Sequence[ImageCount]) -> tuple[int, int]:
    """Return the number of images with predictions, and of those where each prediction has a score."""
    some = [count for count in counts if len(count.pred.kinds)]
    return len(some), sum(count.ranked is not None for count in some)
