from __future__ import annotations

import math

import pytest

from dcap.core.errors import ConfigError
from support.augment_cases import CANVAS, plan_one


def test_the_centre_and_every_area_stay() -> None:
    for seed in range(50):
        affine = plan_one("shear", seed, max_deg_x=60, max_deg_y=60).plan.affine
        assert affine.apply([80.0, 48.0]).tolist() == pytest.approx([80.0, 48.0])
        assert affine.determinant == pytest.approx(1.0)


def test_angles_are_within_the_bounds() -> None:
    maps = [plan_one("shear", seed, max_deg_x=20, max_deg_y=0).plan.affine for seed in range(200)]
    angles = [math.degrees(math.atan(m.b)) for m in maps]
    assert -20 <= min(angles) < -18
    assert 18 < max(angles) <= 20
    assert {(m.a, m.d, m.e) for m in maps} == {(1.0, 0.0, 1.0)}
    assert plan_one("shear", max_deg_x=20, max_deg_y=20).scene.canvas == CANVAS


@pytest.mark.parametrize("name", ["max_deg_x", "max_deg_y"])
@pytest.mark.parametrize("value", [-1, 61])
def test_bad_angles_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"ops\[0\].params.{name} must be within 0..60, not {value}"):
        plan_one("shear", **{"max_deg_x": 0.0, "max_deg_y": 0.0, name: value})
