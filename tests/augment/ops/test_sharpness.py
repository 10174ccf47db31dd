from __future__ import annotations

import pytest

from dcap.augment.filters import SharpnessBlend
from dcap.core.errors import ConfigError
from support.augment_cases import plan_one


def test_the_factor_is_within_its_bounds() -> None:
    steps = [plan_one("sharpness", seed, lo=0.5, hi=2.0).plan.color[0] for seed in range(200)]
    factors = [step.factor for step in steps if isinstance(step, SharpnessBlend)]
    assert 0.5 <= min(factors) < 0.6
    assert 1.9 < max(factors) <= 2.0


@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 1.0), (2.0, 1.0)])
def test_bad_factors_are_named(lo: float, hi: float) -> None:
    with pytest.raises(ConfigError, match=r"ops\[0\].params.lo and hi must fulfil 0 <= lo <= hi"):
        plan_one("sharpness", lo=lo, hi=hi)
