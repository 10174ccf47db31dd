from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from dcap.augment import AugmentResult, Pipeline, Scene
from dcap.augment.rendering import render
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray, TileWindow, clip, transform, visible_fraction
from support.augment_cases import plan_one

NAME = "small_object_zoom_paste"
CANVAS = Canvas(300, 400)
SHAPES = ShapeArray.from_objects(
    [
        {"bbox_2d": [20, 30, 40, 60]},
        {"poly": [200, 100, 390, 110, 380, 290, 210, 280]},
        {"line": [60, 200, 80, 210, 90, 230]},
        {"poly": [22, 60, 44, 62, 36, 80]},
    ]
)
CAPTIONS = ("bolt", "mast", "crack", "nut")


def paste(seed: int, shapes: ShapeArray = SHAPES, **params: Any) -> AugmentResult:
    captions = CAPTIONS[: len(shapes)]
    pipeline = Pipeline.from_config([{"name": NAME, "params": {"max_attempts": 200, **params}}])
    return pipeline.plan(CANVAS, shapes, generator(seed), captions)


def copies(result: AugmentResult) -> list[int]:
    """Where in the result the copies lie; what came in stands before them."""
    return list(range(len(SHAPES), len(result.scene.shapes)))


def test_a_copy_has_the_caption_and_the_form_of_its_object() -> None:
    for seed in range(30):
        result = paste(seed, context=0.0, max_targets=3, overlap_threshold=0.0, min_coverage=1.0)
        assert result.scene.shapes.take(range(len(SHAPES))) == SHAPES
        assert copies(result)
        for i in copies(result):
            source = int(result.source_index[i])
            assert source != 1
            assert result.scene.captions[i] == CAPTIONS[source]
            assert result.scene.shapes.kinds[i] == SHAPES.kinds[source]
            was, now = SHAPES.points(source), result.scene.shapes.points(i)
            factor = np.ptp(now, axis=0) / np.ptp(was, axis=0)
            assert factor[0] == pytest.approx(factor[1])
            assert 1.5 <= factor[0] <= 3.0
        assert (result.visible_fraction == 1.0).all()
        assert result.telemetry.num_pasted == len(copies(result))
        assert result.telemetry.num_kept == len(SHAPES)


def test_what_else_the_window_shows_comes_along_if_enough_of_it_is_there() -> None:
    near = [paste(seed, max_line_length=0, context=1.0, scale=[1.0, 1.1]) for seed in range(20)]
    assert {tuple(r.scene.captions[4:]) for r in near} == {("bolt", "nut")}
    far = [paste(seed, max_line_length=0, context=0.25, min_coverage=1.0) for seed in range(20)]
    assert {tuple(r.scene.captions[4:]) for r in far} == {("bolt",), ("nut",)}


def test_texts_say_what_the_window_cut() -> None:
    config = {
        "ops": [{"name": NAME, "params": {"min_coverage": 0.1, "completeness_threshold": 0.9, "max_line_length": 0}}],
        "completeness": {"complete": "whole", "partial": "in part"},
    }
    texts = tuple(f"{caption}, whole" for caption in CAPTIONS)
    results = [Pipeline.from_config(config).plan(CANVAS, SHAPES, generator(seed), texts) for seed in range(20)]
    pasted = {(r.scene.captions[i], r.visible_fraction[i] < 0.9) for r in results for i in copies(r)}
    assert pasted == {("bolt, whole", False), ("bolt, in part", True), ("nut, whole", False), ("nut, in part", True)}
    assert all(r.scene.captions[:4] == texts for r in results)


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_no_object_is_hidden_by_more_than_the_threshold(threshold: float) -> None:
    least = 1.0
    for seed in range(60):
        params = {"max_targets": 3, "scale": [2.0, 5.0], "context": 0.1, "min_coverage": 1.0}
        result = paste(seed, overlap_threshold=threshold, **params)
        assert result.visible_fraction.min() >= 1.0 - threshold - 1e-9
        for at in result.plan.pastes:
            hidden = visible_fraction(SHAPES, (*at.region.min(axis=0), *at.region.max(axis=0)))
            assert hidden.max() <= threshold + 1e-9
        least = min(least, float(result.visible_fraction.min()))
    assert (least < 1.0) == (threshold > 0.0)


@pytest.mark.parametrize("width", [100, 111, 200, 333])
@pytest.mark.parametrize("side", [7, 22, 50])
def test_an_object_as_large_as_the_canvas_allows_finds_its_one_place(width: int, side: int) -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [0, 0, side, side]}])
    op = {"name": NAME, "params": {"scale": [90, 90], "context": 0, "overlap_threshold": 0.99, "max_size": 99}}
    result = Pipeline.from_config([op]).plan(Canvas(width, width), shapes, generator(0))
    # It would hide its own original, all of it.
    assert result.telemetry.skipped == ((NAME, "no place was found where a copy hides little enough"),)
    free = {**op, "params": {**op["params"], "scale": [(width - side) / side] * 2, "max_attempts": 5000}}
    result = Pipeline.from_config([free]).plan(Canvas(width, width), shapes, generator(0))
    assert len(result.plan.pastes) == 1


def test_copies_do_not_hide_each_other() -> None:
    for seed in range(60):
        result = paste(seed, max_targets=3, overlap_threshold=0.0, scale=[2.0, 4.0], context=0.0, min_coverage=1.0)
        for k, at in enumerate(result.plan.pastes):
            below = result.scene.shapes.take(range(len(SHAPES) + k))
            assert not len(clip(below, (*at.region.min(axis=0), *at.region.max(axis=0))).shapes)


def test_an_enlargement_that_the_canvas_cannot_hold_is_less() -> None:
    wide = ShapeArray.from_objects([{"bbox_2d": [10, 10, 210, 14]}])
    result = paste(0, wide, max_size=200, scale=[5.0, 5.0], context=0.0)
    assert np.ptp(result.scene.shapes.points(1), axis=0).tolist() == [400.0, 8.0]


@given(st.integers(0, 10_000), st.floats(0, 3), st.floats(0.2, 8))
@example(seed=491, context=0.0, factor=7.0)  # as high as the canvas, and a bit more by rounding
def test_copies_lie_on_visible_pixels_of_the_canvas(seed: int, context: float, factor: float) -> None:
    params = {"context": context, "scale": [factor, factor], "max_targets": 3, "overlap_threshold": 0.9}
    turn = {"name": "rotate", "params": {"max_deg": 40}}
    result = Pipeline.from_config([turn, {"name": NAME, "params": params}]).plan(CANVAS, SHAPES, generator(seed))
    region = result.plan.region
    edges = np.roll(region, -1, axis=0) - region
    for at in result.plan.pastes:
        offsets = at.region[:, None] - region
        side = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
        assert (side > -1e-3).all()
        assert at.region.min() >= 0
        assert (at.region <= [CANVAS.width, CANVAS.height]).all()


def test_why_nothing_was_copied() -> None:
    big = paste(0, max_size=10, max_line_length=0)
    assert big.telemetry.skipped == ((NAME, "no object is small enough"),)
    assert paste(0, ShapeArray.empty()).telemetry.skipped == ((NAME, "no object is small enough"),)
    full = ShapeArray.from_objects([{"bbox_2d": [0, 0, 400, 300]}, {"bbox_2d": [5, 5, 15, 15]}])
    placed = paste(0, full, overlap_threshold=0.0)
    assert placed.telemetry.skipped == ((NAME, "no place was found where a copy hides little enough"),)
    assert placed.plan.pastes == ()


def test_lines_are_copied_up_to_their_own_limit() -> None:
    pasted = {
        limit: {paste(seed, max_line_length=limit, max_size=0).scene.captions[4:] for seed in range(10)}
        for limit in (40, 50)
    }
    assert pasted == {40: {()}, 50: {("crack",)}}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scale": [2.0, 1.0]}, "lo <= hi"),
        ({"scale": [0.01, 1.0]}, "0.1 <= lo"),
        ({"overlap_threshold": 1.0}, "below 1"),
        ({"max_targets": 0}, "max_targets must be at least 1"),
        ({"max_attempts": 0}, "max_attempts must be at least 1"),
        ({"max_size": -1}, "max_size must be at least 0"),
        ({"context": -0.1}, "context must be at least 0"),
        ({"min_coverage": 1.5}, "min_coverage must be within"),
        ({"completeness_threshold": 0.5}, "must have a rule"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_one(NAME, **params)


def test_a_tile_is_pasted_into_as_an_image_of_its_own() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(blocks).resize((400, 300), Image.Resampling.BICUBIC))
    window, kept = TileWindow(x=10, y=20, height=240, width=150), [0, 2, 3]
    pipeline = Pipeline.from_config([{"name": NAME, "params": {"max_attempts": 200, "max_targets": 3}}])
    shapes = transform(SHAPES.take(kept), Affine.translation(-10, -20))
    pasted = 0
    for seed in range(10):
        tile = pipeline.plan(CANVAS, SHAPES, generator(seed), CAPTIONS, window=window)
        part = Scene(window.canvas, shapes, tuple(CAPTIONS[i] for i in kept), image[20:260, 10:160])
        alone = pipeline(part, generator(seed))
        assert tile.scene.captions == alone.scene.captions
        assert tile.source_index.tolist() == [kept[i] for i in alone.source_index]
        assert np.array_equal(tile.is_copy, alone.is_copy)
        assert tile.scene.shapes.xy == pytest.approx(alone.scene.shapes.xy, abs=1e-9)
        rendered = render(image, tile.plan).astype(int)
        assert np.abs(rendered - alone.scene.image).max() <= 2
        pasted += tile.telemetry.num_pasted
    assert pasted >= 10
