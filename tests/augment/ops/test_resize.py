from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment import Pipeline
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray
from support.augment_cases import SHAPES, plan, plan_one


def test_content_fills_the_new_canvas() -> None:
    for seed in range(50):
        result = plan_one("resize_by_scale", seed, lo=0.2, hi=2.0)
        canvas = result.scene.canvas
        assert canvas.height % 32 == canvas.width % 32 == 0
        assert result.plan.affine.apply([160.0, 96.0]).tolist() == pytest.approx([canvas.width, canvas.height])
        assert result.telemetry.padding_share == 0.0
        assert (result.visible_fraction == 1.0).all()
        assert len(result.scene.shapes) == len(SHAPES)


def test_sides_are_rounded_to_the_nearest_multiple() -> None:
    assert plan_one("resize_by_scale", lo=0.55, hi=0.55).scene.canvas == Canvas(64, 96)
    assert plan_one("resize_by_scale", lo=0.5, hi=0.5, align_multiple=1).scene.canvas == Canvas(48, 80)
    assert plan_one("resize_by_scale", lo=0.01, hi=0.01, align_multiple=28).scene.canvas == Canvas(28, 28)


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.1, 3.0))
def test_float_noise_at_the_border_cuts_nothing(height: int, width: int, factor: float) -> None:
    whole = ShapeArray.from_objects([{"bbox_2d": [0, 0, width, height]}, {"line": [0, 0, width, height]}])
    pipeline = Pipeline.from_config([{"name": "resize_by_scale", "params": {"lo": factor, "hi": factor}}])
    result = pipeline.plan(Canvas(height, width), whole, generator(0))
    assert result.visible_fraction.tolist() == [1.0, 1.0]


def test_scaled_overhang_waits_for_the_expansion() -> None:
    ops: list[dict[str, Any]] = [
        {"name": "rotate", "params": {"max_deg": 90}},
        {"name": "resize_by_scale", "params": {"lo": 0.5, "hi": 2}},
        {"name": "expand_to_fit_affine"},
    ]
    for seed in range(10):
        assert (plan(ops, seed).visible_fraction == 1.0).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lo": 0.0, "hi": 1.0}, "lo and hi must fulfil 0 < lo <= hi"),
        ({"lo": 2.0, "hi": 1.0}, "lo and hi must fulfil 0 < lo <= hi"),
        ({"lo": 1.0, "hi": 1.0, "align_multiple": 0}, "align_multiple must be at least 1, not 0"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"ops\[0\].params.{message}"):
        plan_one("resize_by_scale", **params)
