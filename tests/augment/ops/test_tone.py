from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dcap.augment.color import FewerBits, Inversion, PowerCurve
from dcap.core.errors import ConfigError
from support.augment_cases import plan_one


def test_gamma_darkens_as_often_as_it_brightens() -> None:
    steps = [plan_one("gamma", seed, lo=0.25, hi=4.0).plan.color[0] for seed in range(400)]
    exponents = np.array([step.exponent for step in steps if isinstance(step, PowerCurve)])
    assert len(exponents) == 400
    assert 0.25 <= exponents.min() < 0.3
    assert 3.5 < exponents.max() <= 4.0
    assert 0.4 < (exponents < 1).mean() < 0.6


def test_solarize_and_posterize_do_what_they_were_told() -> None:
    assert plan_one("solarize", threshold=200).plan.color == (Inversion(200),)
    assert plan_one("posterize", bits=3).plan.color == (FewerBits(3),)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("gamma", {"lo": 0.0, "hi": 1.0}, "lo and hi must fulfil 0 < lo <= hi"),
        ("gamma", {"lo": 2.0, "hi": 1.0}, "lo and hi must fulfil 0 < lo <= hi"),
        ("solarize", {"threshold": 257}, "threshold must be within 0..256, not 257"),
        ("posterize", {"bits": 0}, "bits must be within 1..8, not 0"),
        ("posterize", {"bits": 9}, "bits must be within 1..8, not 9"),
    ],
)
def test_bad_values_are_named(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"ops\[0\].params.{message}"):
        plan_one(name, **params)
