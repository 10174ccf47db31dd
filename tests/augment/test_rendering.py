from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dcap.augment import Pipeline, Plan, Scene, render, render_patches
from dcap.augment.color import ColorStep, Hue, Levels
from dcap.augment.patches import PatchType, to_patches
from dcap.augment.rendering import FILL, resize_for_model
from dcap.core.errors import GeometryError
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray
from support.painting import cover

CANVAS = Canvas(300, 400)


def plan_of(affine: Affine, canvas: Canvas = CANVAS, source: Canvas = CANVAS, interpolation: str = "linear") -> Plan:
    corners = np.array([[0, 0], [source.width, 0], [source.width, source.height], [0, source.height]], float)
    return Plan(source, canvas, affine, affine.apply(corners), (), interpolation, ())  # type: ignore[arg-type]


def noise(canvas: Canvas = CANVAS) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (canvas.height, canvas.width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_identity_and_flips_move_pixels_without_loss(interpolation: str) -> None:
    image = noise()
    assert np.array_equal(render(image, plan_of(Affine.identity(), interpolation=interpolation)), image)
    flipped = render(image, plan_of(Affine.hflip(CANVAS), interpolation=interpolation))
    assert np.array_equal(flipped, image[:, ::-1])
    flipped = render(image, plan_of(Affine.vflip(CANVAS), interpolation=interpolation))
    assert np.array_equal(flipped, image[::-1])


def test_quarter_turn_moves_pixels_without_loss() -> None:
    image = noise()
    turn = Affine.translation(300, 0) @ Affine.rotation(90.0)
    turned = render(image, plan_of(turn, Canvas(400, 300)))
    assert np.array_equal(turned, np.rot90(image, -1))


def test_outside_is_mid_grey() -> None:
    moved = render(noise(), plan_of(Affine.translation(100, 50)))
    assert (moved[:50] == FILL).all()
    assert (moved[:, :100] == FILL).all()
    assert np.array_equal(moved[50:, 100:], noise()[:250, :300])


def test_the_grey_begins_at_the_last_source_pixel_on_every_side() -> None:
    moved = render(noise(), plan_of(Affine.translation(7, 3), Canvas(310, 415)))
    assert np.array_equal(moved[3:303, 7:407], noise())
    moved[3:303, 7:407] = FILL
    assert (moved == FILL).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_pixel_on_the_edge_shows_by_the_share_that_is_visible(seed: int) -> None:
    rng = np.random.default_rng(seed)
    affine = Affine.translation(*rng.uniform(-90, 90, 2)) @ Affine.rotation(rng.uniform(-180, 180), (200, 150))
    plan = plan_of(affine @ Affine.scaling(*rng.uniform(0.01 if seed < 5 else 0.2, 1.5, 2)))
    shown = 1.0 - render(np.zeros((300, 400, 3), np.uint8), plan)[..., 0] / 128.0
    assert np.abs(shown - cover(CANVAS, plan.region)).max() < 0.005


def test_colour_leaves_the_grey_alone() -> None:
    plan = replace(plan_of(Affine.translation(100, 50)), color=(Levels(1.5),))
    moved = render(noise(), plan)
    assert (moved[:50] == FILL).all()
    assert np.array_equal(moved[50:, 100:], Levels(1.5).apply(noise())[:250, :300])


def test_unaugmented_resize_equals_pillow() -> None:
    small = Canvas(96, 128)
    want = np.asarray(Image.fromarray(noise()).resize((128, 96), Image.Resampling.BICUBIC))
    assert np.array_equal(render(noise(), plan_of(Affine.scaling(0.32), small, interpolation="model")), want)
    assert np.array_equal(resize_for_model(noise(), small), want)


def test_shrinking_antialiases() -> None:
    stripes = np.zeros((300, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    small = render(stripes, plan_of(Affine.scaling(0.25), Canvas(75, 100)))
    assert np.abs(small.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("shrink", [1.4, 1.6, 1.9, 2.7, 3.5])
@pytest.mark.parametrize("angle", [0.0, 10.0, 90.0])
def test_a_map_that_shrinks_averages_what_a_pixel_covers(shrink: float, angle: float) -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (151, 201, 3)), np.ones((2, 2, 1))).astype(np.uint8)[:301, :401]
    canvas = Canvas(96, 96)
    affine = (
        Affine.translation(48, 48)
        @ Affine.rotation(angle)
        @ Affine.scaling(1 / shrink)
        @ Affine.translation(-200, -150)
    )
    # 64 points of each output pixel, of nearest source pixels, are its exact mean but for noise.
    y, x = (np.indices((96 * 8, 96 * 8)) + 0.5) / 8
    source = np.floor(affine.inverse().apply(np.stack([x, y], axis=-1).reshape(-1, 2))).astype(int)
    rows, columns = np.clip(source[:, 1], 0, 300), np.clip(source[:, 0], 0, 400)
    want = image[rows, columns].reshape(96, 8, 96, 8, 3).mean(axis=(1, 3))
    got = render(image, plan_of(affine, canvas, Canvas(301, 401))).astype(float)
    off = [np.sqrt(((shown - want)[8:-8, 8:-8] ** 2).mean()) for shown in (got, _one_point(image, affine))]
    assert off[0] < 0.75 * off[1]


@pytest.mark.parametrize("sides", [(1, 400), (300, 1), (3, 3), (301, 2)])
@pytest.mark.parametrize("shrink", [1.5, 2.9, 40.0])
def test_the_smallest_sources_are_shrunk_too(sides: tuple[int, int], shrink: float) -> None:
    image = np.full((*sides, 3), 200, np.uint8)
    plan = plan_of(Affine.scaling(1 / shrink), Canvas(40, 50), Canvas(*sides))
    shown = 128 + 72 * cover(plan.canvas, plan.region)[..., None]
    assert np.abs(render(image, plan) - shown).max() < 1


def _one_point(image: npt.NDArray[np.uint8], affine: Affine) -> npt.NDArray[np.float64]:
    size = (96, 96)
    return cv2.warpAffine(image, affine.opencv_matrix(), size, flags=cv2.INTER_LINEAR).astype(float)


def test_a_colour_step_may_return_any_view() -> None:
    class Mirror:
        def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
            view = image[:, ::-1]
            view.flags.writeable = False
            return view

    moved = render(noise(), replace(plan_of(Affine.translation(0, 50)), color=(Mirror(),)))
    assert (moved[:50] == FILL).all()
    assert np.array_equal(moved[50:], noise()[:250, ::-1])


@pytest.mark.parametrize(("scale", "shrink"), [(1.0, 1), (0.51, 1), (0.5, 2), (0.2, 4), (0.1, 8), (0.01, 8)])
def test_the_plan_says_how_much_smaller_a_decoder_may_deliver(scale: float, shrink: int) -> None:
    turned = Affine.rotation(30) @ Affine.scaling(scale)
    assert plan_of(turned).decode_shrink == shrink
    assert plan_of(Affine(scale, 0, 0, 0, 1, 0)).decode_shrink == 1
    assert plan_of(turned, interpolation="model").decode_shrink == 1


def test_a_shear_shrinks_less_along_its_diagonal_than_along_either_axis() -> None:
    assert plan_of(Affine(0.5, 0.4, 0, 0.4, 0.5, 0)).decode_shrink == 1


def test_a_source_decoded_smaller_gives_the_same_picture() -> None:
    """Odd sides: the last column of the small source stands for half a block."""
    source = Canvas(301, 401)
    y, x = np.mgrid[: source.height, : source.width]
    image = np.stack([x * 255 // 401, y * 255 // 301, (x * y) % 2], axis=-1).astype(np.uint8)
    padded = np.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    small = padded.reshape(151, 2, 201, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    plan = plan_of(Affine.rotation(20, (100, 75)) @ Affine.scaling(0.45), Canvas(150, 200), source)
    whole, quick = render(image, plan).astype(int), render(small, plan).astype(int)
    assert np.abs(whole - quick)[..., :2].max() <= 3
    with pytest.raises(GeometryError, match="301x401"):
        render(small[:-1], plan)
    with pytest.raises(GeometryError, match="301x401"):
        render(small, replace(plan, affine=Affine.scaling(0.6)))


@pytest.mark.parametrize("seed", range(6))
def test_discs_end_where_their_labels_say(seed: int) -> None:
    centers = np.array([[60.0, 50.0], [330.0, 60.0], [200.0, 150.0], [80.0, 240.0], [320.0, 230.0]])
    boxes = [{"bbox_2d": [x - 14, y - 14, x + 14, y + 14]} for x, y in centers.tolist()]
    pipeline = Pipeline.from_config(
        [
            {"name": "hflip", "prob": 0.5},
            {"name": "rotate", "params": {"max_deg": 30}},
            {"name": "scale", "params": {"lo": 0.8, "hi": 1.2}},
            {"name": "expand_to_fit_affine", "params": {"max_pixels": 400_000}},
        ]
    )
    shapes = ShapeArray.from_objects(boxes)
    for i, center in enumerate(centers):
        image = _disc(*center.tolist())
        result = pipeline(Scene(CANVAS, shapes, tuple("abcde"), image), generator(seed))
        assert result.scene.image is not None
        weight = np.clip((result.scene.image[..., 0].astype(float) - 128) / 127, 0, 1)
        rows, columns = np.indices(weight.shape)
        found = np.array([(weight * (columns + 0.5)).sum(), (weight * (rows + 0.5)).sum()]) / weight.sum()
        want = result.scene.shapes.points(i).mean(axis=0)
        assert np.abs(found - want).max() < 0.1


@lru_cache
def _disc(cx: float, cy: float) -> npt.NDArray[np.uint8]:
    """Draw a disc of radius 10 whose pixels hold their exact share, from 8x8 points per pixel."""
    y, x = (np.indices((2400, 3200)) + 0.5) / 8
    inside = np.hypot(x - cx, y - cy) < 10
    share = inside.reshape(300, 8, 400, 8).mean(axis=(1, 3))
    return np.repeat(np.rint(128 + 127 * share)[..., None], 3, axis=2).astype(np.uint8)


def test_wrong_extent_is_refused() -> None:
    with pytest.raises(GeometryError, match="image must be 300x400x3"):
        render(noise(Canvas(10, 10)), plan_of(Affine.identity()))


COLORS = [(), (Levels(1.3, 128.0, -9.0),), (Levels(1.2), Hue(20.0), Levels(0.8), Levels(1.1)), (Levels(2.0), Hue(9.0))]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("affine", [Affine.identity(), Affine.hflip(CANVAS), Affine.translation(40, 50)])
def test_patches_are_those_of_the_rendered_image(
    affine: Affine, color: tuple[ColorStep, ...], dtype: PatchType
) -> None:
    scale = Affine.scaling(0.96)
    plan = replace(plan_of(scale @ affine, Canvas(288, 384)), color=color)
    want = to_patches(render(noise(), plan), dtype)
    assert np.array_equal(render_patches(noise(), plan, dtype), want)
    out = np.empty_like(want)
    assert np.shares_memory(render_patches(noise(), plan, dtype, out), out)
    assert np.array_equal(out, want)


def test_patches_of_an_unaugmented_sample() -> None:
    plan = plan_of(Affine.scaling(0.32), Canvas(96, 128), interpolation="model")
    assert np.array_equal(render_patches(noise(), plan), to_patches(resize_for_model(noise(), Canvas(96, 128))))


def test_patches_of_another_extent_are_refused() -> None:
    with pytest.raises(GeometryError, match="image must be 300x400x3"):
        render_patches(noise(Canvas(10, 10)), plan_of(Affine.identity()))
    with pytest.raises(GeometryError, match="multiples of 32"):
        render_patches(noise(), plan_of(Affine.identity()))


def test_patches_of_a_canvas_that_the_model_cannot_take_name_the_way_out() -> None:
    plan = Pipeline.from_config([{"name": "hflip"}]).plan(Canvas(48, 64), ShapeArray.empty(), 0).plan
    message = r"final canvas of the plan must have sides that are multiples of 32, not 64 x 48\. Plan with fit="
    with pytest.raises(GeometryError, match=message):
        render_patches(np.zeros((48, 64, 3), np.uint8), plan)
