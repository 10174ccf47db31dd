from __future__ import annotations

import numpy as np
import pytest
import shapely

from dcap.augment import Pipeline, Scene
from dcap.core.random import generator
from support.augment_cases import CANVAS, SHAPES, plan


def test_expansion_keeps_what_a_rotation_moved_out() -> None:
    rotate = {"name": "rotate", "params": {"max_deg": 45.0}}
    expand = {"name": "expand_to_fit_affine", "params": {"multiple": 32}}
    for seed in range(20):
        result = plan([rotate, expand], seed)
        assert (result.visible_fraction == 1.0).all()
        assert len(result.plan.region) == 4
        assert result.scene.canvas.height % 32 == 0
        assert result.scene.canvas.width % 32 == 0
        area = shapely.Polygon(result.plan.region).area
        assert area == pytest.approx(CANVAS.num_pixels)


def test_expansion_stays_below_max_pixels() -> None:
    ops = [
        {"name": "rotate", "params": {"max_deg": 45.0}},
        {"name": "scale", "params": {"lo": 2.0, "hi": 3.0}},
        {"name": "expand_to_fit_affine", "params": {"max_pixels": 30_000}},
    ]
    for seed in range(20):
        canvas = plan(ops, seed).scene.canvas
        assert canvas.num_pixels <= 30_000
        assert canvas.height % 32 == canvas.width % 32 == 0


def test_a_mere_shift_is_by_whole_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    pipeline = Pipeline.from_config([{"name": "expand_to_fit_affine", "params": {"multiple": 101}}])
    result = pipeline(Scene(CANVAS, SHAPES, ("",) * 3, image), generator(0))
    assert result.scene.image is not None
    assert result.scene.image.shape == (101, 202, 3)
    assert np.array_equal(result.scene.image[2:98, 21:181], image)
    assert (result.scene.image[:2] == 128).all()
    assert (result.scene.image[:, 181:] == 128).all()
