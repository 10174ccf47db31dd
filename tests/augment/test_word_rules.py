"""Texts of a sample stay true: words follow the whole map, and an op that no word can follow does not act."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment import AugmentResult, Pipeline, Plan, Scene
from dcap.augment.color import (
    ColorStep,
    FewerBits,
    HsvScale,
    Hue,
    Inversion,
    Levels,
    PowerCurve,
    Saturation,
    why_colors_alter,
)
from dcap.augment.filters import LocalContrast, Stretch
from dcap.augment.policy import View, Warp
from dcap.augment.stages import Stage
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray
from support.augment_cases import CANVAS, SHAPES

STEP = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
HFLIP, VFLIP = {"name": "hflip"}, {"name": "vflip"}
CROP = {"name": "random_crop", "params": {"scale": [0.2, 0.5], "min_coverage": 0.5, "min_objects": 0}}
PASTE = {"name": "small_object_zoom_paste", "params": {"max_size": 90, "scale": [0.5, 1.0], "overlap_threshold": 0.9}}
RED = {"name": "hsv", "params": {"hue": 0.5}}


def plan(
    ops: Sequence[dict[str, Any]], *captions: str, seed: int = 0, words: dict[str, Any] | None = None, **texts: Any
) -> AugmentResult:
    pipeline = Pipeline.from_config({"ops": list(ops), "words": words or {}})
    return pipeline.plan(CANVAS, SHAPES, generator(seed), [*captions, "", "", ""][:3], **texts)


@dataclass(frozen=True)
class Given:
    """A geometric effect that is given, not drawn."""

    affine: Affine
    canvas: Canvas = CANVAS

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        return Warp(self.affine, self.canvas, "given")


def plan_maps(
    maps: Sequence[Affine], *captions: str, words: dict[str, Any] | None = None, **texts: Any
) -> AugmentResult:
    config = Pipeline.from_config({"ops": [], "words": words or {}}).config
    stages = tuple(Stage("given", 1.0, Given(affine), keeps_outside=False) for affine in maps)
    whole = ShapeArray.from_objects([{"bbox_2d": [0, 0, 160, 96]}] * len(captions))
    return Pipeline(stages, config).plan(CANVAS, whole, generator(0), captions, **texts)


def turned(angle: float) -> Affine:
    return Affine.rotation(angle, (80.0, 48.0))


def test_a_flip_changes_captions_attributes_and_summary_together() -> None:
    attributes = ({"side": "LEFT", "tags": ["on the right", 3]}, None, "upper")
    result = plan([HFLIP], "left eye", "right eye", "nose", attributes=attributes, summary="The left is red.")
    assert result.scene.captions == ("right eye", "left eye", "nose")
    assert result.scene.attributes == ({"side": "RIGHT", "tags": ["on the left", 3]}, None, "upper")
    assert result.scene.summary == "The right is red."
    assert result.plan.words == (("left", "right"), ("right", "left"))
    assert result.telemetry.word_swaps == {"left": 3, "right": 2}
    assert "words: left -> right, right -> left" in result.plan.describe()
    tally = result.telemetry.tally(1)
    assert (tally["word_swaps/left"], tally["word_swaps/right"]) == (3, 2)


def test_the_words_of_a_plan_are_in_its_json() -> None:
    made = plan([HFLIP], "left eye").plan
    assert json.loads(made.to_json())["words"] == [["left", "right"]]
    assert Plan.from_json(made.to_json()).words == made.words
    assert "words" not in json.loads(plan([HFLIP], "eye").plan.to_json())


def test_two_flips_leave_words_alone_and_a_half_turn_changes_all() -> None:
    assert plan([HFLIP, HFLIP], "left", "top").scene.captions[:2] == ("left", "top")
    assert plan([HFLIP, VFLIP], "left", "top").scene.captions[:2] == ("right", "bottom")
    half = plan_maps([turned(180)], "left", "top")
    assert half.scene.captions == ("right", "bottom")


MAPS = st.one_of(
    st.sampled_from([Affine.hflip(CANVAS), Affine.vflip(CANVAS), *(turned(90.0 * k) for k in range(4))]),
    st.floats(-180.0, 180.0).map(turned),
    st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)).map(lambda s: Affine.scaling(*s, center=(80.0, 48.0))),
    st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)).map(lambda s: Affine(1, s[0], 0, s[1], 1 + s[0] * s[1], 0)),
)


@given(st.lists(MAPS, max_size=6))
def test_words_agree_with_the_signs_of_the_columns(maps: list[Affine]) -> None:
    result = plan_maps(maps, *STEP)
    words = dict(zip((list(STEP)[i] for i in result.source_index), result.scene.captions, strict=True))
    for word, new in words.items():
        moved = result.plan.affine.matrix[:2, :2] @ STEP[word]
        assert np.dot(moved, STEP[new]) > 0.0
    assert len(set(words.values())) == len(words)


@pytest.mark.parametrize(("angle", "acts"), [(44.0, True), (60.0, False), (90.0, True), (120.0, False), (180.0, True)])
def test_a_turn_between_the_quarters_does_not_act_where_words_of_direction_are(angle: float, acts: bool) -> None:
    assert bool(plan_maps([turned(angle)], "left eye").telemetry.applied) is acts
    assert plan_maps([turned(angle)], "eye").telemetry.applied == ("given",)
    assert plan_maps([turned(angle)], "left eye", words={"mirror": "keep"}).scene.captions == ("left eye",)


def test_small_turns_may_not_add_up_to_a_large_one() -> None:
    result = plan_maps([turned(30), Affine.scaling(1.5, 0.7), turned(30), turned(10)], "left eye")
    assert result.telemetry.skipped == (
        ("given", 'the text says "left", and the turns together are by more than 45 degrees'),
    )
    assert result.telemetry.word_skips == {"left": 1}
    assert result.telemetry.tally(1)["word_skips/left"] == 1
    after = plan_maps([turned(90), turned(30)], "left eye")
    assert after.telemetry.skipped == ()
    assert after.scene.captions == ("top eye",)


def test_mirror_skip_and_keep() -> None:
    skip, keep = {"mirror": "skip"}, {"mirror": "keep"}
    assert plan([HFLIP], "left eye", words=skip).telemetry.skipped == (("hflip", 'the text says "left"'),)
    assert plan([VFLIP], "left eye", words=skip).telemetry.applied == ("vflip",)
    assert plan([VFLIP], "upper part", words=skip).telemetry.word_skips == {"upper": 1}
    assert plan([HFLIP], "left eye", words=keep).scene.captions[0] == "left eye"
    assert plan([HFLIP], "left eye", words=keep).plan.words == ()
    assert plan_maps([turned(90)], "left eye", words=skip).telemetry.applied == ()


def test_own_pairs_have_no_word_for_a_quarter_turn() -> None:
    own = {"left_right": [["port", "starboard"]]}
    assert plan([HFLIP], "port bow", words=own).scene.captions[0] == "starboard bow"
    assert plan_maps([turned(90)], "port bow", words=own).telemetry.word_skips == {"port": 1}
    assert plan_maps([turned(90)], "a left hand").telemetry.word_skips == {"left hand": 1}


@pytest.mark.parametrize(
    ("steps", "alters"),
    [
        ([Hue(15.0)], False), ([Hue(-15.5)], True), ([Hue(10.0), Hue(10.0)], True), ([Hue(100.0), Hue(-95.0)], False),
        ([Hue(355.0)], False), ([Saturation(0.6)], False), ([Saturation(0.4)], True),
        ([Saturation(0.6), Saturation(0.6)], True), ([Inversion(128)], True), ([Inversion(256)], False),
        ([Levels(0.5)], False), ([Levels(0.1)], True), ([FewerBits(3)], False),
        ([Levels(0.25, pivot=128.0)], True), ([Levels(0.7, pivot=128.0)], False), ([Levels(1.0, offset=250.0)], True),
        ([Levels(1.0, offset=40.0)], False), ([Levels(-1.0, pivot=128.0)], True), ([PowerCurve(50.0)], True),
        ([PowerCurve(1.5)], False), ([FewerBits(1)], True), ([HsvScale(0.0, 0.3, 1.0)], True),
        ([HsvScale(10.0, 0.8, 0.6)], False), ([Inversion(0), Inversion(0)], False), ([Stretch(0.0)], True),
        ([LocalContrast(2.0, (8, 8))], False), ([], False),
    ],
)  # fmt: skip
def test_what_makes_names_of_colours_false(steps: list[ColorStep], alters: bool) -> None:
    assert (why_colors_alter(steps) is not None) is alters


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([Levels(0.1)], "a full colour would keep 10% of its brightness, less than 20%"),
        ([Saturation(0.4)], "a full colour would keep 42% of its saturation, less than 50%"),
        ([Hue(-20.0)], "the hue of a full colour would turn by 20.[0-2] degrees, more than 15"),
        # Neither turns hues by 15 degrees alone: a full orange clips to yellow, and 7 degrees come on top.
        ([Levels(1.2), Levels(1.15, pivot=128.0), Hue(7.2)], "would turn by 1[5-9]\\.\\d degrees, more than 15"),
        ([Stretch(0.0)], "what becomes of a colour depends on the image"),
    ],
)
def test_the_rule_and_the_number_are_said(steps: list[ColorStep], why: str) -> None:
    assert re.search(why, str(why_colors_alter(steps)))


def test_hues_that_clip_are_no_reason_alone() -> None:
    assert why_colors_alter([Levels(1.2), Levels(1.15, pivot=128.0)]) is None
    assert why_colors_alter([Hue(7.2)]) is None


class Swapped:
    """A colour step of another package: swaps channels."""

    def apply(self, image: Any) -> Any:
        return image[..., ::-1]


class Warmer(Swapped):
    keeps_colors = True


def test_a_step_of_another_package_alters_colours_unless_it_says_that_it_does_not() -> None:
    assert why_colors_alter([Swapped()]) is not None
    assert why_colors_alter([Warmer()]) is None


def test_colour_ops_do_not_act_on_samples_that_name_colours() -> None:
    solarize = {"name": "solarize"}
    assert plan([solarize], "a red car").telemetry.skipped == (
        ("solarize", 'the text says "red", and a full colour would keep 0% of its brightness, less than 20%'),
    )
    assert plan([solarize], "a red car").plan.color == ()
    assert plan([solarize], "a red car", words={"colour": "keep"}).telemetry.applied == ("solarize",)
    assert plan([solarize], "a car").telemetry.applied == ("solarize",)
    assert plan([solarize], "car", attributes=({"colour": "red"}, None, None)).telemetry.word_skips == {"red": 1}
    drawn = [plan([RED], "a red car", seed=seed) for seed in range(200)]
    for result, free in zip(drawn, (plan([RED], "a car", seed=seed) for seed in range(200)), strict=True):
        (step,) = free.plan.color
        beyond = abs((step.hue_deg + 180) % 360 - 180) - 15.0  # type: ignore[attr-defined]
        if abs(beyond) > 0.25:  # below, 8 bits do not tell
            assert result.plan.color == (() if beyond > 0.0 else free.plan.color)


def test_images_with_quoted_text_are_not_mirrored() -> None:
    sign = 'a sign "STOP"'
    assert plan([HFLIP], sign).telemetry.skipped == (("hflip", 'the text quotes "\\"STOP\\""'),)
    assert plan([VFLIP], "car", summary="shop ‘Books’").telemetry.word_skips == {"quoted text": 1}
    assert plan([HFLIP], "sign", attributes=({"text": ["STOP", 1]}, None, None)).telemetry.applied == ()
    assert plan([HFLIP], "sign", attributes=({"text": None}, {"text": ""}, None)).telemetry.applied == ("hflip",)
    kept = plan_maps([turned(180)], "left", attributes=({"text": "left", "side": "left"},))
    assert kept.scene.attributes == ({"text": "left", "side": "right"},)
    assert kept.telemetry.word_swaps == {"left": 2}
    assert plan([HFLIP], sign, words={"readable_text": "never"}).telemetry.applied == ("hflip",)
    assert plan([HFLIP], "car", words={"readable_text": "always"}).telemetry.applied == ()
    assert plan_maps([turned(20)], sign).telemetry.applied == ("given",)
    assert plan_maps([turned(180)], 'the left sign "LEFT"').scene.captions == ('the right sign "LEFT"',)


@pytest.mark.parametrize("written", ["7", 7, 0, ["", "EXIT"], {"upper_line": "EXIT"}, True])
def test_a_field_that_says_what_is_written_forbids_mirroring(written: object) -> None:
    told = plan([HFLIP], "sign", attributes=({"text": written}, None, None)).telemetry
    assert told.word_skips == {"quoted text": 1}
    assert not any(word in told.skipped[0][1] for word in ("None", "[", "{"))


@pytest.mark.parametrize("empty", [None, "", " ", [], ["", None], {}, {"line": ""}, False])
def test_an_empty_field_of_a_text_forbids_nothing(empty: object) -> None:
    attributes = ({"text": empty, "side": "left"}, None, None)
    result = plan([HFLIP], "sign, text: ", attributes=attributes)
    assert result.telemetry.applied == ("hflip",)
    assert result.scene.attributes[0] == {"text": empty, "side": "right"}


def test_a_summary_keeps_all_objects() -> None:
    for seed in range(30):
        result = plan([CROP, PASTE], "a", "b", "c", seed=seed, summary="three things")
        assert sorted(result.source_index.tolist()) == [0, 1, 2]
        assert ("small_object_zoom_paste" in result.telemetry.applied) is False
    dropped = [
        plan([CROP], "a", "b", "c", seed=seed, summary="x", words={"summary_crop": "allow"}) for seed in range(30)
    ]
    assert any(result.telemetry.dropped for result in dropped)
    told = [plan([CROP], seed=seed, summary="x").telemetry for seed in range(30)]
    assert any(each.word_skips == {"summary": 1} for each in told)
    assert any("the summary may speak of the" in reason for each in told for _, reason in each.skipped)


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_a_summary_does_not_forbid_what_an_expansion_brings_back(prob: float) -> None:
    move = {"name": "translate", "params": {"max_dx": 1.0, "max_dy": 1.0}}
    expand = {"name": "expand_to_fit_affine", "prob": prob}
    results = [plan([move, expand], seed=seed, summary="three things") for seed in range(40)]
    assert all(len(result.source_index) == 3 for result in results)
    assert all("translate" in result.telemetry.applied for result in results) is (prob == 1.0)


def test_copies_are_not_made_where_a_text_says_a_side() -> None:
    assert plan([PASTE], "box").telemetry.num_pasted
    result = plan([PASTE], "the left box")
    assert result.telemetry.num_pasted == 0
    assert result.telemetry.skipped == (
        ("small_object_zoom_paste", 'the text says "left", and a copy may be on another side'),
    )


def test_a_crop_rewrites_attributes_as_captions() -> None:
    crop = {
        "name": "random_crop",
        "params": {"scale": [0.3, 0.6], "min_coverage": 0.05, "completeness_threshold": 0.99},
    }
    config = {"ops": [HFLIP, crop], "completeness": {"complete": "whole", "partial": "cut off"}}
    attributes = ({"state": ["whole", {"side": "left"}]},) * 3
    seen = set()
    for seed in range(20):
        result = Pipeline.from_config(config).plan(
            CANVAS, SHAPES, generator(seed), ("left, whole",) * 3, attributes=attributes
        )
        for caption, value in zip(result.scene.captions, result.scene.attributes, strict=True):
            state, inner = value["state"]
            assert caption == f"right, {state}"
            assert inner == {"side": "right"}
            seen.add(state)
    assert seen == {"whole", "cut off"}


def test_an_op_sees_the_words_as_they_are_after_the_ops_before_it() -> None:
    crop = {"name": "roi_crop", "params": {"anchors": ["left eye"], "scale_range": [1.0, 1.0], "min_crop_size": 1}}
    result = plan([HFLIP, crop], "right eye", "left eye")
    assert "around 'left eye'" in result.plan.steps[1]
    assert 0 in result.source_index


def test_samples_without_words_are_drawn_as_before() -> None:
    ops = [HFLIP, {"name": "rotate", "params": {"max_deg": 180}}, CROP, RED]
    off = {"mirror": "keep", "colour": "keep", "readable_text": "never", "summary_crop": "allow"}
    for seed in range(10):
        on, without = plan(ops, "cup", seed=seed), plan(ops, "cup", seed=seed, words=off)
        assert on.plan.to_json() == without.plan.to_json()


def test_a_scene_gives_its_texts() -> None:
    scene = Scene(CANVAS, SHAPES, ("left", "b", "c"), None, ("top", None, None), "left")
    result = Pipeline.from_config([HFLIP, VFLIP])(scene, generator(0))
    assert (result.scene.captions[0], result.scene.attributes[0], result.scene.summary) == ("right", "bottom", "right")
    assert math.isclose(result.plan.affine.a, -1.0)
