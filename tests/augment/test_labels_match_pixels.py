"""What is painted on the source ends where the returned shapes say, whatever the ops do."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import shapely

from dcap.augment import OPS as OPS_BY_NAME
from dcap.augment import AugmentResult, Pipeline, Scene
from dcap.augment.pipeline import Stage
from dcap.augment.policy import View, Warp
from dcap.augment.rendering import FILL
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray
from dcap.geometry.shapes import GeometryKind
from support.painting import Cover, Points, center, cover, disc, finer, iou

CANVAS = Canvas(150, 230)
HOOK = [58.3, 86.6, 128.1, 80.2, 132.7, 104.4, 94.5, 110.9, 98.2, 140.8, 62.4, 144.3]
RINGS = (
    disc(186.3, 42.7, 31.5),
    np.array(HOOK).reshape(-1, 2),
    np.array([[11.5, 9.25], [92.0, 9.25], [92.0, 51.75], [11.5, 51.75]]),
)
SHAPES = ShapeArray.from_points(
    [*RINGS[:2], RINGS[2][::2]], [GeometryKind.POLYGON, GeometryKind.POLYGON, GeometryKind.BOX]
)
CAPTIONS = ("disc", "hook", "box")
NOISE = np.random.default_rng(0).integers(0, 256, (CANVAS.height, CANVAS.width, 3), dtype=np.uint8)
MIN_AREA = 400
"""Pixels that a shape must have left to be compared in outline."""
ZOOM = 4
"""Outlines are compared at a quarter of a pixel: where two edges fall on either side of a centre means little."""

KEEP_ALL = {"min_coverage": 0.0, "min_objects": 0}
OPS: dict[str, dict[str, Any]] = {
    "hflip": {},
    "vflip": {},
    "rotate": {"max_deg": 180},
    "scale": {"lo": 0.4, "hi": 1.6},
    "translate": {"max_dx": 0.3, "max_dy": 0.3},
    "shear": {"max_deg_x": 25, "max_deg_y": 20},
    "resize_by_scale": {"lo": 0.6, "hi": 1.7, "align_multiple": 28},
    "pad_to_multiple": {"multiple": 50},
    "expand_to_fit_affine": {"max_pixels": 60_000},
    "random_crop": {"scale": [0.4, 0.9], **KEEP_ALL},
    "roi_crop": {"scale_range": [1.1, 2.5], "min_crop_size": 40, **KEEP_ALL},
    "small_object_zoom_paste": {
        "max_targets": 2,
        "max_size": 90,
        "scale": [0.4, 1.1],
        "context": 0.1,
        "overlap_threshold": 0.0,
        "max_attempts": 200,
        "min_coverage": 0.0,
    },
}


class Match(NamedTuple):
    """How far pixels and label of one shape are apart: centres in pixels, overlap."""

    distance: float
    iou: float


@cache
def painted() -> npt.NDArray[np.uint8]:
    """Each shape in a channel of its own, on the grey that fills what is outside."""
    channels = [np.rint(128 + 127 * cover(CANVAS, ring)) for ring in RINGS]
    return np.stack(channels, axis=-1).astype(np.uint8)


def run(ops: list[dict[str, Any]], seed: int, **config: Any) -> AugmentResult:
    pipeline = Pipeline.from_config({"ops": ops, "split_policy": "all", **config})
    result = pipeline(Scene(CANVAS, SHAPES, CAPTIONS, painted()), generator(seed))
    planned = pipeline.plan(CANVAS, SHAPES, generator(seed), CAPTIONS)
    assert planned.scene.shapes == result.scene.shapes
    assert planned.scene.canvas == result.scene.canvas
    return result


def outlines(result: AugmentResult, source: int) -> list[Points]:
    """The rings of one object; the parts of a split one do not overlap."""
    rings = [result.scene.shapes.points(i) for i in np.flatnonzero(result.source_index == source).tolist()]
    # A box is its two corners.
    return [
        ring if len(ring) > 2 else np.stack([ring[[0, 1, 1, 0], 0], ring[[0, 0, 1, 1], 1]], axis=1) for ring in rings
    ]


def labelled(result: AugmentResult, source: int, zoom: int = 1) -> Cover:
    """What the returned shapes of one object cover, in pixels or finer."""
    canvas = Canvas(result.scene.canvas.height * zoom, result.scene.canvas.width * zoom)
    parts = [cover(canvas, ring * zoom, 8 if zoom == 1 else 1) for ring in outlines(result, source)]
    return np.sum(parts, axis=0) if parts else np.zeros((canvas.height, canvas.width))


def matches(result: AugmentResult) -> list[Match]:
    """Compare every shape of some size; what has no label must not be seen."""
    assert result.scene.image is not None
    out = []
    for source in range(len(RINGS)):
        drawn = (result.scene.image[..., source].astype(float) - 128) / 127
        want = labelled(result, source)
        area = float(want.sum())
        assert abs(drawn.sum() - area) <= 0.02 * max(area, MIN_AREA)
        if area >= MIN_AREA:
            distance = float(np.hypot(*(center(drawn) - center(want))))
            overlap = iou(finer(drawn, ZOOM), labelled(result, source, ZOOM))
            out.append(Match(distance, overlap))
    return out


def check(found: list[Match]) -> None:
    distances = np.array([match.distance for match in found])
    assert distances.mean() < 0.1
    assert distances.max() < 0.25
    assert [match for match in found if match.iou < 0.98] == []


def test_every_op_that_moves_something_is_tried() -> None:
    shipped = {name: OPS_BY_NAME.get(name) for name in OPS_BY_NAME}
    moving = {
        name
        for name, op in shipped.items()
        if op.__module__.startswith("dcap.") and inspect.signature(op.sample).return_annotation != "Recolor"
    }
    assert set(OPS) == moving


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("name", OPS)
def test_each_op_moves_pixels_and_labels_alike(name: str, interpolation: str) -> None:
    found = []
    for seed in range(4):
        found += matches(run([{"name": name, "params": OPS[name]}], seed, interpolation=interpolation))
    check(found)


def test_random_pipelines_move_pixels_and_labels_alike() -> None:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        names = rng.choice(list(OPS), rng.integers(1, 7)).tolist()
        found += matches(run([{"name": name, "params": OPS[name]} for name in names], seed))
    assert len(found) > 50
    check(found)


@dataclass(frozen=True)
class Turn:
    """A turn by a given angle, on the same canvas or, for a quarter, on the turned one."""

    angle_deg: float
    quarter: bool = False

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        canvas = view.canvas
        if self.quarter:
            turn = Affine.translation(canvas.height, 0) @ Affine.rotation(90.0)
            return Warp(turn, Canvas(canvas.width, canvas.height), "quarter")
        return Warp(Affine.rotation(self.angle_deg, (canvas.width / 2, canvas.height / 2)), canvas, "turn")


def run_turns(turns: list[Turn]) -> AugmentResult:
    pipeline = Pipeline(tuple(Stage("turn", 1.0, turn, keeps_outside=False) for turn in turns))
    return pipeline(Scene(CANVAS, SHAPES, CAPTIONS, NOISE), generator(0))


def run_noise(ops: list[dict[str, Any]], **config: Any) -> AugmentResult:
    return Pipeline.from_config({"ops": ops, **config})(Scene(CANVAS, SHAPES, CAPTIONS, NOISE), generator(0))


def test_flips_lose_no_edge_and_invent_none() -> None:
    whole = ShapeArray.from_points([[[0, 0], [230, 150]]], [GeometryKind.BOX])
    for name, flipped in (("hflip", NOISE[:, ::-1]), ("vflip", NOISE[::-1])):
        result = Pipeline.from_config([{"name": name}])(Scene(CANVAS, whole, ("",), NOISE), generator(0))
        assert np.array_equal(result.scene.image, flipped)
        assert result.scene.shapes == whole
        twice = run_noise([{"name": name}] * 2)
        assert np.array_equal(twice.scene.image, NOISE)
        assert np.abs(twice.scene.shapes.xy - SHAPES.xy).max() < 1e-12


def test_four_quarter_turns_change_nothing() -> None:
    result = run_turns([Turn(90, quarter=True)] * 4)
    assert np.array_equal(result.scene.image, NOISE)
    assert result.scene.shapes.kinds.tolist() == SHAPES.kinds.tolist()
    assert np.abs(result.scene.shapes.xy - SHAPES.xy).max() < 1e-9
    assert result.visible_fraction.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("angle_deg", [3.0, 17.5, 90.0, 143.0])
def test_a_turn_and_back_changes_nothing_but_the_lost_corners(angle_deg: float) -> None:
    result = run_turns([Turn(angle_deg), Turn(-angle_deg)])
    assert result.scene.image is not None
    inside = cover(CANVAS, result.plan.region) == 1.0
    assert np.array_equal(result.scene.image[inside], NOISE[inside])
    outside = cover(CANVAS, result.plan.region) == 0.0
    assert (result.scene.image[outside] == FILL).all()
    region = shapely.Polygon(result.plan.region)
    for i, ring in enumerate(RINGS):
        want = shapely.Polygon(ring).intersection(region)
        got = shapely.unary_union([shapely.Polygon(points) for points in outlines(result, i)])
        assert got.symmetric_difference(want).area < 1e-6


def test_a_bypassed_sample_is_untouched() -> None:
    result = run_noise([{"name": name, "params": OPS[name]} for name in OPS], bypass_prob=1.0)
    assert np.array_equal(result.scene.image, NOISE)
    assert result.scene.shapes == SHAPES
    assert result.scene.captions == CAPTIONS
