"""Whether one run is better than another on the same images, and how sure that is: the paired bootstrap.

Source: Efron, Tibshirani, "An introduction to the bootstrap", 1993; Berg-Kirkpatrick, Burkett, Klein, "An empirical
investigation of statistical significance in NLP", 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcap.core.errors import ConfigError, RecordError
from dcap.core.random import generator
from dcap.core.words import counted
from dcap.evaluate.ap import category_names, comparisons, load_hotcoco, require_scores, run_coco
from dcap.evaluate.evaluation import Evaluation
from dcap.evaluate.matching import Floats
from dcap.evaluate.metrics import AT_50, MEAN, THRESHOLDS, Scores

CONFIDENCE = 0.95
"""Share of the resamples whose difference is inside the interval."""
RESAMPLES = 2000
FEW_IMAGES = 30
"""With fewer images, the intervals are too narrow."""
_MOST_WEIGHTS = 1 << 22
"""Weights of images that are drawn at once, a bound on memory."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of two runs."""

    name: str
    a: float
    b: float
    low: float
    """The difference, b less a, is at least this in most resamples: the lower end of its interval."""
    high: float
    """The upper end of the interval."""
    b_is_higher: float
    """Share of the resamples in which b is higher than a."""

    @property
    def verdict(self) -> str:
        """``B is better``, ``A is better`` or ``not clear``: whether the interval leaves out 0."""
        return "B is better" if self.low > 0 else "A is better" if self.high < 0 else "not clear"

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers and the verdict, ready for JSON."""
        return {
            "name": self.name, "a": self.a, "b": self.b, "difference": self.b - self.a,
            "interval": [self.low, self.high], "b_is_higher": self.b_is_higher, "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on the same images."""

    differences: tuple[Difference, ...]
    images: tuple[int, int, int]
    """Images on which F1 of all objects is higher in a, equal, and higher in b."""
    resamples: int
    seed: int

    @property
    def notes(self) -> list[str]:
        """What the numbers mean."""
        a, same, b = self.images
        total = a + same + b
        found = [
            f"interval: {CONFIDENCE:.0%} of {self.resamples} resamples of the {counted(total, 'image')}, seed "
            f"{self.seed}; B is better where the interval is above 0",
            f"F1 of all objects is higher in B on {counted(b, 'image')}, in A on {a}, and equal on {same}",
        ]
        if total < FEW_IMAGES:
            found.append(f"fewer than {FEW_IMAGES} images: the intervals are too narrow")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        a, same, b = self.images
        return {
            "differences": [difference.to_dict() for difference in self.differences],
            "images": {"a_is_better": a, "equal": same, "b_is_better": b},
            "confidence": CONFIDENCE,
            "resamples": self.resamples,
            "seed": self.seed,
            "notes": self.notes,
        }


def compare_runs(
    a: Evaluation, b: Evaluation, *, ap: bool = False, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare two runs: every resample draws images with replacement, and scores both runs on them.

    Args:
        a: The run to compare with.
        b: The run that may be better; of the same true records.
        ap: Whether to compare AP too, by hotcoco's own bootstrap; every object then needs a score.
        resamples: Number of resamples.
        seed: Of the draws; the same seed gives the same numbers.

    Raises:
        ConfigError: `resamples` is below 1, or there is no image.
        MissingPackageError: AP is asked for, and hotcoco is not installed.
        RecordError: The true records differ, or AP is asked for and an object has no score.
    """
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}")
    if not a.images:
        raise ConfigError("runs must have at least one image to compare, not none")
    if [str(r.pair.truth.origin) for r in a.images] != [str(r.pair.truth.origin) for r in b.images]:
        raise RecordError("both runs must be scored against the same true records")
    found = _f1_differences(a, b, resamples, seed)
    if ap:
        found += _ap_differences(a, b, resamples, seed)
    each = [(x.scores.objects.f1, y.scores.objects.f1) for x, y in zip(a.images, b.images, strict=True)]
    better = sum(x > y for x, y in each), sum(x == y for x, y in each), sum(x < y for x, y in each)
    return Comparison(tuple(found), better, resamples, seed)


def _f1_differences(a: Evaluation, b: Evaluation, resamples: int, seed: int) -> list[Difference]:
    counts = [np.array([_counts(result.scores) for result in run.images]) for run in (a, b)]
    totals = [_f1(each.sum(axis=0, keepdims=True)) for each in counts]
    drawn = [_f1(each) for each in _resampled(counts, resamples, seed)]
    has_lines = (a.total + b.total).truth_lines + (a.total + b.total).pred_lines > 0
    names = [name for name in totals[0] if has_lines or not name.startswith("lines")]
    found = []
    for name in names:
        spread = drawn[1][name] - drawn[0][name]
        low, high = np.quantile(spread, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)).tolist()
        ends = totals[0][name].item(), totals[1][name].item()
        found.append(Difference(f"F1 of {name}", *ends, low, high, float(np.mean(spread > 0))))
    return found


def _counts(scores: Scores) -> list[float]:
    """Return what the F1 of one image or many follows from, in the order in which `_f1` takes it."""
    regions = [scores.truth_regions, scores.pred_regions, *scores.found, *scores.found_captioned]
    lines = [scores.truth_lines, scores.pred_lines, scores.found_lines]
    return [*regions, *lines, scores.truth_px, scores.pred_px, scores.truth_covered_px, scores.pred_covered_px]


def _f1(sums: Floats) -> dict[str, Floats]:
    """Return each F1 of R samples by name, float64 (R,).

    Args:
        sums: Summed `_counts`, float64 (R, C).
    """
    t = len(THRESHOLDS)
    truth, pred, rest = sums[:, :1], sums[:, 1:2], sums[:, 2:]
    found, captioned, lines = rest[:, :t], rest[:, t : 2 * t], rest[:, 2 * t :]
    regions, same = _harmonic(truth, pred, found, found), _harmonic(truth, pred, captioned, captioned)
    objects = found[:, AT_50] + lines[:, 2]
    at_75 = THRESHOLDS.index(0.75)
    return {
        "all objects, 0.50": _harmonic(truth[:, 0] + lines[:, 0], pred[:, 0] + lines[:, 1], objects, objects),
        "boxes and polygons, 0.50": regions[:, AT_50],
        "boxes and polygons, 0.75": regions[:, at_75],
        f"boxes and polygons, {MEAN}": regions.mean(axis=1),
        "boxes and polygons with equal caption, 0.50": same[:, AT_50],
        f"boxes and polygons with equal caption, {MEAN}": same.mean(axis=1),
        "lines, by length": _harmonic(lines[:, 3], lines[:, 4], lines[:, 5], lines[:, 6]),
    }


def _harmonic(truth: Floats, pred: Floats, found_truth: Floats, found_pred: Floats) -> Floats:
    """As `dcap.evaluate.metrics.PrecisionRecall.f1`, for arrays that broadcast."""
    precision = np.where(pred > 0, found_pred / np.maximum(pred, 1e-300), truth == 0)
    recall = np.where(truth > 0, found_truth / np.maximum(truth, 1e-300), pred == 0)
    total = precision + recall
    out: Floats = np.divide(2.0 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return out


def _resampled(counts: Sequence[Floats], resamples: int, seed: int) -> list[Floats]:
    """Return the summed counts of each resample, float64 (R, C); the same images are drawn for all runs."""
    n = len(counts[0])
    rng = generator(seed)
    parts: list[list[Floats]] = []
    step = max(1, _MOST_WEIGHTS // n)
    for start in range(0, resamples, step):
        weights = rng.multinomial(n, np.full(n, 1.0 / n), size=min(step, resamples - start)).astype(np.float64)
        parts.append([weights @ each for each in counts])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _ap_differences(a: Evaluation, b: Evaluation, resamples: int, seed: int) -> list[Difference]:
    require_scores(a)
    require_scores(b)
    names = category_names([a, b])
    found = []
    for comparison in comparisons([a, b]):
        runs = [run_coco(run, names, comparison) for run in (a, b)]
        told = load_hotcoco().compare(*runs, n_bootstrap=resamples, seed=seed, confidence=CONFIDENCE)
        for key in ("AP", "AP50", "AP75"):
            spread = told["ci"][key]
            ends = told["metrics_a"][key], told["metrics_b"][key]
            if min(ends) < 0.0:  # there is no region to find
                continue
            found.append(
                Difference(f"{key} of {comparison}", *ends, spread["lower"], spread["upper"], spread["prob_positive"])
            )
    return found
