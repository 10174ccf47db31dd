from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint
from typing import Any, Literal

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcap.augment import Pipeline, Scene, register
from dcap.augment.fit import fit_canvas
from dcap.augment.plan import Plan
from dcap.augment.policy import DropRules, Skip, View, Warp
from dcap.augment.rendering import render
from dcap.augment.texts import Texts
from dcap.augment.walk import Walk
from dcap.core import registry
from dcap.core.errors import ConfigError, GeometryError
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray, TileWindow, area_or_length, transform_and_clip
from support.augment_cases import CANVAS, CAPTIONS, SHAPES, plan

OPS = [
    st.just({"name": "hflip"}),
    st.just({"name": "vflip"}),
    st.floats(0, 180).map(lambda v: {"name": "rotate", "params": {"max_deg": v}}),
    st.floats(0.3, 1).map(lambda v: {"name": "scale", "params": {"lo": v, "hi": v + 0.7}}),
    st.floats(0, 1).map(lambda v: {"name": "translate", "params": {"max_dx": v, "max_dy": v / 2}}),
    st.floats(0, 60).map(lambda v: {"name": "shear", "params": {"max_deg_x": v, "max_deg_y": v / 3}}),
    st.floats(0.3, 1).map(lambda v: {"name": "resize_by_scale", "params": {"lo": v, "hi": v + 0.7}}),
    st.sampled_from([32, 50]).map(lambda v: {"name": "pad_to_multiple", "params": {"multiple": v}}),
    st.floats(0, 0.5).map(lambda v: {"name": "random_crop", "params": {"scale": [0.4, 0.9], "min_coverage": v}}),
    st.sampled_from([[], ["o"]]).map(lambda v: {"name": "roi_crop", "params": {"anchors": v, "min_crop_size": 20}}),
    st.just({"name": "expand_to_fit_affine", "params": {"max_pixels": 40_000}}),
    st.just({"name": "color_jitter", "params": {"brightness": 0.3, "contrast": 0.2, "saturation": 0.4, "hue": 0.1}}),
    st.sampled_from(["hsv", "solarize", "posterize", "auto_contrast", "clahe"]).map(lambda v: {"name": v}),
    st.sampled_from(["gamma", "sharpness"]).map(lambda v: {"name": v, "params": {"lo": 0.5, "hi": 2}}),
]
PIPELINES = st.lists(
    st.builds(lambda op, prob: {**op, "prob": prob}, st.one_of(OPS), st.sampled_from([0.5, 1.0, 1.0])), max_size=6
)


@given(PIPELINES, st.integers(0, 1000))
def test_planned_and_rendered_agree(ops: list[dict[str, Any]], seed: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    pipeline = Pipeline.from_config(ops)
    planned = pipeline.plan(CANVAS, SHAPES, generator(seed), CAPTIONS)
    full = pipeline(Scene(CANVAS, SHAPES, CAPTIONS, image), generator(seed))
    assert full.scene.shapes == planned.scene.shapes
    assert full.scene.captions == planned.scene.captions
    assert full.scene.canvas == planned.scene.canvas
    assert np.array_equal(full.source_index, planned.source_index)
    assert np.array_equal(full.visible_fraction, planned.visible_fraction)
    assert full.plan.describe() == planned.plan.describe()
    assert full.scene.image.shape == (planned.scene.canvas.height, planned.scene.canvas.width, 3)


@given(PIPELINES, st.integers(0, 1000), st.sampled_from(["largest", "all"]))
def test_every_object_is_kept_or_has_a_reason(ops: list[dict[str, Any]], seed: int, split: str) -> None:
    result = plan(ops, seed, split_policy=split)
    kept = set(result.source_index.tolist())
    assert kept | set(result.telemetry.dropped) == {0, 1, 2}
    assert not kept & set(result.telemetry.dropped)
    assert result.scene.captions == tuple(CAPTIONS[i] for i in result.source_index)
    assert ((result.visible_fraction > 0) & (result.visible_fraction <= 1)).all()
    if split == "largest":
        assert len(kept) == len(result.source_index)


@given(PIPELINES, st.integers(0, 1000))
def test_shapes_are_the_mapped_ones_inside_the_visible_region(ops: list[dict[str, Any]], seed: int) -> None:
    result = plan(ops, seed, split_policy="all")
    region = shapely.Polygon(result.plan.region) if len(result.plan.region) else shapely.Polygon()
    parts: dict[int, list[Any]] = {}
    for source, (_, points) in zip(result.source_index.tolist(), result.scene.shapes, strict=True):
        if source == 1:
            parts.setdefault(source, []).append(shapely.Polygon(points))
    mapped = shapely.Polygon(result.plan.affine.apply(SHAPES.points(1)))
    visible = shapely.unary_union(parts.get(1, []))
    want = mapped.intersection(region)
    if 1 in result.telemetry.dropped:
        want = want if "outside" in result.telemetry.dropped[1] else shapely.Polygon()
    assert visible.symmetric_difference(want).area <= 1e-6 * mapped.area


def test_no_ops_is_the_identity() -> None:
    result = plan([])
    assert result.scene.shapes == SHAPES
    assert result.plan.affine == Affine.identity()
    assert result.plan.interpolation == "model"
    assert result.telemetry.num_kept == 3


def test_bypass_leaves_the_sample_alone() -> None:
    result = plan([{"name": "hflip"}], bypass_prob=1.0)
    assert result.telemetry.bypassed
    assert result.scene.shapes == SHAPES
    assert plan([{"name": "hflip"}]).scene.shapes != SHAPES


def test_prob_is_honoured() -> None:
    acted = [bool(plan([{"name": "hflip", "prob": 0.25}], seed).telemetry.applied) for seed in range(400)]
    assert 60 < sum(acted) < 140


def test_model_resize_is_the_last_step() -> None:
    pipeline = Pipeline.from_config([{"name": "hflip"}])
    fit = lambda canvas: fit_canvas(canvas, 65_536, 1_048_576)  # noqa: E731
    result = pipeline.plan(CANVAS, SHAPES, generator(0), CAPTIONS, fit)
    assert result.scene.canvas == fit(CANVAS)
    corner = result.plan.affine.apply([0.0, 0.0])
    assert corner.tolist() == [result.scene.canvas.width, 0.0]
    assert result.plan.interpolation == "linear"


def test_what_left_the_canvas_does_not_come_back() -> None:
    grow = {"name": "scale", "params": {"lo": 2.0, "hi": 2.0}}
    shrink = {"name": "scale", "params": {"lo": 0.5, "hi": 0.5}}
    result = plan([grow, shrink])
    assert result.plan.affine.coefficients == pytest.approx(Affine.identity().coefficients)
    assert shapely.Polygon(result.plan.region).area == pytest.approx(CANVAS.num_pixels / 4)
    assert result.telemetry.padding_share == pytest.approx(0.75)
    low, high = result.plan.region.min(axis=0), result.plan.region.max(axis=0)
    assert (result.scene.shapes.xy >= low - 1e-9).all()
    assert (result.scene.shapes.xy <= high + 1e-9).all()


def test_an_expansion_that_is_not_drawn_saves_nothing() -> None:
    grow = {"name": "scale", "params": {"lo": 2.0, "hi": 2.0}}
    shrink = {"name": "scale", "params": {"lo": 0.5, "hi": 0.5}}
    result = plan([grow, {"name": "expand_to_fit_affine", "prob": 0.0}, shrink])
    assert result.telemetry.applied == ("scale", "scale")
    assert result.telemetry.padding_share == pytest.approx(0.75)


def test_parts_that_are_kept_apart_count_by_themselves() -> None:
    arch = ShapeArray.from_objects([{"poly": [0, 50, 0, 0, 90, 0, 90, 50, 80, 50, 80, 10, 40, 10, 40, 50]}])
    whole = area_or_length(arch)[0]
    walk = Walk.start(CANVAS, arch, Texts(("arch",)), "polygon", "all")
    legs = walk.warped(Warp(Affine.translation(0, -20), CANVAS, ""), "up", cut=True)
    assert isinstance(legs, Walk)
    assert len(legs.shapes) == 2
    assert legs.visible_fraction == pytest.approx([(40 + 10) * 30 / whole] * 2)
    leg = legs.warped(Warp(Affine.identity(), Canvas(96, 60), ""), "left", cut=True)
    assert isinstance(leg, Walk)
    assert leg.visible_fraction == pytest.approx([40 * 30 / whole]), "the right leg is gone, and only that"


def test_a_label_counts_by_what_it_shows() -> None:
    arch = ShapeArray.from_objects([{"poly": [0, 50, 0, 0, 90, 0, 90, 50, 80, 50, 80, 10, 40, 10, 40, 50]}])
    whole = area_or_length(arch)[0]
    walk = Walk.start(CANVAS, arch, Texts(("arch",)), "polygon", "largest")
    up = Warp(Affine.translation(0, -20), CANVAS, "")
    leg = walk.warped(up, "up", cut=True)
    assert isinstance(leg, Walk)
    assert leg.labelled().visible_fraction == pytest.approx([40 * 30 / whole]), "the smaller leg has no label"
    half = leg.warped(up, "up", cut=True)
    assert isinstance(half, Walk)
    assert half.labelled().visible_fraction == pytest.approx([40 * 10 / whole])
    # Both legs together would be enough.
    least = walk.warped(replace(up, rules=DropRules(min_coverage=0.6)), "up", cut=True)
    assert isinstance(least, Walk)
    assert least.dropped == {0: f"{40 * 30 / whole:.0%} visible after up, less than 60%"}


@pytest.mark.parametrize("split_policy", ["largest", "all"])
def test_a_line_that_would_be_cut_in_two_forbids_the_crop(split_policy: Literal["largest", "all"]) -> None:
    hat = ShapeArray.from_objects([{"line": [0, 90, 70, 90, 80, 10, 90, 90, 160, 90]}])
    walk = Walk.start(CANVAS, hat, Texts(("hat",)), "polygon", split_policy)
    cut = Warp(Affine.translation(0, -20), CANVAS, "", DropRules(skip_if_line=True))
    assert walk.warped(cut, "up", cut=True) == Skip("a line would be cut")


def test_box_policy() -> None:
    rotate = [{"name": "rotate", "params": {"max_deg": 30.0}}]
    assert "poly" in plan(rotate).scene.shapes.to_objects()[0]
    assert "bbox_2d" in plan(rotate, box_policy="aabb").scene.shapes.to_objects()[0]


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([{"name": "rotat"}], r"augmentation.ops\[0\].name: 'rotat' is not a known op; did you mean rotate\?"),
        (
            [{"name": "hflip"}, {"name": "rotate", "params": {"max_angle": 3}}],
            r"augmentation.ops\[1\].params.max_angle is not a field",
        ),
        ([{"name": "rotate"}], r"augmentation.ops\[0\].params.max_deg must be given"),
        ([{"name": "rotate", "params": {"max_deg": 270}}], "max_deg must be within 0..180"),
        ([{"name": "scale", "params": {"lo": 2, "hi": 1}}], "0 < lo <= hi"),
        ([{"name": "hflip", "prob": 1.5}], r"augmentation.ops\[0\].prob must be within 0..1"),
        ([{"name": "color_jitter", "params": {"hue": 0.7}}], "hue must be within 0..0.5"),
        ([{"name": "random_crop", "params": {"scale": [0.9, 0.5]}}], "scale must fulfil"),
        ([{"name": "expand_to_fit_affine", "params": {"max_pixels": 100}}], "must hold one block"),
    ],
)
def test_bad_configs_name_the_place(ops: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_config(ops)


@pytest.mark.parametrize(
    ("ops", "level", "message"),
    [
        ([{"name": "pad_to_multiple", "params": {"multiple": 28}}], "WARNING", "pad_to_multiple leaves .* of 28; the"),
        ([{"name": "expand_to_fit_affine"}, {"name": "random_crop"}], "INFO", "random_crop leaves sides of any length"),
        ([{"name": "random_crop"}, {"name": "pad_to_multiple", "params": {"multiple": 64}}, {"name": "hflip"}], "", ""),
        ([{"name": "hflip"}, {"name": "color_jitter"}], "", ""),
    ],
)
def test_a_canvas_that_the_model_resizes_again_is_told(
    ops: list[dict[str, Any]], level: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dcap")
    Pipeline.from_config(ops).log_canvas_fit()
    assert [record.levelname for record in caplog.records] == [level] * bool(level)
    assert re.search(message, caplog.text)


def test_an_op_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    @register("shift_right_test")
    @dataclass(frozen=True)
    class ShiftRight:
        pixels: int = 10

        def sample(self, view: View, rng: np.random.Generator) -> Warp:
            return Warp(Affine.translation(self.pixels, 0), view.canvas, f"{self.pixels} px to the right")

    result = plan([{"name": "shift_right_test", "params": {"pixels": 20}}])
    assert result.scene.shapes.to_objects()[0] == {"bbox_2d": [30.0, 8.0, 80.0, 40.0]}
    assert "20 px to the right" in result.plan.describe()
    monkeypatch.setattr(
        registry, "entry_points", lambda **_: [EntryPoint("by_entry", f"{__name__}:Nothing", "dcap.ops")]
    )
    result = plan([{"name": "by_entry"}])
    assert result.telemetry.skipped == (("by_entry", "because"),)


@dataclass(frozen=True)
class Nothing:
    def sample(self, view: View, rng: np.random.Generator) -> Any:
        from dcap.augment.policy import Skip

        return Skip("because")


def test_an_op_must_be_a_dataclass() -> None:
    class Plain:
        def sample(self, view: View, rng: np.random.Generator) -> Any:
            raise AssertionError

    register("plain_test", Plain)
    with pytest.raises(ConfigError, match=r"augmentation.ops\[0\].name: op plain_test must be a dataclass"):
        plan([{"name": "plain_test"}])


def test_scene_checks_its_parts() -> None:
    with pytest.raises(GeometryError, match="captions must be one per shape"):
        Scene(CANVAS, SHAPES, ("a",))
    with pytest.raises(GeometryError, match="image must be uint8"):
        Scene(CANVAS, SHAPES, CAPTIONS, np.zeros((96, 161, 3), np.uint8))


def test_a_seed_is_as_good_as_a_generator() -> None:
    pipeline = Pipeline.from_config([{"name": "rotate", "params": {"max_deg": 30}}])
    canvas, shapes = Canvas(48, 64), ShapeArray.from_objects([{"bbox_2d": [10, 10, 30, 30]}])
    seeded, drawn = pipeline.plan(canvas, shapes, 5), pipeline.plan(canvas, shapes, np.random.default_rng(5))
    assert seeded.plan.to_tree() == drawn.plan.to_tree()
    assert seeded.plan.to_tree() != pipeline.plan(canvas, shapes, 6).plan.to_tree()


@given(PIPELINES, st.integers(0, 1000))
def test_to_a_tile_its_window_is_the_image(ops: list[dict[str, Any]], seed: int) -> None:
    """The same ops on the window cut out of image and shapes give the same pixels and the same shapes."""
    window = TileWindow(x=24, y=16, height=64, width=100)
    # Soft edges: the resampling counts in parts of a pixel, which begin elsewhere in the whole image.
    blocks = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(blocks).resize((160, 96), Image.Resampling.BICUBIC))
    pipeline, fit = Pipeline.from_config(ops), partial(fit_canvas, min_pixels=4096, max_pixels=20_000)
    tile = pipeline.plan(CANVAS, SHAPES, generator(seed), CAPTIONS, fit, window=window)
    cut = transform_and_clip(SHAPES, Affine.translation(-24, -16), window.canvas, "largest")
    part = Scene(window.canvas, cut.shapes, tuple(CAPTIONS[i] for i in cut.source_index), image[16:80, 24:124])
    alone = pipeline(part, generator(seed), fit)
    assert tile.scene.captions == alone.scene.captions
    assert np.array_equal(tile.source_index, cut.source_index[alone.source_index])
    assert tile.scene.shapes.xy == pytest.approx(alone.scene.shapes.xy, abs=1e-9)
    assert tile.visible_fraction == pytest.approx(alone.visible_fraction)
    assert tile.telemetry.num_objects == alone.telemetry.num_objects
    rendered = render(image, tile.plan)
    if tile.plan.interpolation == "model":
        assert np.array_equal(rendered, alone.scene.image)
    else:  # colour steps may enlarge the difference
        differs = (np.abs(rendered.astype(int) - alone.scene.image.astype(int)) > 1).any(axis=-1)
        assert differs.mean() < 0.01


def test_objects_of_a_tile_are_those_that_it_shows_enough_of() -> None:
    boxes = [[0, 0, 50, 50], [70, 40, 100, 60], [60, 0, 64, 10], [120, 0, 150, 20], [0, 60, 160, 96]]
    shapes = ShapeArray.from_points([np.reshape(each, (2, 2)) for each in boxes], [0] * 5)
    rules = DropRules(0.3, large_by_canvas=True)
    window = TileWindow(x=0, y=0, height=64, width=64)
    result = Pipeline().plan(CANVAS, shapes, generator(0), "abcde", window=window, window_rules=rules)
    # b and d are not in the window; it shows 4 of the 36 rows of e, 4 x 64 of 4096 pixels.
    assert result.scene.captions == ("a", "c")
    assert result.telemetry.dropped == {4: "4% visible after the tile, less than 30%"}
    assert result.telemetry.num_objects == 3
    large = ShapeArray.from_points([[[0, 0], [160, 96]], [[0, 20], [160, 20]]], [0, 2])
    for rule, names in ((rules, ("a", "b")), (DropRules(0.5), ())):
        result = Pipeline().plan(CANVAS, large, generator(0), "ab", window=window, window_rules=rule)
        assert result.scene.captions == names


def test_a_plan_with_a_window_is_read_back() -> None:
    window = TileWindow(x=24, y=16, height=64, width=100)
    result = plan([{"name": "hflip"}], 0)
    assert "window" not in result.plan.to_tree()
    tile = Pipeline.from_config([{"name": "hflip"}]).plan(CANVAS, SHAPES, generator(0), CAPTIONS, window=window).plan
    assert tile.describe().startswith("160x96, tile 100x64 at (24, 16) -> 100x64")
    again = Plan.from_json(tile.to_json())
    assert again.window == window
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    assert np.array_equal(render(image, again), render(image, tile))
    tree = tile.to_tree()
    tree["window"]["width"] = 137
    with pytest.raises(ConfigError, match="window must be inside the source, not 137x64 at"):
        Plan.from_tree(tree)


def test_a_window_of_a_shrunk_image_is_the_same_part() -> None:
    image = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8), 2, 0), 2, 1)
    window = TileWindow(x=24, y=16, height=64, width=128)
    pipeline = Pipeline.from_config([{"name": "resize_by_scale", "params": {"lo": 0.5, "hi": 0.5}}])
    tile = pipeline.plan(CANVAS, SHAPES, generator(0), CAPTIONS, window=window).plan
    assert tile.decode_shrink == 2
    small = np.ascontiguousarray(image[::2, ::2])
    assert np.array_equal(render(small, tile), small[8:40, 12:76])
