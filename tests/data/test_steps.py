from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.data.sample import SampleKey
from dcap.data.steps import (
    WINDOW_STEPS,
    RowCost,
    Step,
    balanced_steps,
    mean_imbalance,
    ordered_steps,
    share_rows,
    step_of_row,
)
from support.row_mixtures import MIXTURES, imbalance, row_costs

COSTS = st.lists(st.integers(1, 10**5), max_size=150).map(lambda costs: np.array(costs, np.int64))
SEGMENTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), max_size=3).map(tuple)


@given(COSTS, st.integers(1, 9), st.integers(0, 5), st.integers(0, 2))
def test_steps_hold_every_row_once_and_only_the_last_is_smaller(
    costs: np.ndarray, size: int, seed: int, epoch: int
) -> None:
    steps = balanced_steps(costs, size, seed, epoch)
    assert sorted(itertools.chain(*steps)) == list(range(len(costs)))
    assert [len(step) for step in steps[:-1]] == [size] * len(steps[:-1])
    assert steps == balanced_steps(costs, size, seed, epoch)
    for place, step in enumerate(steps):
        begin = place // WINDOW_STEPS * WINDOW_STEPS * size
        assert all(begin <= row < begin + WINDOW_STEPS * size for row in step), "a row moves within its window"


@given(COSTS, st.integers(1, 9), SEGMENTS)
def test_what_was_trained_on_stays_and_the_rest_comes_once(
    costs: np.ndarray, size: int, segments: tuple[tuple[int, int], ...]
) -> None:
    """An epoch whose steps change their size again and again."""
    behind: tuple[tuple[int, int], ...] = ()
    before: list[list[int]] = []
    for rows_per_step, count in (*segments, (size, len(costs))):
        steps = balanced_steps(costs, rows_per_step, 3, 1, behind)
        assert sorted(itertools.chain(*steps)) == list(range(len(costs)))
        assert steps[: len(before)] == before
        taken = min(count, len(steps) - len(before))
        before = steps[: len(before) + taken]
        behind = (*behind, (rows_per_step, taken)) if taken else behind


@given(st.integers(0, 100), st.integers(1, 9), SEGMENTS)
def test_ordered_steps_are_cut_where_their_size_changes(
    count: int, size: int, segments: tuple[tuple[int, int], ...]
) -> None:
    rows, steps = list(range(count)), []
    for rows_per_step, number in (*segments, (size, count)):
        for _ in range(number):
            if rows:
                steps.append(rows[:rows_per_step])
                rows = rows[rows_per_step:]
    assert ordered_steps(count, size, segments) == steps
    assert all(step_of_row(row, size, segments) == place for place, step in enumerate(steps) for row in step)


@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_no_rank_has_more_than_four_thirds_of_the_best_share(ranks: int, rows: int, data: st.DataObject) -> None:
    """The known bound of the method for up to three rows a rank, against every way to share them."""
    if ranks * rows > 8:
        rows = 2
    costs = np.array(data.draw(st.lists(st.integers(1, 50), min_size=ranks * rows, max_size=ranks * rows)))
    shares = share_rows(costs, ranks)
    assert sorted(itertools.chain(*shares)) == list(range(len(costs)))
    assert {len(share) for share in shares} == {rows}
    assert shares == [sorted(share) for share in shares]
    best = min(max(costs[list(order)].reshape(ranks, rows).sum(1)) for order in orders(len(costs), rows))
    assert 3 * max(costs[share].sum() for share in shares) <= 4 * best


def orders(count: int, rows: int) -> list[tuple[int, ...]]:
    """Every way to cut `count` things into groups of `rows`, each once."""
    if not count:
        return [()]

    def grow(left: tuple[int, ...]) -> list[tuple[int, ...]]:
        if not left:
            return [()]
        first, *others = left
        return [
            (first, *more, *rest)
            for more in itertools.combinations(others, rows - 1)
            for rest in grow(tuple(i for i in others if i not in more))
        ]

    return grow(tuple(range(count)))


def keys(*lengths: int) -> list[tuple[SampleKey, ...]]:
    names = itertools.count()
    return [tuple(SampleKey(0, next(names)) for _ in range(n)) for n in lengths]


def test_every_rank_has_as_many_rows_and_what_is_missing_is_filled_without_weight() -> None:
    rows = keys(3, 1, 2)
    step = Step(rows, np.array([30, 10, 20]))
    assert step.shares(2) == [[rows[0], (SampleKey(0, 3, filler=True),)], [rows[1], rows[2]]]
    assert step.shares(1) == [rows]
    assert step.shares(4) == [[rows[0]], [rows[2]], [rows[1]], [(SampleKey(0, 3, filler=True),)]]


def test_imbalance_is_what_the_others_wait() -> None:
    step = Step(keys(1, 1, 1, 1), np.array([40, 30, 20, 10]))
    assert step.imbalance(1) == 0.0
    assert step.imbalance(2) == 0.0
    assert step.imbalance(4) == pytest.approx(40 / 25 - 1)
    assert mean_imbalance([step, Step(keys(1, 1), np.array([10, 10]))], 4) == pytest.approx((0.3, 0.6))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_ranks_have_about_the_same_work(mixture: str) -> None:
    costs = row_costs(mixture, 25_000, RowCost())
    for ranks, accumulation in itertools.product((2, 8, 64), (1, 4)):
        size = ranks * accumulation
        steps = balanced_steps(costs, size, 0, 0)
        even = np.mean(imbalance(costs, steps, ranks))
        plain = np.mean(imbalance(costs, ordered_steps(len(costs), size), ranks, dealt=True))
        assert even < 0.05
        assert even < plain / 2


@pytest.mark.parametrize("size", [2, 8, 64])
def test_the_order_of_an_epoch_is_still_mixed(size: int) -> None:
    costs = row_costs("large and small images", 25_000, RowCost())
    steps = balanced_steps(costs, size, 0, 0)[:-1]
    mean = np.array([costs[step].mean() for step in steps])
    limit = 4 / np.sqrt(len(mean))  # of what chance gives
    assert abs(np.corrcoef(mean, np.arange(len(mean)))[0, 1]) < limit, "it does not rise or fall"
    assert abs(np.corrcoef(mean[1:], mean[:-1])[0, 1]) < limit, "a step says nothing about the next one"
    other = balanced_steps(costs, size, 0, 1)[:-1]
    assert steps != other
