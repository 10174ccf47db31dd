from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.train.config import TrainingConfig
from dcap.train.optimizer import lr_factor, warmup_steps


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
    values = factors(total, warmup_steps=warmup, min_lr_ratio=floor, lr_schedule=schedule)
    assert all(0 < v <= 1 + 1e-12 or (v == 0 and floor == 0) for v in values)
    peak = min(warmup, total)
    rising, falling = values[:peak], values[max(peak - 1, 0) :]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    if schedule == "cosine_warmup_with_min_lr" and total > warmup:
        assert math.isclose(values[-1], floor, abs_tol=1e-12)
