"""One-to-one matching of predicted and true objects of one image.

Owns the similarity of two shapes and the optimal assignment. `counting` counts the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dcap.evaluate.lines import line_agreement
from dcap.geometry.measures import polygon_iou
from dcap.geometry.shapes import GeometryKind, ShapeArray

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_ROUNDING = 1e-9
_TIE = 1e-6
_ONE_BLOCK = 4096
"""Pairs up to which a matching is not divided, as that takes longer than it saves."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of one image: true object ``truth[k]`` was found by prediction ``pred[k]``; int64 (K,) each."""

    truth: npt.NDArray[np.int64]
    pred: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)


def is_line(shapes: ShapeArray) -> npt.NDArray[np.bool_]:
    """Return which shapes are lines, bool (N,); the others are regions: boxes and polygons."""
    return np.asarray(shapes.kinds == GeometryKind.LINE)


def similarity(truth: ShapeArray, pred: ShapeArray, line_tolerance_px: float) -> Floats:
    """Return how alike each true and predicted shape are.

    Two regions are compared by the exact IoU of their areas, a box against a polygon too; two lines by
    `line_agreement`; a region and a line are never alike.

    Args:
        truth: N true shapes, pixel-edge frame of the image file.
        pred: M predicted shapes of the same frame.
        line_tolerance_px: Distance within which lines run together, in pixels.

    Returns:
        float64 (N, M), within 0..1.
    """
    agreement = line_agreement(truth.take(is_line(truth)), pred.take(is_line(pred)), line_tolerance_px)
    return joined_similarity(truth, pred, agreement)


def joined_similarity(truth: ShapeArray, pred: ShapeArray, agreement: Floats) -> Floats:
    """As `similarity`, with the agreement of the lines of both sides, in order."""
    truth_lines, pred_lines = is_line(truth), is_line(pred)
    if not truth_lines.any() and not pred_lines.any():
        return polygon_iou(truth, pred)
    out = np.zeros((len(truth), len(pred)))
    if not truth_lines.all() and not pred_lines.all():
        regions = polygon_iou(truth.take(~truth_lines), pred.take(~pred_lines))
        out[np.ix_(~truth_lines, ~pred_lines)] = regions
    if agreement.size:
        out[np.ix_(truth_lines, pred_lines)] = agreement
    return out


def match(alike: Floats, threshold: float, tie: Floats | None = None) -> Matches:
    """Pair objects so that the number of pairs at or above the threshold is largest, then their similarity.

    A greedy choice by similarity can lose pairs that exist; this one is optimal and does not depend on the order
    of the objects.

    Args:
        alike: Similarity, float64 (N, M), within 0..1.
        threshold: Least similarity of a pair, above 0; 1e-9 is forgiven for rounding.
        tie: Preference among pairs of equal similarity, float64 (N, M), within 0..1. `None`: no preference.

    Returns:
        The pairs, by rising index of the true object.

    Source: Kuhn, "The Hungarian method for the assignment problem", 1955 (scipy's linear_sum_assignment).
    """
    allowed = reaches(alike, threshold)
    (truth, pred), blocks = _blocks(allowed)
    found = [(truth, pred)]
    for rows, columns in blocks:
        block = np.ix_(rows, columns)
        gain = alike[block] if tie is None else alike[block] + _TIE * tie[block]
        # One pair more must outweigh any loss of similarity, so it counts more than all similarities together.
        gain = np.where(allowed[block], gain + 2.0 * (min(len(rows), len(columns)) + 1), 0.0)
        chosen_rows, chosen_columns = linear_sum_assignment(gain, maximize=True)
        kept = allowed[block][chosen_rows, chosen_columns]
        found.append((rows[chosen_rows[kept]], columns[chosen_columns[kept]]))
    truth, pred = map(np.concatenate, zip(*found, strict=True))
    order = np.argsort(truth)
    return Matches(truth[order], pred[order])


def reaches(alike: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which similarities are at or above a threshold; 1e-9 is forgiven for rounding."""
    return alike >= threshold - _ROUNDING


def right_by_score(allowed: npt.NDArray[np.bool_], scores: Floats) -> npt.NDArray[np.bool_]:
    """Return which predictions are right if they come one by one, by falling score.

    A prediction is right if it and all earlier right ones can be paired with true objects at once. So the number of
    right ones above any score is the number of pairs that `match` finds among the predictions above it: one matching
    gives the counts of all thresholds.

    Args:
        allowed: Which pairs are good enough, bool (N, M).
        scores: How sure the model was of each prediction, float64 (M,); of equal ones the first comes first.

    Returns:
        bool (M,).

    Source: Edmonds, "Matroids and the greedy algorithm", 1971: the sets of predictions that can be paired are a
    transversal matroid, whose heaviest set is the greedy one, whatever the weights that keep the order.
    """
    right = np.zeros(len(scores), np.bool_)
    weight = np.empty(len(scores))
    weight[np.argsort(-scores, kind="stable")] = np.arange(len(scores), 0, -1)
    (_, alone), blocks = _blocks(allowed)
    right[alone] = True
    for rows, columns in blocks:
        block = allowed[np.ix_(rows, columns)]
        chosen_rows, chosen_columns = linear_sum_assignment(block * weight[columns], maximize=True)
        right[columns[chosen_columns]] = block[chosen_rows, chosen_columns]
    return right


def _blocks(allowed: npt.NDArray[np.bool_]) -> tuple[tuple[Indices, Indices], list[tuple[Indices, Indices]]]:
    """Divide a matching into parts that have nothing to do with each other.

    The time of an assignment grows with the third power of its size, and an image of thousands of objects has many
    small groups of neighbours.

    Args:
        allowed: Which pairs are good enough, bool (N, M).

    Returns:
        First, rows and columns of the settled pairs: both sides have no other choice. Then the other parts, each with
        its rows and columns.
    """
    # Much faster than nonzero of an array of two dimensions.
    rows, columns = np.divmod(np.flatnonzero(allowed), max(allowed.shape[1], 1))
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    settled = rows[alone], columns[alone]
    rows, columns = rows[~alone], columns[~alone]
    some_rows, row = np.unique(rows, return_inverse=True)
    some_columns, column = np.unique(columns, return_inverse=True)
    n, m = len(some_rows), len(some_columns)
    if n * m <= _ONE_BLOCK:
        return settled, [(some_rows, some_columns)] if n else []
    graph = coo_array((np.ones(len(rows), np.bool_), (row, n + column)), shape=(n + m, n + m))
    count, part = connected_components(graph, directed=False)
    divided = (_by_part(some_rows, part[:n], count), _by_part(some_columns, part[n:], count))
    return settled, list(zip(*divided, strict=True))


def _by_part(things: Indices, part: Indices, count: int) -> list[Indices]:
    """Return the things of each of `count` parts."""
    order = np.argsort(part, kind="stable")
    return np.split(things[order], np.searchsorted(part[order], np.arange(1, count)))
