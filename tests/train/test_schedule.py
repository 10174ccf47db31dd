from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from dcap.core.errors import ConfigError
from dcap.train.config import TrainingConfig
from dcap.train.optimizer import check_schedule, lr_factor, warmup_steps


def config(**kwargs: Any) -> TrainingConfig:
    return TrainingConfig("out", **kwargs)


def factors(total: int, **kwargs: Any) -> list[float]:
    schedule = config(**kwargs)
    return [lr_factor(step, total, schedule) for step in range(1, total + 1)]


def test_cosine_goes_from_zero_over_the_peak_to_the_floor() -> None:
    values = factors(14, warmup_steps=4, min_lr_ratio=0.2)
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert values[8] == pytest.approx(0.2 + 0.8 * 0.5)
    assert values[-1] == pytest.approx(0.2)


def test_linear_falls_evenly_and_uses_every_step() -> None:
    values = factors(10, lr_schedule="linear", warmup_steps=2)
    assert values[:2] == [0.5, 1.0]
    falls = [a - b for a, b in itertools.pairwise(values[1:])]
    assert falls == pytest.approx([1 / 9] * 8)
    assert values[-1] == pytest.approx(1 / 9)
    assert lr_factor(11, 10, config(lr_schedule="linear", warmup_steps=2)) == values[-1]


def test_constant_stays_at_the_peak() -> None:
    assert factors(6, lr_schedule="constant", warmup_steps=2) == [0.5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("ratio", "steps", "expected"), [(0.03, None, 4), (0.0, None, 0), (0.5, 7, 7), (1.0, None, 101)]
)
def test_warmup_is_a_count_or_a_share(ratio: float, steps: int | None, expected: int) -> None:
    assert warmup_steps(101, config(warmup_ratio=ratio, warmup_steps=steps)) == expected


@given(
    total=st.integers(1, 200),
    warmup=st.integers(0, 250),
    floor=st.floats(0, 1),
    schedule=st.sampled_from(["cosine_warmup_with_min_lr", "linear", "constant"]),
)
def test_factor_is_within_bounds_rises_once_and_falls_once(
    total: int, warmup: int, floor: float, schedule: Any
) -> None:
    has_floor = schedule == "cosine_warmup_with_min_lr"
    values = factors(total, warmup_steps=warmup, min_lr_ratio=floor if has_floor else None, lr_schedule=schedule)
    assert all(0 < v <= 1 + 1e-12 or (v == 0 and floor == 0) for v in values)
    peak = min(warmup, total)
    rising, falling = values[:peak], values[max(peak - 1, 0) :]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    if has_floor and total > warmup:
        assert math.isclose(values[-1], floor, abs_tol=1e-12)


def of_transformers(name: str, total: int, warmup: int, rate: float, params: dict[str, Any]) -> list[float]:
    """Return the rate of each step of a run with transformers' own scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = get_scheduler(name, optimizer, warmup, total, params)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.parametrize(
    ("name", "changes", "params"),
    [
        ("constant_with_warmup", {}, {}),
        ("cosine", {}, {}),
        ("cosine", {"lr_schedule_params": {"num_cycles": 1.5}}, {"num_cycles": 1.5}),
        ("cosine_with_min_lr", {}, {"min_lr_rate": 0.1}),
        ("cosine_with_min_lr", {"min_lr": 3e-4}, {"min_lr": 3e-4}),
        ("cosine_warmup_with_min_lr", {}, {"min_lr_rate": 0.1}),
        ("cosine_warmup_with_min_lr", {"min_lr": 3e-4}, {"min_lr": 3e-4}),
        ("cosine_warmup_with_min_lr", {"min_lr_ratio": 0.0}, {"min_lr_rate": 0.0}),
        ("cosine_with_restarts", {"lr_schedule_params": {"num_cycles": 3}}, {"num_cycles": 3}),
        ("inverse_sqrt", {}, {}),
        ("inverse_sqrt", {"lr_schedule_params": {"timescale": 40}}, {"timescale": 40}),
        ("polynomial", {}, {}),
        ("polynomial", {"min_lr": 1e-4, "lr_schedule_params": {"power": 2}}, {"lr_end": 1e-4, "power": 2}),
        ("warmup_stable_decay", {"lr_schedule_params": {"num_decay_steps": 7}}, {"num_decay_steps": 7}),
        (
            "warmup_stable_decay",
            {"min_lr_ratio": 0.2, "lr_schedule_params": {"num_decay_steps": 7, "decay_type": "1-sqrt"}},
            {"num_decay_steps": 7, "decay_type": "1-sqrt", "min_lr_ratio": 0.2},
        ),
    ],
)
def test_a_schedule_of_transformers_has_its_rate_at_each_step(
    name: Any, changes: dict[str, Any], params: dict[str, Any], warmup: int
) -> None:
    ours = factors(23, lr_schedule=name, learning_rate=2e-3, warmup_steps=warmup, **changes)
    assert [2e-3 * factor for factor in ours] == pytest.approx(of_transformers(name, 23, warmup, 2e-3, params))
    schedule = config(lr_schedule=name, learning_rate=2e-3, warmup_steps=warmup, **changes)
    assert lr_factor(30, 23, schedule) == ours[-1], "the last rate stays where a run grows by a step"


def test_an_absolute_floor_is_that_of_the_common_rate() -> None:
    values = factors(14, warmup_steps=4, learning_rate=2e-3, min_lr=1e-4)
    assert values == factors(14, warmup_steps=4, learning_rate=2e-3, min_lr_ratio=0.05)
    assert 2e-3 * values[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_lr": 1e-5, "min_lr_ratio": 0.1}, "min_lr_ratio must be null where min_lr is given, not 0.1"),
        ({"min_lr": 1e-3}, r"min_lr must be within 0 and learning_rate 0\.0001, not 0\.001"),
        ({"min_lr": -1e-5}, "min_lr must be within 0 and learning_rate"),
        ({"min_lr": 1e-5, "lr_schedule": "linear"}, "min_lr must be null with lr_schedule linear, which has no floor"),
        ({"min_lr_ratio": 0.1, "lr_schedule": "cosine"}, "min_lr_ratio must be null with lr_schedule cosine"),
        (
            {"min_lr_ratio": 0.1, "lr_schedule": "linear"},
            "min_lr_ratio must be null with lr_schedule linear, which has",
        ),
        (
            {"min_lr_ratio": 0.0, "lr_schedule": "constant"},
            "min_lr_ratio must be null with lr_schedule constant, which",
        ),
        (
            {"lr_schedule": "cosine", "lr_schedule_params": {"num_cycles": True}},
            "lr_schedule_params.num_cycles must be a number or a string, not true",
        ),
        ({"lr_schedule": "warmup_stable_decay"}, "num_decay_steps must be given with lr_schedule warmup_stable_decay"),
        (
            {"lr_schedule_params": {"power": 2}},
            "lr_schedule_params.power must be a parameter of lr_schedule cosine_warmup_with_min_lr, which takes none",
        ),
        ({"lr_schedule": "cosine", "lr_schedule_params": {"power": 2}}, "which takes num_cycles"),
        (
            {"lr_schedule": "polynomial", "lr_schedule_params": {"power": "two"}},
            r'a number above 0 and at most 1e\+09, not "two"',
        ),
        (
            {"lr_schedule": "cosine_with_restarts", "lr_schedule_params": {"num_cycles": 1.5}},
            r"num_cycles must be a whole number above 0 and at most 1e\+09, not 1\.5",
        ),
        (
            {"lr_schedule": "warmup_stable_decay", "lr_schedule_params": {"num_decay_steps": 3, "decay_type": "exp"}},
            'decay_type must be one of linear, cosine, 1-sqrt, not "exp"',
        ),
        (
            {"lr_schedule": "polynomial", "min_lr": 1e-3, "learning_rate": 1e-3},
            "min_lr must be below learning_rate 0.001",
        ),
        ({"lr_schedule": "polynomial", "learning_rate": 1e-7}, "not 1e-07, which it is where none is given"),
        ({"lr_schedule": "cosine", "lr_schedule_params": {"num_cycles": 1e308}}, "above 0 and at most 1e"),
        ({"lora_plus_ratio": 1e300}, r"lora_plus_ratio must be at most 1e\+06"),
        ({"token_weights": {"caption": 1e-46}}, r"token_weights.caption must be within 1e-06..1e\+06"),
        ({"token_weights": {"caption": 0.0}}, "token_weights.caption must be within"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_a_run_that_is_too_short_for_its_phases_is_refused() -> None:
    schedule = config(
        lr_schedule="warmup_stable_decay", lr_schedule_params={"num_decay_steps": 7}, warmup_steps=5, learning_rate=1e-3
    )
    assert lr_factor(6, 12, schedule) == 1.0
    with pytest.raises(ConfigError, match="num_decay_steps must be at most 6, the steps of the run behind its warmup"):
        lr_factor(1, 11, schedule)


WSD: dict[str, Any] = {"lr_schedule": "warmup_stable_decay", "lr_schedule_params": {"num_decay_steps": 2}}


@pytest.mark.parametrize("warmup", [{"warmup_steps": 20}, {"warmup_steps": 3}, {"warmup_ratio": 1.0}])
def test_a_warmup_that_leaves_no_step_to_decay_is_named(warmup: dict[str, Any]) -> None:
    steps = warmup.get("warmup_steps", 3)
    message = rf"the warmup .* must be shorter than the run of 3 steps, .* and has {steps} steps\. .*warmup_steps=0"
    with pytest.raises(ConfigError, match=message):
        check_schedule(3, config(**WSD, **warmup))


@pytest.mark.parametrize("name", ["cosine_warmup_with_min_lr", "linear", "constant", "cosine", "inverse_sqrt"])
def test_a_warmup_that_the_run_does_not_finish_is_warned_of(name: Any, caplog: pytest.LogCaptureFixture) -> None:
    check_schedule(20, config(lr_schedule=name, warmup_steps=20))
    check_schedule(1, config(lr_schedule=name, warmup_ratio=1.0))
    assert caplog.messages == []
    check_schedule(3, config(lr_schedule=name, warmup_steps=20))
    (message,) = caplog.messages
    last = 10 if name in ("cosine", "inverse_sqrt") else 15  # those of transformers begin with a step at rate 0
    assert message.startswith(
        f"the warmup has 20 steps, and the run 3 steps: the learning rate only rises, to {last}% of"
    )
