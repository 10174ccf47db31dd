from __future__ import annotations

import json

import numpy as np
import pytest

from dcap.augment import Pipeline, Plan, Scene, render
from dcap.augment.color import COLOR_STEPS, Levels
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray

CANVAS = Canvas(90, 120)
PIPELINE = Pipeline.from_config(
    [
        {"name": "rotate", "params": {"max_deg": 40}},
        {"name": "random_crop"},
        {"name": "color_jitter", "params": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}},
        {"name": "gamma", "params": {"lo": 0.5, "hi": 2.0}},
        {"name": "hsv", "params": {"hue": 0.1, "saturation": 0.3, "value": 0.3}},
        {"name": "sharpness", "params": {"lo": 0.5, "hi": 2.0}},
        *({"name": name} for name in ("solarize", "posterize", "auto_contrast", "clahe")),
    ]
)


def plan() -> Plan:
    return PIPELINE.plan(CANVAS, ShapeArray.from_objects([{"bbox_2d": [20, 20, 90, 70]}]), generator(1, 2, 3)).plan


def test_json_gives_back_a_plan_that_renders_the_same_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    again = Plan.from_json(plan().to_json())
    assert again.to_json() == plan().to_json()
    assert {type(step) for step in again.color} == {COLOR_STEPS.get(name) for name in COLOR_STEPS}
    assert np.array_equal(render(image, again), render(image, plan()))


def test_a_plan_that_lost_all_pixels_has_an_empty_region() -> None:
    tree = {**json.loads(plan().to_json()), "region": []}
    assert Plan.from_json(json.dumps(tree)).region.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"affine": {"a": 1}}, "must be given"),
        ({"canvas": {"height": 0, "width": 5}}, "height"),
        ({"canvas": {"height": 1_000_000, "width": 1_000_000}}, "at most 178956970 pixels"),
        ({"affine": {"a": 1, "b": 0, "c": 10**400, "d": 0, "e": 1, "f": 0}}, "must be finite"),
        ({"affine": {"a": 1, "b": 0, "c": 1e10, "d": 0, "e": 1, "f": 0}}, "at most 1e"),
        ({"region": [[1e18, 0]]}, "at most 1e"),
        ({"region": [[0, 0]] * 1001}, "outlines of 0 to 1000 points, not 1001"),
        ({"canvas": {"height": 65_537, "width": 1}}, "sides of at most 65536 pixels"),
        ({"affine": {"a": 1, "b": 2, "c": 0, "d": 2, "e": 4, "f": 0}}, "must be invertible"),
        ({"color": [{"step": "fewer_bits", "params": {"bits": 9}}]}, r"color\[0\].params.*bits must be within"),
        ({"color": [{"step": "local_contrast", "params": {"clip_limit": 2, "tile_grid": [0, 0]}}]}, "tile_grid must"),
        ({"color": [{"step": "levels", "params": {"gain": 1}}] * 1001}, "at most 1000 steps"),
        ({"color": [{"step": "level", "params": {}}]}, "did you mean levels"),
        ({"color": [{"step": "levels", "params": {"gain": "x"}}]}, "gain must be a number"),
        ({"region": [[0, float("nan")]]}, "finite"),
        ({"extra": 1}, "extra is not a field"),
    ],
)
def test_what_is_no_plan(change: dict[str, object], message: str) -> None:
    tree = {**json.loads(plan().to_json()), **change}
    with pytest.raises(ConfigError, match=message):
        Plan.from_json(json.dumps(tree))


def test_text_that_is_no_json() -> None:
    for text in ("", "[", "[1]", '"plan"', "[" * 100_000, '{"source": ' + "1" * 5000 + "}"):
        with pytest.raises(ConfigError, match="plan"):
            Plan.from_json(text)


def test_a_step_of_an_unknown_class_cannot_be_written() -> None:
    class Mine(Levels):
        pass

    scene = Scene(CANVAS, ShapeArray.empty(), ())
    made = PIPELINE(scene, generator(0)).plan
    with pytest.raises(ConfigError, match="must be registered"):
        Plan(made.source, made.canvas, made.affine, made.region, (Mine(1.0),), "linear", ()).to_json()
