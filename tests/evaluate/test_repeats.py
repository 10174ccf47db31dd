"""Objects of one answer that say the same thing again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.answers.prediction import Dropped, Prediction
from dcap.core.errors import ConfigError
from dcap.evaluate import repeats
from dcap.evaluate.repeats import Pruning, exact_repeats, overlapping, prune
from dcap.geometry.canvas import Canvas
from dcap.geometry.measures import polygon_iou
from dcap.geometry.shapes import ShapeArray
from support.score_cases import box, line

ONE, TWIN = box(0, 0, 10, 10), box(0, 0, 10, 11)


def prediction(objects: list[dict[str, Any]], scores: tuple[float | None, ...] = ()) -> Prediction:
    captions = tuple(each["desc"] for each in objects)
    return Prediction("a.jpg", Canvas(80, 100), ShapeArray.from_objects(objects), captions, scores, text="as written")


def flags(objects: list[dict[str, Any]]) -> list[bool]:
    pred = prediction(objects)
    return exact_repeats(pred.shapes, pred.captions).tolist()


def test_a_repeat_has_the_kind_the_points_and_the_caption_of_an_earlier_object() -> None:
    assert flags([ONE, ONE, TWIN, box(0, 0, 10, 10, "Cup"), ONE]) == [False, True, False, False, True]
    assert flags([{"poly": [0, 0, 9, 0, 9, 9], "desc": "a"}, line(0, 0, 9, 0, 9, 9, desc="a")]) == [False, False]
    assert flags([]) == []


def test_the_better_of_two_that_overlap_stays() -> None:
    pred = prediction([ONE, TWIN, box(0, 0, 10, 10, "mug"), line(0, 0, 9, 9), line(0, 0, 9, 9)])
    assert overlapping(pred.shapes, pred.captions, (), 0.5).tolist() == [False, True, False, False, False]
    scored = overlapping(pred.shapes, pred.captions, (0.1, 0.8, 0.1, 0.1, 0.1), 0.5)
    assert scored.tolist() == [True, False, False, False, False]
    assert not overlapping(pred.shapes, pred.captions, (), 10 / 11).any()


def test_only_objects_of_one_caption_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counted(a: ShapeArray, b: ShapeArray) -> Any:
        compared.append(len(a) * len(b))
        return polygon_iou(a, b)

    monkeypatch.setattr(repeats, "polygon_iou", counted)
    shapes = ShapeArray.from_objects([box(0, 0, 10, 10)] * 6)
    flags = overlapping(shapes, ["a", "b", "A ", "c", "a", "b"], (0.1, 0.2, 0.3, 0.4, 0.2, 0.3), 0.5)
    assert flags.tolist() == [True, True, False, False, True, False]
    assert compared == [9, 4]


def test_objects_without_a_score_are_worth_least() -> None:
    pred = prediction([ONE, TWIN])
    assert overlapping(pred.shapes, pred.captions, (None, 0.0), 0.5).tolist() == [True, False]


def test_what_is_dropped_is_counted_and_the_text_stays() -> None:
    pred = prediction([ONE, ONE, TWIN, box(50, 0, 60, 10)], (0.9, 0.9, 0.8, 0.1))
    left = prune(pred, Pruning(repeats=True, suppress_iou=0.7, least_score=0.5))
    assert (left.captions, left.scores, left.text) == (("cup",), (0.9,), "as written")
    assert left.dropped == Dropped(repeats=1, overlaps=1, unsure=1)
    assert prune(left, Pruning(repeats=True)).dropped == left.dropped
    assert prune(pred, Pruning()) == pred


def test_objects_without_a_score_are_not_unsure() -> None:
    assert len(prune(prediction([ONE, TWIN], (None, 0.2)), Pruning(least_score=0.5)).shapes) == 1
    assert len(prune(prediction([ONE, TWIN]), Pruning(least_score=0.5)).shapes) == 2


@pytest.mark.parametrize("options", [{"suppress_iou": 1.5}, {"least_score": -0.1}, {"least_score": float("nan")}])
def test_shares_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"must be within 0\.\.1"):
        Pruning(**options)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9), st.sampled_from([None, 0.2, 0.5, 0.9])), max_size=8))
def test_nothing_that_stays_overlaps_and_all_that_goes_did(objects: list[tuple[int, int, float | None]]) -> None:
    shapes = ShapeArray.from_objects([box(x, 0, x + w, 10) for x, w, _ in objects])
    gone = overlapping(shapes, ["a"] * len(objects), [score for *_, score in objects], 0.3)
    near = polygon_iou(shapes, shapes) > 0.3
    np.fill_diagonal(near, False)
    assert not near[np.ix_(~gone, ~gone)].any()
    assert near[np.ix_(gone, ~gone)].any(axis=1).all()
