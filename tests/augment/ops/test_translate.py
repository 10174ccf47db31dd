from __future__ import annotations

import pytest

from dcap.core.errors import ConfigError
from support.augment_cases import CANVAS, plan_one


def test_shifts_are_whole_pixels_within_the_bounds() -> None:
    maps = [plan_one("translate", seed, max_dx=0.25, max_dy=0.1).plan.affine for seed in range(200)]
    assert all(m.coefficients[:2] == (1.0, 0.0) and m.coefficients[3:5] == (0.0, 1.0) for m in maps)
    assert {m.c for m in maps} <= {float(v) for v in range(-40, 41)}
    assert {m.f for m in maps} == {float(v) for v in range(-10, 11)}
    assert plan_one("translate", max_dx=0.5, max_dy=0.5).scene.canvas == CANVAS


def test_a_shift_of_the_whole_canvas_may_leave_nothing() -> None:
    shares = [plan_one("translate", seed, max_dx=1.0, max_dy=1.0).telemetry.padding_share for seed in range(100)]
    assert max(shares) > 0.95


@pytest.mark.parametrize("name", ["max_dx", "max_dy"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_bad_bounds_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"ops\[0\].params.{name} must be within 0..1, not {value}"):
        plan_one("translate", **{"max_dx": 0.0, "max_dy": 0.0, name: value})
