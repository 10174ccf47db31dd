from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dcap.augment import AugmentResult, Pipeline, Plan, Scene, render
from dcap.augment.color import apply_color
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray, area_or_length

CANVAS = Canvas(120, 200)
SHAPES = ShapeArray.from_objects([{"bbox_2d": [10, 10, 30, 26]}, {"poly": [100, 60, 150, 60, 150, 110]}])
NOISE = np.random.default_rng(0).integers(0, 256, (CANVAS.height, CANVAS.width, 3), dtype=np.uint8)
PASTE = {"name": "small_object_zoom_paste", "params": {"max_size": 30, "context": 0.0, "overlap_threshold": 0.0}}


def run(ops: list[dict[str, Any]], seed: int = 0, **config: Any) -> AugmentResult:
    pipeline = Pipeline.from_config({"ops": ops, **config})
    return pipeline(Scene(CANVAS, SHAPES, ("a", "b"), NOISE), generator(seed))


def same_size(seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": PASTE["name"], "params": {**PASTE["params"], "scale": [1.0, 1.0], **more}}


def test_a_copy_without_enlargement_is_the_same_pixels() -> None:
    for seed in range(10):
        result = run([same_size()], seed)
        x, y = result.scene.shapes.points(2)[0].astype(int).tolist()
        want = NOISE.copy()
        want[y : y + 16, x : x + 20] = NOISE[10:26, 10:30]
        assert np.array_equal(result.scene.image, want)


def test_colours_act_on_copies_too() -> None:
    jitter = {"name": "color_jitter", "params": {"brightness": 0.4, "contrast": 0.3}}
    result = run([same_size(), jitter])
    assert np.array_equal(result.scene.image, apply_color(run([same_size()]).scene.image, result.plan.color))


def test_a_copy_is_read_from_the_source_at_its_final_size() -> None:
    grow = {"name": "resize_by_scale", "params": {"lo": 2.0, "hi": 2.0, "align_multiple": 4}}
    shrink = {"name": "resize_by_scale", "params": {"lo": 0.5, "hi": 0.5, "align_multiple": 4}}
    direct = run([{**PASTE, "params": {**PASTE["params"], "scale": [2.0, 2.0]}}, shrink])
    box = direct.scene.shapes.points(2)
    (x1, y1), (x2, y2) = box.astype(int).tolist()
    # Enlarged twice and shrunk to half: the very pixels of the source, which two resamples would have blurred.
    assert np.array_equal(direct.scene.image[y1:y2, x1:x2], NOISE[10:26, 10:30])
    assert direct.plan.decode_shrink == 1
    assert len(run([PASTE, grow]).plan.pastes) == 1


def test_later_crops_cut_copies_and_their_labels() -> None:
    crop = {"name": "random_crop", "params": {"scale": [0.3, 0.6], "min_objects": 0, "min_coverage": 0.0}}
    seen = set()
    for seed in range(60):
        result = run([same_size(), crop], seed)
        pasted = result.scene.shapes.take(result.source_index == 0)
        area = float(area_or_length(pasted).sum()) if len(pasted) else 0.0
        shown = sum(float(np.prod(np.ptp(paste.region, axis=0))) for paste in result.plan.pastes)
        original = area - shown
        assert -1e-6 <= original <= 320 + 1e-6
        seen.add((shown > 0, 0 < shown < 319.9))
    assert seen == {(True, True), (True, False), (False, False)}


def test_copies_of_copies() -> None:
    for seed in range(30):
        result = run([same_size(), same_size(max_targets=2)], seed)
        image, shapes = result.scene.image, result.scene.shapes
        assert image is not None
        assert result.source_index.tolist() == [0, 1, 0, 0, 0]
        for i in np.flatnonzero(result.source_index == 0).tolist():
            x, y = shapes.points(i)[0].astype(int).tolist()
            assert np.array_equal(image[y : y + 16, x : x + 20], NOISE[10:26, 10:30])


@pytest.mark.parametrize("split_policy", ["largest", "all"])
def test_what_a_copy_hides_counts_as_invisible_from_then_on(split_policy: str) -> None:
    hide = same_size(overlap_threshold=0.9, scale=[3.0, 3.0])
    crop = {"name": "random_crop", "params": {"scale": [0.95, 0.95], "aspect_ratio": [1, 1], "min_coverage": 0.0}}
    hidden = 0
    for seed in range(40):
        before, after = (run(ops, seed, split_policy=split_policy) for ops in ([hide], [hide, crop]))
        left = {int(s): float(v) for s, v in zip(before.source_index[:2], before.visible_fraction[:2], strict=True)}
        assert len(before.plan.pastes) == 1
        hidden += min(left.values()) < 1.0
        for source, visible in list(zip(after.source_index, after.visible_fraction, strict=True))[:2]:
            assert visible <= left[int(source)] + 1e-9
    assert hidden > 5


def test_json_gives_back_copies() -> None:
    result = run([PASTE, {"name": "rotate", "params": {"max_deg": 20}}, {"name": "expand_to_fit_affine"}])
    again = Plan.from_json(result.plan.to_json())
    assert again.to_json() == result.plan.to_json()
    assert len(again.pastes) == 1
    assert np.array_equal(render(NOISE, again), result.scene.image)


@pytest.mark.parametrize(
    ("paste", "message"),
    [
        ({"region": [[0, 0], [1, 1]]}, "outlines of 3 to 1000 points, not 2"),
        ({"affine": {"a": 1, "b": 1, "c": 0, "d": 1, "e": 1, "f": 0}}, "must be invertible"),
        ({"region": [[0, 0], [1, 1], [1e12, 5]]}, "coordinates of at most"),
    ],
)
def test_what_is_no_paste(paste: dict[str, Any], message: str) -> None:
    tree = run([PASTE]).plan.to_tree()
    tree["pastes"][0] |= paste
    with pytest.raises(ConfigError, match=message):
        Plan.from_tree(tree)


def test_too_many_pastes() -> None:
    tree = run([PASTE]).plan.to_tree()
    tree["pastes"] *= 1001
    with pytest.raises(ConfigError, match="at most 1000"):
        Plan.from_tree(tree)


@pytest.mark.parametrize("where", [{"c": 1e6}, {"f": -1e6}, {"a": 1e-7, "e": 1e-7}])
def test_a_paste_of_what_is_not_there_shows_the_border_and_nothing_else_changes(where: dict[str, float]) -> None:
    tree = run([PASTE]).plan.to_tree()
    tree["pastes"][0]["affine"] |= where
    region = np.array(tree["pastes"][0]["region"])
    (x1, y1), (x2, y2) = np.floor(region.min(axis=0)).astype(int), np.ceil(region.max(axis=0)).astype(int)
    shown = render(NOISE, Plan.from_tree(tree))
    outside = np.ones(shown.shape, bool)
    outside[y1:y2, x1:x2] = False
    assert np.array_equal(shown[outside], NOISE[outside])
