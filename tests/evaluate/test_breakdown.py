"""Tables by kind, size and category."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.evaluate.breakdown import (
    GroupScore,
    breakdown_tree,
    by_category,
    by_kind,
    by_size,
    fold_tail,
    mean_over,
    sum_attributes,
)
from dcap.evaluate.counting import AttributeCount, ImageCount
from dcap.evaluate.metrics import THRESHOLDS
from support.score_cases import box, count_all, line

POLY = {"poly": [0, 0, 100, 0, 100, 100, 0, 100], "desc": "cup"}


def numbers(group: GroupScore) -> tuple[str, int, int, int, int]:
    return group.name, group.truth, group.pred, group.found_truth[0], group.found_pred[0]


def test_a_shape_counts_in_its_own_kind_whatever_found_it() -> None:
    counts = [count_all([POLY, line(0, 300, 90, 300)], [box(0, 0, 100, 100)]), count_all([], [line(0, 0, 9, 9)])]
    assert list(map(numbers, by_kind(counts))) == [("box", 0, 1, 0, 1), ("polygon", 1, 0, 1, 0), ("line", 1, 1, 0, 0)]


def test_kinds_that_are_nowhere_are_left_out() -> None:
    assert [group.name for group in by_kind([count_all([POLY], [])])] == ["polygon"]
    assert by_kind([]) == []


@pytest.mark.parametrize(
    ("side", "name"), [(31.9, "small"), (32, "medium"), (95.9, "medium"), (96, "large"), (5000, "large")]
)
def test_sizes_have_the_bounds_of_coco(side: float, name: str) -> None:
    square = box(0, 0, side, side)
    (found,) = [group for group in by_size([count_all([square, line(0, 0, 9, 9)], [square])]) if group.truth]
    assert numbers(found) == (name, 1, 1, 1, 1)
    assert found.at(0.95).f1 == 1.0


def test_recall_is_by_true_size_and_precision_by_predicted_size() -> None:
    small, medium, large = by_size([count_all([box(0, 0, 31, 31)], [box(0, 0, 33, 33)])])
    assert numbers(small) == ("small", 1, 0, 1, 0)
    assert numbers(medium) == ("medium", 0, 1, 0, 1)
    assert numbers(large) == ("large", 0, 0, 0, 0)


def test_categories_are_matched_within_and_the_frequent_come_first() -> None:
    counts = [count_all([box(0, 0, 9, 9, "mug"), box(20, 0, 29, 9)], [box(0, 0, 9, 9, "Cup"), box(20, 0, 29, 9)]),
              count_all([box(0, 0, 9, 9)], [box(0, 0, 9, 9, "pot")])]  # fmt: skip
    assert list(map(numbers, by_category(counts))) == [
        ("cup", 2, 2, 1, 1),
        ("mug", 1, 0, 0, 0),
        ("pot", 0, 1, 0, 0),
    ]


def test_the_tail_is_folded_and_nothing_is_lost() -> None:
    groups = by_category([count_all([box(20 * k, 0, 20 * k + 9, 9, f"c{k}") for k in range(7)],
                                    [box(20 * k, 0, 20 * k + 9, 9, f"c{k}") for k in range(5)])])  # fmt: skip
    shown, rest = fold_tail(groups, 3)
    assert [group.name for group in shown] == ["c0", "c1", "c2"]
    assert rest is not None
    assert numbers(rest) == ("4 others", 4, 2, 2, 2)
    assert fold_tail(groups, 7) == (groups, None)


def test_the_mean_is_over_categories_that_are_true() -> None:
    found, missed, wrong = (box(x, 0, x + 9, 9, name) for x, name in ((0, "a"), (20, "b"), (40, "c")))
    groups = by_category([count_all([found, missed], [found, wrong])])
    assert mean_over(groups)["0.50:0.95"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert mean_over(by_category([count_all([], [box(0, 0, 1, 1)])])) == {}


def test_attributes_add_up_over_images() -> None:
    truth, right = [box(0, 0, 9, 9, "a=1, b=2")], [box(0, 0, 9, 9, "a=1")]
    counts = [count_all(truth, right), count_all(truth, []), count_all([box(0, 0, 9, 9, "b=3")], [])]
    assert sum_attributes(counts) == {"b": AttributeCount(3, 1, 0), "a": AttributeCount(2, 1, 1)}
    tree = breakdown_tree(counts, "caption")["attributes"]
    assert tree["a"] == {"truth": 2, "paired": 1, "right": 1, "recall": 0.5, "recall_of_paired": 1.0}


def objects() -> st.SearchStrategy[list[dict[str, Any]]]:
    corner, side = st.integers(0, 30), st.integers(1, 120)
    caption = st.sampled_from(["cup", "mug", "pot"])
    boxes = st.builds(lambda x, y, w, h, d: box(x, y, x + w, y + h, d), corner, corner, side, side, caption)
    lines = st.builds(lambda x, y, w, d: line(x, y, x + w, y, desc=d), corner, corner, side, caption)
    return st.lists(st.one_of(boxes, lines), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(objects(), objects()), max_size=4))
def test_groups_sum_to_the_totals(images: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> None:
    counts = [count_all(*image) for image in images]
    truth, pred = sum(len(a) for a, _ in images), sum(len(b) for _, b in images)
    for groups in (by_kind(counts), by_category(counts)):
        assert (sum(g.truth for g in groups), sum(g.pred for g in groups)) == (truth, pred)
        assert [sum(g.found_truth[k] for g in groups) for k in range(len(THRESHOLDS))] == [
            sum(g.found_pred[k] for g in groups) for k in range(len(THRESHOLDS))
        ]
    found = sum(count.scores.found[0] for count in counts)
    assert sum(group.found_truth[0] for group in by_size(counts)) == found
    assert sum(g.found_truth[0] for g in by_kind(counts)) == found + sum(c.scores.found_lines for c in counts)


@settings(max_examples=30, deadline=None)
@given(objects(), objects(), st.permutations(["cup", "mug", "pot"]))
def test_names_of_categories_do_not_matter(
    truth: list[dict[str, Any]], pred: list[dict[str, Any]], names: list[str]
) -> None:
    def renamed(side: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "desc": names[["cup", "mug", "pot"].index(each["desc"])]} for each in side]

    def table(count: ImageCount) -> list[tuple[Any, ...]]:
        return sorted(numbers(group)[1:] for group in by_category([count]))

    assert table(count_all(truth, pred)) == table(count_all(renamed(truth), renamed(pred)))
