from __future__ import annotations

import numpy as np
import pytest

from dcap.augment import Pipeline, Scene
from dcap.augment.rendering import FILL
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.geometry import Canvas
from support.augment_cases import CANVAS, SHAPES, plan_one


def test_grey_grows_on_the_right_and_at_the_bottom() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    pipeline = Pipeline.from_config([{"name": "pad_to_multiple", "params": {"multiple": 50}}])
    result = pipeline(Scene(CANVAS, SHAPES, ("",) * 3, image), generator(0))
    assert result.scene.shapes == SHAPES
    assert result.scene.image is not None
    assert result.scene.image.shape == (100, 200, 3)
    assert np.array_equal(result.scene.image[:96, :160], image)
    assert (result.scene.image[96:] == FILL).all()
    assert (result.scene.image[:, 160:] == FILL).all()


def test_an_aligned_canvas_is_left_alone() -> None:
    result = plan_one("pad_to_multiple", multiple=32)
    assert result.telemetry.skipped == (("pad_to_multiple", "aligned already"),)
    assert result.scene.canvas == CANVAS
    assert plan_one("pad_to_multiple", multiple=64).scene.canvas == Canvas(128, 192)


def test_bad_multiples_are_named() -> None:
    with pytest.raises(ConfigError, match=r"ops\[0\].params.multiple must be at least 1, not 0"):
        plan_one("pad_to_multiple", multiple=0)
