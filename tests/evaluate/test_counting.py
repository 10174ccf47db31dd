"""What is counted on an image, and the scores that follow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.evaluate.categories import CategoryRule
from dcap.evaluate.counting import AttributeCount, Side, count_duplicates, count_image
from dcap.evaluate.metrics import THRESHOLDS, PrecisionRecall, ScoreOptions, Scores
from dcap.geometry.shapes import ShapeArray
from support.score_cases import box, count, count_all, line, side


def test_perfect_prediction_scores_one_everywhere() -> None:
    objects = [box(0, 0, 10, 10), {"poly": [20, 0, 30, 0, 25, 9], "desc": "tent"}, line(0, 50, 80, 60)]
    total = count(objects, objects).to_dict()
    for name in ("0.50", "0.75", "0.50:0.95"):
        assert total["regions"][name] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
        assert total["regions_with_caption"][name]["f1"] == 1.0
    assert total["lines"]["f1"] == pytest.approx(1.0)
    assert total["objects"]["f1"] == 1.0
    assert total["captions"]["exact"] == total["captions"]["token_f1"] == 1.0
    assert total["captions"]["pairs"] == 3
    assert total["duplicates"] == {"count": 0, "rate": 0.0}


@pytest.mark.parametrize("shift", [0, 1, 2, 5, 10, 20, 33, 34, 50, 100])
def test_shifted_box_is_found_up_to_its_known_iou(shift: int) -> None:
    iou = (100 - shift) / (100 + shift)
    found = count([box(0, 0, 100, 40)], [box(shift, 0, 100 + shift, 40)]).found
    assert found == tuple(int(iou >= t) for t in THRESHOLDS)


def test_mean_over_thresholds() -> None:
    counts = count([box(0, 0, 100, 40)], [box(10, 0, 110, 40)])
    # IoU is 90 / 110 = 0.818: found at 0.50 to 0.80, seven of ten thresholds.
    assert counts.to_dict()["regions"]["0.50:0.95"]["f1"] == pytest.approx(0.7)


def test_wrong_caption_costs_only_the_captioned_score() -> None:
    counts = count([box(0, 0, 10, 10, "red cup")], [box(0, 0, 10, 10, "cup")])
    total = counts.to_dict()
    assert total["regions"]["0.50"]["f1"] == 1.0
    assert total["regions_with_caption"]["0.50"]["f1"] == 0.0
    assert total["captions"] == {"pairs": 1, "exact": 0.0, "token_f1": pytest.approx(2 / 3), "mean_iou": 1.0}


def test_captions_settle_which_of_two_equal_boxes_is_meant() -> None:
    truth = [box(0, 0, 10, 10, "cup"), box(0, 0, 10, 10, "saucer")]
    counts = count(truth, truth[::-1])
    assert counts.equal_captions == 2


def test_captioned_score_may_pair_otherwise_than_the_plain_one() -> None:
    truth = [box(0, 0, 10, 10, "cup"), box(2, 0, 12, 10, "mug")]
    pred = [box(0, 0, 10, 10, "mug"), box(2, 0, 12, 10, "cup")]
    assert count(truth, pred).found_captioned[0] == 2


def test_extra_prediction_costs_precision_and_a_missed_object_recall() -> None:
    objects = [box(0, 0, 10, 10), box(50, 0, 60, 10)]
    more = count(objects, [*objects, box(100, 0, 110, 10)]).regions()
    assert (more.precision, more.recall) == (pytest.approx(2 / 3), 1.0)
    less = count(objects, objects[:1]).regions()
    assert (less.precision, less.recall) == (1.0, 0.5)


def test_repeats_are_false_positives_and_counted() -> None:
    one = box(0, 0, 100, 100)
    counts = count([one], [one, one, box(0, 0, 100, 101), box(0, 0, 100, 100, "mug")])
    assert counts.duplicates == 2
    assert counts.regions().precision == 0.25
    assert counts.to_dict()["duplicates"]["rate"] == 0.5


def test_duplicates_are_counted_by_cluster() -> None:
    # Each box is like its neighbours, and the first is not like the last.
    row = [{"bbox_2d": [x, 0, x + 100, 10]} for x in range(0, 60, 4)]
    far = [{"bbox_2d": [500, 0, 510, 10]}] * 300
    shapes = ShapeArray.from_objects([*row, *far])
    found = count_duplicates(shapes, ["a"] * len(row) + ["b"] * 300, ScoreOptions(duplicate_iou=0.9))
    assert found == len(row) - 1 + 299


def test_duplicates_need_more_than_the_iou_and_the_same_caption() -> None:
    options = ScoreOptions(duplicate_iou=0.9)
    pair = ShapeArray.from_objects([box(0, 0, 90, 10), box(0, 0, 100, 10)])
    assert count_duplicates(pair, ["a", "a"], options) == 0
    near = ShapeArray.from_objects([box(0, 0, 91, 10), box(0, 0, 100, 10)])
    assert count_duplicates(near, ["a", "A "], options) == 1
    assert count_duplicates(near, ["a", "b"], options) == 0


def test_chain_of_repeats_is_one_cluster() -> None:
    chain = ShapeArray.from_objects([box(x, 0, x + 100, 10) for x in (8, 0, 4)])
    options = ScoreOptions(duplicate_iou=0.9)
    # The first and the second overlap by 0.85 only; the third links them.
    assert count_duplicates(chain.take([0, 1]), ["a"] * 2, options) == 0
    assert count_duplicates(chain, ["a"] * 3, options) == 2
    assert count_duplicates(chain, ["a", "a", "b"], options) == 0


def test_empty_prediction_and_empty_truth() -> None:
    assert count([], []).objects == PrecisionRecall(0, 0, 0, 0)
    assert count([], []).objects.f1 == 1.0
    assert count([box(0, 0, 1, 1)], []).objects.f1 == 0.0
    assert count([], [box(0, 0, 1, 1)]).objects.f1 == 0.0


def test_line_score_is_length_within_the_tolerance() -> None:
    truth, pred = [line(0, 0, 100, 0)], [line(0, 3, 50, 3), line(0, 90, 50, 90)]
    score = count(truth, pred, line_tolerance_px=5.0).lines
    assert score.precision == pytest.approx(0.5)
    # The end of the predicted line reaches four pixels further along: a disc of radius 5 at a distance of 3.
    assert score.recall == pytest.approx(0.54)
    assert count(truth, pred, line_tolerance_px=2.0).lines.f1 == 0.0


def test_lines_are_matched_one_to_one() -> None:
    road = line(0, 0, 100, 0)
    counts = count([road], [road, line(0, 1, 100, 1)])
    assert (counts.truth_lines, counts.pred_lines, counts.found_lines) == (1, 2, 1)


def test_counts_add_up_image_by_image() -> None:
    a = count([box(0, 0, 10, 10)], [box(0, 0, 10, 10)])
    b = count([box(0, 0, 10, 10), line(0, 0, 9, 9)], [])
    total = a + b + Scores()
    assert (total.images, total.truth_regions, total.pred_regions, total.truth_lines) == (2, 2, 1, 1)
    assert total.found == a.found
    assert total.regions().recall == 0.5


def objects() -> st.SearchStrategy[list[dict[str, Any]]]:
    corner, side = st.integers(0, 30), st.integers(1, 20)
    caption = st.sampled_from(["cup", "red cup", "road"])
    boxes = st.builds(lambda x, y, w, h, d: box(x, y, x + w, y + h, d), corner, corner, side, side, caption)
    lines = st.builds(lambda x, y, w, h, d: line(x, y, x + w, y + h, desc=d), corner, corner, side, side, caption)
    return st.lists(st.one_of(boxes, lines), max_size=6)


@settings(max_examples=60, deadline=None)
@given(objects(), objects(), st.randoms())
def test_order_of_objects_does_not_matter(truth: list[dict[str, Any]], pred: list[dict[str, Any]], random: Any) -> None:
    first = count(truth, pred)
    second = count(random.sample(truth, len(truth)), random.sample(pred, len(pred)))
    for name in ("found", "found_captioned", "found_lines", "pairs", "duplicates"):
        assert getattr(first, name) == getattr(second, name)
    assert first.pairs_iou == pytest.approx(second.pairs_iou, abs=1e-4)
    assert first.truth_covered_px == pytest.approx(second.truth_covered_px)


@settings(max_examples=60, deadline=None)
@given(objects(), objects())
def test_scores_are_shares_and_fall_with_the_threshold(truth: list[dict[str, Any]], pred: list[dict[str, Any]]) -> None:
    counts = count(truth, pred)
    assert list(counts.found) == sorted(counts.found, reverse=True)
    assert all(c <= f for c, f in zip(counts.found_captioned, counts.found, strict=True))
    for score in (counts.objects, counts.lines, counts.regions()):
        assert 0.0 <= score.precision <= 1.0 + 1e-12
        assert 0.0 <= score.recall <= 1.0 + 1e-12


def test_empty_images_count_every_prediction_as_wrong() -> None:
    total = (count([], [box(0, 0, 1, 1)] * 2) + count([], []) + count([box(0, 0, 1, 1)], [])).to_dict()
    assert total["empty_images"] == {"images": 2, "with_predictions": 1, "predictions": 2}


def test_lines_are_measured_to_scale_too() -> None:
    truth, pred = [line(0, 0, 100, 0)], [line(0, 3, 100, 3)]
    options = ScoreOptions(line_tolerance_px=2.0, line_tolerance_share=0.005)
    near = count_image(side(truth), side(pred), options, diagonal=1000.0).scores.to_dict(options)["lines"]
    assert near["f1"] == 0.0
    assert near["to_scale"]["f1"] == pytest.approx(1.0)
    assert near["to_scale"]["matched"]["f1"] == 1.0
    assert near["to_scale"]["tolerance_of_diagonal"] == 0.005
    far = count(truth, pred, diagonal=1000.0, line_tolerance_px=5.0, line_tolerance_share=0.002).to_dict()["lines"]
    assert (far["f1"], far["to_scale"]["f1"]) == (pytest.approx(1.0), 0.0)


def test_nothing_is_to_scale_where_no_size_is_known() -> None:
    assert count([line(0, 0, 9, 0)], []).to_dict()["lines"]["to_scale"] is None
    assert count([box(0, 0, 9, 1)], []).to_dict()["lines"]["to_scale"]["f1"] == 1.0


def test_each_object_says_at_which_thresholds_it_was_found() -> None:
    # IoU 90 / 110 = 0.818 with the first box; the second is nowhere.
    found = count_all([box(0, 0, 100, 40), box(300, 0, 400, 40)], [box(10, 0, 110, 40, "mug")])
    reached = [t <= 0.818 for t in THRESHOLDS]
    assert found.truth.paired.T.tolist() == [reached, [False] * 10]
    assert found.pred.paired.T.tolist() == [reached]
    assert not found.truth.in_category.any()
    assert found.truth.areas.tolist() == [4000.0, 4000.0]
    assert found.truth.categories == ("cup", "cup")


def test_categories_follow_the_rule() -> None:
    truth = [box(0, 0, 10, 10, "class=cup, color=red"), box(20, 0, 30, 10, "class=mug")]
    pred = [box(0, 0, 10, 10, "class=cup, color=blue"), box(20, 0, 30, 10, "class=cup")]
    whole = count_all(truth, pred)
    assert not whole.truth.in_category.any()
    by_class = count_all(truth, pred, category=CategoryRule("key", "class"))
    assert by_class.truth.in_category[0].tolist() == [True, False]
    assert by_class.scores.found == whole.scores.found
    assert by_class.scores.found_captioned == whole.scores.found_captioned


def test_attributes_are_compared_on_matched_pairs() -> None:
    truth = [box(0, 0, 10, 10, "class=cup, color=red"), box(50, 0, 60, 10, "class=mug")]
    pred = [box(0, 0, 10, 10, "Color = RED, class=mug")]
    assert count_all(truth, pred).attributes == {"class": AttributeCount(2, 1, 0), "color": AttributeCount(1, 1, 1)}
    assert count_all([box(0, 0, 1, 1)], []).attributes == {}


def test_scores_rank_predictions_and_all_must_have_one() -> None:
    truth, twin = [box(0, 0, 10, 10)], box(0, 0, 10, 10, "mug")
    ranked = count_all(truth, [twin, box(0, 0, 10, 10)], scores=(0.9, 0.2)).ranked
    assert ranked is not None
    assert (ranked.right.tolist(), ranked.right_in_category.tolist()) == ([True, False], [False, True])
    assert count_all(truth, [twin, twin], scores=(0.9, None)).ranked is None
    assert count_all(truth, [twin]).ranked is None
    assert count_all(truth, []).ranked is not None


@pytest.mark.parametrize("scores", [(0.5, 0.5), (0.5,)])
def test_a_side_has_one_caption_and_score_per_shape(scores: tuple[float, ...]) -> None:
    one = ShapeArray.from_objects([box(0, 0, 1, 1)])
    with pytest.raises(ValueError, match="captions and scores must be one per shape, 1"):
        Side(one, ("a",) if len(scores) > 1 else (), scores)
