from __future__ import annotations

import pytest

from dcap.augment.color import HsvScale
from dcap.core.errors import ConfigError
from support.augment_cases import plan, plan_one


def test_hsv_draws_within_its_spreads() -> None:
    steps = [plan_one("hsv", seed, hue=0.1, saturation=0.5, value=0.2).plan.color[0] for seed in range(200)]
    assert all(isinstance(step, HsvScale) for step in steps)
    for name, low, high in (("hue_deg", -36, 36), ("saturation", 0.5, 1.5), ("value", 0.8, 1.2)):
        values = [getattr(step, name) for step in steps]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_color_jitter_draws_what_it_was_asked_for() -> None:
    assert len(plan_one("color_jitter", brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1).plan.color) == 4
    assert plan_one("color_jitter", hue=0.1).plan.describe().endswith("degrees")
    assert plan([{"name": "color_jitter"}]).plan.color == ()


@pytest.mark.parametrize("name", ["hsv", "color_jitter"])
def test_bad_spreads_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"ops\[0\].params.hue must be within 0..0.5, not 0.6"):
        plan_one(name, hue=0.6)
    with pytest.raises(ConfigError, match=r"ops\[0\].params.saturation must be within 0..1.0, not -0.5"):
        plan_one(name, saturation=-0.5)
