"""Thresholds of the score, against evaluations of what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.evaluate.matching import match, reaches, right_by_score
from dcap.evaluate.sweep import Sweep, scored
from support.score_cases import box, count_all, line

TRUTH = [box(0, 0, 10, 10), box(50, 0, 60, 10), box(0, 50, 10, 60), line(0, 80, 40, 80)]


def test_each_threshold_is_the_evaluation_of_what_is_left() -> None:
    pred = [box(0, 0, 10, 10), box(0, 0, 10, 9), line(0, 81, 40, 81), box(90, 90, 99, 99), box(50, 0, 60, 10, "mug")]
    scores = (0.9, 0.9, 0.7, 0.4, 0.2)
    sweep = Sweep.of([count_all(TRUTH, pred, scores)])
    assert sweep is not None
    assert sweep.thresholds.tolist() == [0.9, 0.7, 0.4, 0.2]
    assert sweep.kept.tolist() == [2, 3, 4, 5]
    assert sweep.found.tolist() == [1, 2, 2, 3]
    assert (sweep.best, sweep.score(3).f1) == (3, pytest.approx(2 * 3 / 9))
    in_category = Sweep.of([count_all(TRUTH, [{**p, "desc": "cup"} for p in pred], scores)], in_category=True)
    assert in_category is not None
    assert in_category.found.tolist() == [1, 1, 1, 2]  # the line is a road


def test_a_sweep_needs_a_score_for_each_prediction() -> None:
    whole, none = count_all(TRUTH, TRUTH[:1], (0.5,)), count_all(TRUTH, TRUTH[:1])
    assert Sweep.of([whole, none]) is None
    assert Sweep.of([count_all(TRUTH, [])]) is None
    assert Sweep.of([whole, count_all(TRUTH, [])]) is not None
    assert scored([whole, none, count_all(TRUTH, [])]) == (2, 1)


def test_many_thresholds_are_thinned_and_the_best_stays() -> None:
    n = 500
    counts = [count_all([box(0, 0, 9, 9)] if k < 137 else [], [box(0, 0, 9, 9)], (1 - k / n,)) for k in range(n)]
    sweep = Sweep.of(counts)
    assert sweep is not None
    assert sweep.best == 136
    told = sweep.told(10)
    assert {0, 136, n - 1} <= set(told)
    assert len(told) <= 11
    assert sweep.to_dict()["best"] == {"score": pytest.approx(1 - 136 / n), "kept": 137, "precision": 1.0,
                                       "recall": 1.0, "f1": 1.0}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 6), st.integers(0, 7), st.integers(0, 10_000))
def test_right_ones_above_any_score_are_the_pairs_of_a_matching(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alike, scores = rng.random((n, m)).round(1), rng.random(m).round(1)
    right = right_by_score(reaches(alike, 0.6), scores)
    for least in (0.0, *scores):
        kept = scores >= least
        assert right[kept].sum() == len(match(alike[:, kept], 0.6))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5).map(lambda k: k / 5)), max_size=6))
def test_the_last_threshold_keeps_all(boxes: list[tuple[int, float]]) -> None:
    pred: list[Any] = [box(x, 0, x + 10, 10) for x, _ in boxes]
    count = count_all(TRUTH, pred, [score for _, score in boxes])
    sweep = Sweep.of([count])
    if sweep is None:
        assert not boxes
        return
    last = sweep.score(len(sweep.thresholds) - 1)
    assert (last.precision, last.recall) == (count.scores.objects.precision, count.scores.objects.recall)
