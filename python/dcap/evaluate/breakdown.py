"""The scores of groups of objects: of each kind of shape, of each size, of each category.

No object is matched again: the pairs of the totals are shared out. A true object counts in the group that it is in, and
so does a predicted one; their groups may differ, except where they are categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.evaluate.categories import NO_CATEGORY
from dcap.evaluate.counting import AttributeCount, ImageCount, SideCount
from dcap.evaluate.metrics import THRESHOLDS, PrecisionRecall, at_thresholds
from dcap.geometry.shapes import GeometryKind

SIZES: dict[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, float("inf")),
}
"""Least area, and the area that is too large, of each size in square pixels of the image file. The bounds are COCO's;
COCO counts an object on a bound twice."""


@dataclass(frozen=True, slots=True)
class GroupScore:
    """The score of a group of objects, at each of `THRESHOLDS`."""

    name: str
    truth: int
    """True objects of the group."""
    pred: int
    """Predicted objects of the group."""
    found_truth: tuple[int, ...]
    """True objects of the group that have a partner."""
    found_pred: tuple[int, ...]
    """Predicted objects of the group that have a partner."""

    def at(self, iou: float) -> PrecisionRecall:
        """Return the score at one of `THRESHOLDS`."""
        k = THRESHOLDS.index(iou)
        return PrecisionRecall(self.truth, self.pred, self.found_truth[k], self.found_pred[k])

    def to_dict(self) -> dict[str, Any]:
        """Return counts, and the scores at `dcap.evaluate.metrics.TOLD` and their mean."""
        scores = at_thresholds([self.at(iou) for iou in THRESHOLDS])
        return {"name": self.name, "truth": self.truth, "predicted": self.pred, **scores}


def by_kind(counts: Sequence[ImageCount]) -> list[GroupScore]:
    """Return the score of boxes, polygons and lines, whatever their captions; kinds that are nowhere are left out.

    A true polygon that a predicted box covers well enough is found.
    """
    names = [kind.name.lower() for kind in GeometryKind]
    truth, pred = (_joined([side.kinds for side in sides], np.uint8) for sides in _sides(counts))
    return [group for group in _groups(names, truth, pred, *_paired(counts)) if group.truth or group.pred]


def by_size(counts: Sequence[ImageCount]) -> list[GroupScore]:
    """Return the score of boxes and polygons of each of `SIZES`, whatever their captions."""
    bounds = [low for low, _ in SIZES.values()]
    codes = []
    for sides in _sides(counts):
        areas = _joined([side.areas for side in sides], np.float64)
        codes.append(np.where(np.isnan(areas), len(bounds), np.searchsorted(bounds, areas, side="right") - 1))
    return _groups(list(SIZES), codes[0], codes[1], *_paired(counts))


def by_category(counts: Sequence[ImageCount]) -> list[GroupScore]:
    """Return the score of each category: pairs are made among objects of one category.

    Returns:
        Categories with the most true objects first, then those with the most predictions, then by name.
    """
    codes: dict[str, int] = {}
    truth, pred = (
        np.array([codes.setdefault(name, len(codes)) for side in sides for name in side.categories], np.int64)
        for sides in _sides(counts)
    )
    flags = [[side.in_category for side in sides] for sides in _sides(counts)]
    groups = _groups(list(codes), truth, pred, *map(_all_flags, flags))
    return sorted(groups, key=lambda group: (-group.truth, -group.pred, group.name))


def fold_tail(groups: Sequence[GroupScore], most: int) -> tuple[list[GroupScore], GroupScore | None]:
    """Return the first groups, and all others as one. `None`: there are no others."""
    rest = groups[most:]
    if not rest:
        return list(groups), None
    found = [np.sum([getattr(group, name) for group in rest], axis=0) for name in ("found_truth", "found_pred")]
    return list(groups[:most]), GroupScore(
        f"{len(rest)} others", sum(g.truth for g in rest), sum(g.pred for g in rest),
        tuple(found[0].tolist()), tuple(found[1].tolist()),
    )  # fmt: skip


def mean_over(groups: Sequence[GroupScore]) -> dict[str, dict[str, float]]:
    """Return the mean of the scores of the groups that have a true object: each weighs the same. Empty without any.

    Objects without a category are no group.
    """
    scores = [group.to_dict() for group in groups if group.truth and group.name != NO_CATEGORY]
    names = [name for name in scores[0] if name not in ("name", "truth", "predicted")] if scores else []
    return {
        name: {key: float(np.mean([score[name][key] for score in scores])) for key in scores[0][name]} for name in names
    }


def sum_attributes(counts: Iterable[ImageCount]) -> dict[str, AttributeCount]:
    """Return the attribute counts of all images, the most frequent first."""
    by_key: dict[str, list[AttributeCount]] = {}
    for count in counts:
        for key, attribute in count.attributes.items():
            by_key.setdefault(key, []).append(attribute)
    total = {key: reduce(add, each) for key, each in by_key.items()}
    return dict(sorted(total.items(), key=lambda item: (-item[1].truth, item[0])))


def breakdown_tree(counts: Sequence[ImageCount], rule: str) -> dict[str, Any]:
    """Return the tables as plain data, ready for JSON; categories are not folded.

    Args:
        counts: One per image.
        rule: The rule of categories, in words.
    """
    categories = by_category(counts)
    return {
        "by_kind": [group.to_dict() for group in by_kind(counts)],
        "by_size": [
            {**group.to_dict(), "area_px": [low, high if np.isfinite(high) else None]}
            for group, (low, high) in zip(by_size(counts), SIZES.values(), strict=True)
        ],
        "by_category": {
            "rule": rule, "mean": mean_over(categories), "categories": [group.to_dict() for group in categories],
        },
        "attributes": {
            key: {"truth": a.truth, "paired": a.paired, "right": a.right, "recall": a.right / a.truth,
                  "recall_of_paired": a.right / a.paired if a.paired else None}
            for key, a in sum_attributes(counts).items()
        },
    }  # fmt: skip


def _sides(counts: Sequence[ImageCount]) -> tuple[list[SideCount], list[SideCount]]:
    return [count.truth for count in counts], [count.pred for count in counts]


def _paired(counts: Sequence[ImageCount]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    truth, pred = _sides(counts)
    return _all_flags([side.paired for side in truth]), _all_flags([side.paired for side in pred])


def _all_flags(parts: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    return np.concatenate([np.zeros((len(THRESHOLDS), 0), np.bool_), *parts], axis=1)


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _groups(
    names: Sequence[str],
    truth: npt.NDArray[Any],
    pred: npt.NDArray[Any],
    found_truth: npt.NDArray[np.bool_],
    found_pred: npt.NDArray[np.bool_],
) -> list[GroupScore]:
    """Count by group; objects whose code is past the names belong to none."""
    n = len(names)
    truths, preds = np.bincount(truth, minlength=n), np.bincount(pred, minlength=n)
    by_group = [
        [tuple(column) for column in np.array([np.bincount(codes[row], minlength=n)[:n] for row in found]).T.tolist()]
        for codes, found in ((truth, found_truth), (pred, found_pred))
    ]
    return [GroupScore(names[k], int(truths[k]), int(preds[k]), by_group[0][k], by_group[1][k]) for k in range(n)]
