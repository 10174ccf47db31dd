from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dcap.train.config import EvalGenerateConfig, TrainingConfig
from dcap.train.state import Due, RunState
from support.epoch_cases import bare_plan


def due(**kwargs: Any) -> Due:
    return Due(TrainingConfig("out", **kwargs))


def walk(steps: list[int]) -> list[RunState]:
    """States after each step of epochs with these numbers of steps."""
    state, out = RunState(), []
    for epoch, count in enumerate(steps):
        plan = bare_plan(epoch, [1] * count)
        for _ in range(count):
            state = state.advanced(plan, tokens=10, samples=2)
            out.append(state)
    return out


def test_position_is_that_of_the_next_step() -> None:
    places = [(s.step, s.epoch, s.step_in_epoch) for s in walk([2, 3])]
    assert places == [(1, 0, 1), (2, 1, 0), (3, 1, 1), (4, 1, 2), (5, 2, 0)]
    assert [s.epochs_done for s in walk([2, 2])] == [0.5, 1.0, 1.5, 2.0]
    assert (walk([3])[-1].tokens, walk([3])[-1].samples) == (30, 6)


def test_max_steps_wins_over_epochs() -> None:
    states = walk([2, 2, 2])
    assert [due(num_epochs=2).end(s) for s in states] == [False, False, False, True, True, True]
    assert [due(num_epochs=1, max_steps=5).end(s) for s in states] == [False] * 4 + [True] * 2


def test_saves_at_steps_or_at_the_end_of_epochs_and_at_the_end() -> None:
    states = walk([3, 3])
    assert [due(num_epochs=2, save_steps=2).save(s) for s in states] == [False, True, False, True, False, True]
    assert [due(num_epochs=2).save(s) for s in states] == [False, False, True, False, False, True]
    assert [due(max_steps=5, save_steps=4).save(s) for s in states[:5]] == [False, False, False, True, True]


def test_validates_at_steps_or_at_the_end_of_epochs_and_at_the_end() -> None:
    states = walk([3, 3])
    assert [due(num_epochs=2, eval_steps=4).validate(s) for s in states] == [False] * 3 + [True, False, True]
    assert [due(num_epochs=2).validate(s) for s in states] == [False, False, True, False, False, True]


def test_answers_at_each_nth_validation_and_at_the_end() -> None:
    states = walk([3, 3, 3])
    wanted = EvalGenerateConfig(every=2)
    by_steps = due(num_epochs=3, eval_steps=2, eval_generate=wanted)
    assert [s.step for s in states if by_steps.validate(s) and by_steps.answer(s)] == [4, 8, 9]
    by_epochs = due(num_epochs=3, eval_generate=wanted)
    assert [s.step for s in states if by_epochs.validate(s) and by_epochs.answer(s)] == [6, 9]
    assert not any(due(num_epochs=3).answer(s) for s in states)


@pytest.mark.parametrize(("delay", "first"), [({"save_delay_steps": 4}, 4), ({"save_delay_epochs": 1.5}, 5), ({}, 1)])
def test_nothing_is_saved_or_best_before_the_delay(delay: dict[str, Any], first: int) -> None:
    rules = due(num_epochs=2, save_steps=1, **delay)
    states = walk([3, 3])
    assert next(s.step for s in states if rules.save(s)) == first
    assert next(s.step for s in states if rules.best(0.1, s)) == first


def test_both_delays_must_be_over() -> None:
    rules = due(num_epochs=2, save_steps=1, save_delay_steps=2, save_delay_epochs=1.0)
    assert [s.step for s in walk([3, 3]) if rules.may_save(s)] == [3, 4, 5, 6]


@pytest.mark.parametrize(("mode", "better", "worse"), [("min", 0.4, 0.6), ("max", 0.6, 0.4)])
def test_best_compares_in_the_direction_asked(mode: Any, better: float, worse: float) -> None:
    rules = due(best_mode=mode)
    state = RunState(step=3).with_best(0.5)
    assert (state.best_value, state.best_step) == (0.5, 3)
    assert rules.best(better, state)
    assert not rules.best(worse, state)
    assert not rules.best(0.5, state), "a tie is no gain"
    assert rules.best(worse, replace(state, best_value=None))


@pytest.mark.parametrize(
    ("metric", "better"), [("eval/loss", 0.4), ("eval/token_accuracy", 0.6), ("eval/f1", 0.6), ("eval/repeats", 0.4)]
)
def test_best_knows_in_which_direction_a_metric_is_better(metric: str, better: float) -> None:
    rules = due(best_metric=metric)
    state = RunState(step=3).with_best(0.5)
    assert rules.best(better, state)
    assert not rules.best(1.0 - better, state)


def test_logs_the_first_each_and_the_last() -> None:
    states = walk([7])
    assert [s.step for s in states if due(log_steps=3).log(s)] == [1, 3, 6, 7]


def test_an_epoch_goes_on_from_where_it_was_when_steps_change_their_size() -> None:
    state = RunState(step=1, epoch=0, step_in_epoch=1, epochs_done=0.25).regrouped(4)
    assert (state.parts, state.since_step, state.since_epochs) == (((4, 1),), 1, 0.25)
    # Three quarters of the epoch in six steps.
    shares, plan = [], bare_plan(0, [4, *[2] * 6], state.parts)
    for _ in range(6):
        state = state.advanced(plan, tokens=1, samples=1)
        shares.append(state.epochs_done)
    assert shares == pytest.approx([0.375, 0.5, 0.625, 0.75, 0.875, 1.0])
    assert (state.epoch, state.parts) == (1, ())
    assert state.advanced(bare_plan(1, [2] * 8), 1, 1).epochs_done == 1.125


def test_steps_of_one_size_are_one_segment() -> None:
    state = RunState(step=3, step_in_epoch=3).regrouped(4)
    assert state.regrouped(8).parts == ((4, 3),), "no step was made with 8"
    assert replace(state, step=5, step_in_epoch=5).regrouped(8).parts == ((4, 3), (8, 2))
