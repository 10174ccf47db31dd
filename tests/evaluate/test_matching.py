"""Similarity of shapes and their one-to-one matching."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from shapely.geometry import Polygon

from dcap.evaluate import matching
from dcap.evaluate.matching import match, right_by_score, similarity
from dcap.geometry.shapes import ShapeArray


def box(x1: float, y1: float, x2: float, y2: float) -> dict[str, list[float]]:
    return {"bbox_2d": [x1, y1, x2, y2]}


def test_box_against_box_is_plain_iou() -> None:
    truth = ShapeArray.from_objects([box(0, 0, 10, 10)])
    pred = ShapeArray.from_objects([box(5, 0, 15, 10), box(0, 0, 10, 10), box(10, 0, 20, 10)])
    np.testing.assert_allclose(similarity(truth, pred, 5.0), [[1 / 3, 1.0, 0.0]], atol=1e-12)


def test_box_against_polygon_compares_areas() -> None:
    truth = ShapeArray.from_objects([box(0, 0, 10, 10)])
    pred = ShapeArray.from_objects([{"poly": [0, 0, 10, 0, 0, 10]}])
    assert similarity(truth, pred, 5.0)[0, 0] == pytest.approx(0.5)


def test_region_and_line_are_never_alike() -> None:
    truth = ShapeArray.from_objects([box(0, 0, 10, 10), {"line": [0, 5, 10, 5]}])
    pred = ShapeArray.from_objects([{"line": [0, 5, 10, 5]}, box(0, 0, 10, 10)])
    np.testing.assert_allclose(similarity(truth, pred, 5.0), [[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize("counts", [(0, 0), (0, 2), (2, 0)])
def test_empty_sides(counts: tuple[int, int]) -> None:
    truth, pred = (ShapeArray.from_objects([box(0, 0, 1, 1)] * n) for n in counts)
    alike = similarity(truth, pred, 5.0)
    assert alike.shape == counts
    assert len(match(alike, 0.5)) == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_regions_equal_shapely(data: st.DataObject) -> None:
    def ring() -> npt.NDArray[np.float64]:
        angles = sorted(data.draw(st.lists(st.integers(0, 359), min_size=3, max_size=8, unique=True)))
        radii = data.draw(st.lists(st.integers(5, 40), min_size=len(angles), max_size=len(angles)))
        rad = np.deg2rad(angles)
        return (50 + np.stack([np.cos(rad), np.sin(rad)], 1) * np.array(radii)[:, None]).round(3)

    rings = [ring() for _ in range(4)]
    polygons = [Polygon(r) for r in rings]
    if not all(p.is_valid and p.area > 1 for p in polygons):
        return
    shapes = ShapeArray.from_objects([{"poly": r.ravel().tolist()} for r in rings])
    expected = [[a.intersection(b).area / a.union(b).area for b in polygons[2:]] for a in polygons[:2]]
    np.testing.assert_allclose(similarity(shapes.take([0, 1]), shapes.take([2, 3]), 5.0), expected, atol=1e-9)


def test_more_pairs_win_over_more_similarity() -> None:
    # Greedy would take 0.95 and leave the second true object without a partner.
    alike = np.array([[0.95, 0.6], [0.6, 0.0]])
    found = match(alike, 0.5)
    assert found.truth.tolist() == [0, 1]
    assert found.pred.tolist() == [1, 0]


def test_threshold_is_inclusive_and_forgives_rounding_only() -> None:
    assert len(match(np.array([[0.5]]), 0.5)) == 1
    assert len(match(np.array([[0.5 - 1e-12]]), 0.5)) == 1
    assert len(match(np.array([[0.4999]]), 0.5)) == 0


def test_ties_are_settled_by_preference_only() -> None:
    alike = np.array([[0.8, 0.8], [0.8, 0.8]])
    assert match(alike, 0.5, tie=np.array([[0.0, 1.0], [1.0, 0.0]])).pred.tolist() == [1, 0]
    clear = np.array([[0.8, 0.7], [0.7, 0.8]])
    assert match(clear, 0.5, tie=np.array([[0.0, 1.0], [1.0, 0.0]])).pred.tolist() == [0, 1]


@pytest.mark.parametrize("most", [0, 10_000])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.floats(0, 1), st.integers(0, 10_000))
def test_parts_are_matched_as_the_whole(most: int, n: int, m: int, share: float, seed: int) -> None:
    """The same number of pairs, similarity, preferences and right predictions as one assignment of all objects."""
    random = np.random.default_rng(seed)
    alike = random.random((n, m)) * (random.random((n, m)) < share)
    tie, scores = random.random((n, m)), random.random(m)
    allowed = alike >= 0.5
    gain = np.where(allowed, alike + 1e-6 * tie + 100.0, 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    wanted = {(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_ONE_BLOCK", most)
        found = match(alike, 0.5, tie)
        right = right_by_score(allowed, scores)
    assert set(zip(found.truth.tolist(), found.pred.tolist(), strict=True)) == wanted
    assert found.truth.tolist() == sorted(found.truth.tolist())
    taken: list[int] = []
    for j in np.argsort(-scores).tolist():
        chosen = allowed[:, [*taken, j]]
        if chosen[linear_sum_assignment(chosen, maximize=True)].sum() == len(taken) + 1:
            taken.append(j)
    assert np.flatnonzero(right).tolist() == sorted(taken)


def test_neighbours_are_matched_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 1000 objects may be one of two predictions, in groups of ten: the time must not grow with all of them."""
    k, sizes = np.arange(1000), []
    alike = np.zeros((1000, 1000))
    alike[k, k] = 0.6
    alike[k[:-1], k[:-1] + 1] = np.where(k[1:] % 10, 0.9, 0.0)

    def assign(gain: npt.NDArray[np.float64], maximize: bool) -> Any:
        sizes.append(gain.shape)
        return linear_sum_assignment(gain, maximize)

    monkeypatch.setattr(matching, "linear_sum_assignment", assign)
    assert len(match(alike, 0.5)) == 1000
    assert sizes == [(10, 10)] * 100


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10_000))
def test_one_to_one_and_most_pairs(n: int, m: int, seed: int) -> None:
    alike = np.random.default_rng(seed).random((n, m)).round(1)
    found = match(alike, 0.5)
    assert len(set(found.truth.tolist())) == len(set(found.pred.tolist())) == len(found)
    assert (alike[found.truth, found.pred] >= 0.5).all()
    rows, columns = linear_sum_assignment((alike >= 0.5).astype(float), maximize=True)
    assert len(found) == int((alike >= 0.5)[rows, columns].sum())
