"""What is found on one image, object by object, from one matching at each threshold.

All scores follow from these counts: the totals of `metrics`, the tables of `breakdown`, and the
thresholds of `sweep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dcap.evaluate.captions import equal_captions, token_f1
from dcap.evaluate.categories import equal_categories, read_attributes
from dcap.evaluate.lines import Alongside, line_lengths, run_alongside
from dcap.evaluate.matching import (
    Floats,
    Matches,
    is_line,
    joined_similarity,
    match,
    reaches,
    right_by_score,
    similarity,
)
from dcap.evaluate.metrics import AT_50, THRESHOLDS, ScoreOptions, Scores
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import ShapeArray

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Side:
    """The objects of an image that are true, or those that are predicted.

    Raises:
        ValueError: Captions or scores have another length than shapes.
    """

    shapes: ShapeArray
    """N shapes in pixels of the image file."""
    captions: Sequence[str]
    """One per shape."""
    scores: Sequence[float | None] = ()
    """How sure the model was of each; empty without scores."""

    def __post_init__(self) -> None:
        if len(self.captions) != len(self.shapes) or len(self.scores) not in (0, len(self.shapes)):
            raise ValueError(f"captions and scores must be one per shape, {len(self.shapes)}")


@dataclass(frozen=True, slots=True, eq=False)
class SideCount:
    """The objects of one side, and whether each has a partner on the other one.

    ::

        kinds        uint8 (N,)        of GeometryKind
        areas        float64 (N,)      square pixels of the image file; NaN for a line
        categories   N texts           by the rule of the options
        paired       bool (T, N)       at each of THRESHOLDS, whatever the captions
        in_category  bool (T, N)       the same, with a partner of the same category
    """

    kinds: npt.NDArray[np.uint8]
    areas: Floats
    categories: tuple[str, ...]
    paired: Flags
    in_category: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The predictions of one image with their scores."""

    scores: Floats
    """float64 (M,), 0..1."""
    right: Flags
    """bool (M,): `right_by_score` at an IoU or agreement of 0.5, whatever the captions."""
    right_in_category: Flags
    """bool (M,): the same, with a true object of the same category."""


@dataclass(frozen=True, slots=True)
class AttributeCount:
    """How often an attribute was there, and right; counts add up."""

    truth: int = 0
    """True objects that have it."""
    paired: int = 0
    """Of these, the ones that a prediction was matched with at 0.5."""
    right: int = 0
    """Of these, the ones whose prediction has the same value."""

    def __add__(self, other: AttributeCount) -> AttributeCount:
        return AttributeCount(self.truth + other.truth, self.paired + other.paired, self.right + other.right)


@dataclass(frozen=True, slots=True, eq=False)
class ImageCount:
    """All that is counted on one image."""

    scores: Scores
    truth: SideCount
    pred: SideCount
    attributes: Mapping[str, AttributeCount]
    """By the key of ``key=value`` captions."""
    ranked: Ranked | None
    """`None`: a prediction has no score."""


def count_image(
    truth: Side, pred: Side, options: ScoreOptions | None = None, diagonal: float | None = None
) -> ImageCount:
    """Match the objects of one answered image, and count.

    Pairs are made without regard to captions, which only settle ties. What must have equal captions or categories is
    matched anew among pairs that do.

    Args:
        truth: The true objects.
        pred: The predicted objects.
        options: Tolerances, thresholds, and the rule of categories. `None`: the defaults.
        diagonal: Of the image, in pixels. `None`: unknown, so nothing is measured relative to it.
    """
    options = options or ScoreOptions()
    regions, others = ~is_line(truth.shapes), ~is_line(pred.shapes)
    lines, pred_lines = truth.shapes.take(~regions), pred.shapes.take(~others)
    near = run_alongside(lines, pred_lines, options.line_tolerance_px)
    alike = joined_similarity(truth.shapes, pred.shapes, near.agreement)
    equal = equal_captions(truth.captions, pred.captions)
    overlap = _caption_overlap(truth.captions, pred.captions, equal, alike > 0.0)
    pairs = match(alike, THRESHOLDS[AT_50], tie=0.5 * equal + 0.5 * overlap)
    anyhow = [pairs, *(match(alike, t) for t in THRESHOLDS[1:])]
    captioned = _matches(alike * equal)
    rule = options.category
    categories = rule.categories(truth.captions), rule.categories(pred.captions)
    same = equal if rule.kind == "caption" else equal_categories(*categories)
    in_category = captioned if same is equal else _matches(alike * same)
    scores = Scores(
        images=1,
        answers=1,
        clean_answers=1,
        truth_regions=int(regions.sum()),
        pred_regions=int(others.sum()),
        found=tuple(int(regions[m.truth].sum()) for m in anyhow),
        found_captioned=tuple(int(regions[m.truth].sum()) for m in captioned),
        found_lines=int((~regions[pairs.truth]).sum()),
        pairs=len(pairs),
        pairs_iou=float(alike[pairs.truth, pairs.pred].sum()),
        equal_captions=int(equal[pairs.truth, pairs.pred].sum()),
        captions_f1=float(overlap[pairs.truth, pairs.pred].sum()),
        duplicates=count_duplicates(pred.shapes, pred.captions, options),
        empty_images=int(not len(truth.shapes)),
        disturbed_images=int(not len(truth.shapes) and len(pred.shapes) > 0),
        empty_image_predictions=0 if len(truth.shapes) else len(pred.shapes),
    )
    return ImageCount(
        scores=scores + _count_lines(lines, pred_lines, near, options, diagonal),
        truth=_found(truth.shapes, categories[0], [m.truth for m in anyhow], [m.truth for m in in_category]),
        pred=_found(pred.shapes, categories[1], [m.pred for m in anyhow], [m.pred for m in in_category]),
        attributes=_count_attributes(truth.captions, pred.captions, pairs),
        ranked=_rank(reaches(alike, THRESHOLDS[AT_50]), same, pred),
    )


def _matches(alike: Floats) -> list[Matches]:
    """Return the matching at each threshold."""
    return [match(alike, threshold) for threshold in THRESHOLDS]


def _found(
    shapes: ShapeArray, categories: tuple[str, ...], paired: Sequence[npt.NDArray[np.int64]],
    in_category: Sequence[npt.NDArray[np.int64]],
) -> SideCount:  # fmt: skip
    areas = np.where(is_line(shapes), np.nan, area_or_length(shapes))
    return SideCount(shapes.kinds, areas, categories, _flags(paired, len(shapes)), _flags(in_category, len(shapes)))


def _flags(chosen: Sequence[npt.NDArray[np.int64]], count: int) -> Flags:
    """Return which of `count` objects are chosen at each threshold, bool (T, count)."""
    out = np.zeros((len(chosen), count), np.bool_)
    for row, index in zip(out, chosen, strict=True):
        row[index] = True
    return out


def _count_lines(
    a: ShapeArray, b: ShapeArray, near: Alongside, options: ScoreOptions, diagonal: float | None
) -> Scores:
    """Return the counts of the lines of an image: lengths within both tolerances, and pairs of the relative one."""
    if not len(a) and not len(b):
        return Scores()
    lengths = float(line_lengths(a).sum()), float(line_lengths(b).sum())
    out = Scores(
        truth_lines=len(a),
        pred_lines=len(b),
        truth_px=lengths[0],
        pred_px=lengths[1],
        truth_covered_px=float(near.covered_a.sum()),
        pred_covered_px=float(near.covered_b.sum()),
    )
    if diagonal is None:
        return out
    to_scale = run_alongside(a, b, options.line_tolerance_share * diagonal)
    return out + Scores(
        sized_truth_lines=len(a),
        sized_pred_lines=len(b),
        sized_found_lines=len(match(to_scale.agreement, THRESHOLDS[AT_50])),
        sized_truth_px=lengths[0],
        sized_pred_px=lengths[1],
        sized_truth_covered_px=float(to_scale.covered_a.sum()),
        sized_pred_covered_px=float(to_scale.covered_b.sum()),
    )


def count_duplicates(pred: ShapeArray, captions: Sequence[str], options: ScoreOptions) -> int:
    """Return the number of duplicates: all predictions in clusters of repeats, less one per cluster."""
    equal = equal_captions(captions, captions)
    some = np.flatnonzero(equal.sum(axis=1) > 1)  # others cannot be repeats, and most objects are among them
    if not len(some):
        return 0
    shapes = pred.take(some)
    alike = similarity(shapes, shapes, options.line_tolerance_px)
    linked = (alike > options.duplicate_iou) & equal[np.ix_(some, some)]
    links = coo_array((linked[linked], np.divmod(np.flatnonzero(linked), len(some))), shape=linked.shape)
    return len(some) - int(connected_components(links, directed=False)[0])


def _caption_overlap(a: Sequence[str], b: Sequence[str], equal: Flags, wanted: Flags) -> Floats:
    """Return the token F1 of the wanted pairs, float64 (len a, len b); 1 where the captions are equal."""
    out = equal.astype(np.float64)
    for i, j in np.argwhere(wanted & ~equal):
        out[i, j] = token_f1(a[i], b[j])
    return out


def _count_attributes(truth: Sequence[str], pred: Sequence[str], pairs: Matches) -> Mapping[str, AttributeCount]:
    true = [read_attributes(caption) for caption in truth]
    if not any(true):
        return {}
    partner = dict(zip(pairs.truth.tolist(), pairs.pred.tolist(), strict=True))
    counts: Counter[tuple[str, bool, bool]] = Counter()
    for i, attributes in enumerate(true):
        answered = read_attributes(pred[partner[i]]) if i in partner else {}
        counts.update((key, i in partner, answered.get(key) == value) for key, value in attributes.items())
    found: dict[str, AttributeCount] = {}
    for (key, paired, right), n in counts.items():
        found[key] = found.get(key, AttributeCount()) + AttributeCount(n, n * paired, n * right)
    return found


def _rank(allowed: Flags, same: Flags, pred: Side) -> Ranked | None:
    if len(pred.scores) != len(pred.shapes) or any(score is None for score in pred.scores):
        return None
    scores = np.array(pred.scores, np.float64)
    return Ranked(scores, right_by_score(allowed, scores), right_by_score(allowed & same, scores))
