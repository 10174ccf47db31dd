from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment.color import ColorStep, Hue, Levels, Saturation, apply_color

NOISE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)

LEVELS = st.builds(Levels, st.floats(0, 2), st.sampled_from([0.0, 128.0]), st.floats(-20, 20))
STEPS = st.one_of(LEVELS, st.builds(Saturation, st.floats(0, 2)), st.builds(Hue, st.floats(-180, 180)))


@given(st.lists(STEPS, max_size=6))
def test_merged_tables_equal_one_step_at_a_time(steps: list[ColorStep]) -> None:
    image = NOISE
    for step in steps:
        image = step.apply(image)
    assert np.array_equal(apply_color(NOISE, steps), image)


@given(st.floats(0, 2), st.sampled_from([0.0, 128.0]))
def test_levels_follow_the_line(gain: float, pivot: float) -> None:
    want = np.clip(np.rint((NOISE - pivot) * gain + pivot), 0, 255)
    assert np.array_equal(Levels(gain, pivot).apply(NOISE), want)


def test_saturation_ends() -> None:
    grey = Saturation(0.0).apply(NOISE)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    luma = NOISE @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - luma).max() < 0.6
    assert np.array_equal(Saturation(1.0).apply(NOISE), NOISE)


def test_hue_turns_red_to_green_to_blue() -> None:
    red = np.full((1, 1, 3), (200, 0, 0), np.uint8)
    assert Hue(120.0).apply(red)[0, 0].tolist() == pytest.approx([0, 200, 0], abs=6)
    assert Hue(240.0).apply(red)[0, 0].tolist() == pytest.approx([0, 0, 200], abs=6)


def test_hue_keeps_value() -> None:
    turned = Hue(77.0).apply(NOISE)
    assert np.abs(turned.max(axis=2).astype(int) - NOISE.max(axis=2)).max() <= 1
    assert cv2.cvtColor(turned, cv2.COLOR_RGB2GRAY).shape == (32, 48)
