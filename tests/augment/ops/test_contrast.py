from __future__ import annotations

from typing import Any

import pytest

from dcap.augment.filters import LocalContrast, Stretch
from dcap.core.errors import ConfigError
from support.augment_cases import plan_one


def test_auto_contrast_does_what_it_was_told() -> None:
    assert plan_one("auto_contrast", cutoff=0.02).plan.color == (Stretch(0.02),)


def test_clahe_draws_its_limit() -> None:
    steps = [plan_one("clahe", seed, clip_limit=3.0, tile_grid=[4, 6]).plan.color[0] for seed in range(200)]
    limits = [step.clip_limit for step in steps if isinstance(step, LocalContrast) and step.tile_grid == (4, 6)]
    assert len(limits) == 200
    assert 1.0 <= min(limits) < 1.1
    assert 2.9 < max(limits) <= 3.0


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("auto_contrast", {"cutoff": -0.1}, "cutoff must be within 0..0.49, not -0.1"),
        ("auto_contrast", {"cutoff": 2}, "cutoff must be within 0..0.49, not 2"),
        ("clahe", {"clip_limit": 0.5}, "clip_limit must be within 1..1e6, not 0.5"),
        ("clahe", {"tile_grid": [0, 8]}, "tile_grid must have 1 to 256 rows and columns"),
        ("clahe", {"tile_grid": 8}, "tile_grid must be a list, not 8"),
    ],
)
def test_bad_values_are_named(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"ops\[0\].params.{message}"):
        plan_one(name, **params)
