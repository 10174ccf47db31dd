from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment import Pipeline
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray
from support.augment_cases import CANVAS, SHAPES, plan, plan_one

COMPLETENESS = {"complete": "whole", "partial": "in part"}
CAPTIONS = ("box, whole", "poly, whole", "line")


def crop(seed: int, name: str = "random_crop", **params: Any) -> Any:
    config = {"ops": [{"name": name, "params": params}], "completeness": COMPLETENESS}
    return Pipeline.from_config(config).plan(CANVAS, SHAPES, generator(seed), CAPTIONS)


def test_random_windows_have_whole_pixels_and_the_drawn_area() -> None:
    for seed in range(100):
        result = plan_one("random_crop", seed, scale=[0.3, 0.6], min_objects=0)
        share = result.scene.canvas.num_pixels / CANVAS.num_pixels
        assert 0.28 < share < 0.62
        assert result.plan.affine.c == round(result.plan.affine.c)


@pytest.mark.parametrize("name", ["random_crop", "roi_crop"])
def test_texts_say_what_a_crop_cut(name: str) -> None:
    cut = 0
    for seed in range(60):
        result = crop(seed, name, min_objects=0, min_coverage=0.1, completeness_threshold=0.8)
        for caption, source, visible in zip(
            result.scene.captions, result.source_index, result.visible_fraction, strict=True
        ):
            want = CAPTIONS[source].replace("whole", "in part") if visible < 0.8 else CAPTIONS[source]
            assert caption == want
            cut += visible < 0.8
    assert cut > 20


def test_texts_stay_without_a_threshold_and_when_the_crop_is_skipped() -> None:
    for seed in range(20):
        assert set(crop(seed, min_objects=0).scene.captions) <= set(CAPTIONS)
        skipped = crop(seed, min_objects=3, scale=[0.1, 0.2], completeness_threshold=1.0)
        assert skipped.scene.captions == CAPTIONS


def test_the_threshold_of_one_spares_what_is_whole() -> None:
    for seed in range(60):
        result = crop(seed, min_objects=0, completeness_threshold=1.0)
        whole = [c for c, v in zip(result.scene.captions, result.visible_fraction, strict=True) if v == 1.0]
        assert not any("in part" in caption for caption in whole)


def test_a_threshold_without_a_rule_is_refused() -> None:
    message = r"ops\[0\].params.completeness_threshold must have a rule .* Add augmentation.completeness"
    with pytest.raises(ConfigError, match=message):
        plan_one("random_crop", completeness_threshold=0.9)


def test_the_anchor_is_wholly_visible_and_the_window_as_large_as_drawn() -> None:
    params = {"anchors": ["pol"], "scale_range": [1.0, 1.2], "min_crop_size": 75}
    canvases = set()
    for seed in range(200):
        result = plan_one("roi_crop", seed, **params)
        assert 1 in result.source_index
        assert result.visible_fraction[result.source_index == 1] == 1.0
        canvases.add(result.scene.canvas)
        assert "around 'poly'" in result.plan.describe()
    assert canvases == {Canvas(side, side) for side in range(75, 85)}


def test_every_object_and_every_place_of_the_window_is_drawn() -> None:
    results = [plan_one("roi_crop", seed, scale_range=[1.5, 1.5], min_crop_size=1) for seed in range(200)]
    around = {result.plan.steps[0].split("around ")[1] for result in results}
    assert around == {"'box'", "'poly'", "'line'"}
    boxes = [r for r in results if "around 'box'" in r.plan.steps[0]]
    assert {r.scene.canvas for r in boxes} == {Canvas(48, 75)}
    assert {int(-r.plan.affine.c) for r in boxes} <= set(range(11))
    assert len({int(-r.plan.affine.c) for r in boxes}) > 7


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_any_object_stays_whole_on_any_canvas(height: int, width: int, seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
    shapes = ShapeArray.from_objects([{"bbox_2d": [x[0], y[0], x[1] + 1e-3, y[1] + 1e-3]}])
    pipeline = Pipeline.from_config([{"name": "roi_crop", "params": {"min_crop_size": least}}])
    result = pipeline.plan(Canvas(height + 1, width + 1), shapes, generator(seed))
    assert result.telemetry.applied == ("roi_crop",)
    assert result.visible_fraction.tolist() == [1.0]
    assert result.scene.canvas.width >= min(least, width + 1)
    assert result.scene.canvas.height >= min(least, height + 1)


def test_crop_drops_below_min_coverage_with_the_reason() -> None:
    params = {"scale": [0.3, 0.5], "min_coverage": 0.9, "min_objects": 0}
    reasons = [r for seed in range(30) for r in plan_one("random_crop", seed, **params).telemetry.dropped.values()]
    assert any("less than 90%" in r for r in reasons)
    assert any("outside the canvas after random_crop" in r for r in reasons)
    for seed in range(30):
        assert (plan_one("random_crop", seed, **params).visible_fraction >= 0.9).all()


def test_crop_is_skipped_when_too_few_objects_would_remain() -> None:
    ops = [{"name": "random_crop", "params": {"scale": [0.1, 0.2], "min_objects": n}} for n in (3, 2)]
    result = plan(ops)
    assert [name for name, _ in result.telemetry.skipped] == ["random_crop", "random_crop"]
    assert ["fewer than 3" in reason for _, reason in result.telemetry.skipped] == [True, False]
    assert result.scene.shapes == SHAPES


def test_crop_is_skipped_when_a_line_would_be_cut() -> None:
    ops = [{"name": "random_crop", "params": {"scale": [0.3, 0.4], "min_objects": 0, "skip_if_line": True}}]
    for seed in range(20):
        result = plan(ops, seed)
        assert 2 in result.source_index
        assert result.visible_fraction[result.source_index == 2] == 1.0


def test_no_anchor_is_a_skip_with_the_reason() -> None:
    result = plan_one("roi_crop", anchors=["dog"])
    assert result.telemetry.skipped == (("roi_crop", "no object has an anchor in its text"),)
    pipeline = Pipeline.from_config([{"name": "roi_crop"}])
    result = pipeline.plan(CANVAS, ShapeArray.empty(), generator(0))
    assert result.telemetry.skipped == (("roi_crop", "there is no object"),)


def test_what_hangs_over_the_border_is_cropped_to_the_canvas() -> None:
    ops = [
        {"name": "scale", "params": {"lo": 3.0, "hi": 4.0}},
        {"name": "roi_crop", "params": {"min_coverage": 0.0}},
        {"name": "expand_to_fit_affine", "params": {"multiple": 1}},
    ]
    for seed in range(40):
        result = plan(ops, seed)
        assert len(result.scene.shapes)
        assert result.scene.canvas.width <= CANVAS.width


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("random_crop", {"scale": [0.9, 0.5]}, "scale must fulfil 0 < lo <= hi <= 1"),
        ("random_crop", {"aspect_ratio": [0, 1]}, "aspect_ratio must fulfil 0 < lo <= hi"),
        ("random_crop", {"min_coverage": 1.1}, "min_coverage must be within 0..1, not 1.1"),
        ("random_crop", {"completeness_threshold": -1}, "completeness_threshold must be within 0..1, not -1"),
        ("random_crop", {"completeness_threshold": 0.2}, r"completeness_threshold must be above min_coverage \(0.3\)"),
        ("roi_crop", {"min_objects": -1}, "min_objects must be at least 0, not -1"),
        ("roi_crop", {"anchors": ["cup", ""]}, "anchors must be texts of at least one character"),
        ("roi_crop", {"anchors": "cup"}, 'anchors must be a list, not "cup"'),
        ("roi_crop", {"scale_range": [0.5, 2]}, "scale_range must fulfil 1 <= lo <= hi"),
        ("roi_crop", {"min_crop_size": 0}, "min_crop_size must be at least 1, not 0"),
    ],
)
def test_bad_values_are_named(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"ops\[0\].params.{message}"):
        plan_one(name, **params)
