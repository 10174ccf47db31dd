from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from dcap.augment.color import (
    ColorStep,
    FewerBits,
    HsvScale,
    Hue,
    Inversion,
    Levels,
    PowerCurve,
    Saturation,
    TableStep,
)
from dcap.core.errors import ConfigError, GeometryError
from support.color_steps import STEPS, TABLES

NOISE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
DULL = cv2.GaussianBlur(NOISE, (0, 0), 2)


def difference(got: Any, want: Any) -> int:
    """Largest difference in levels."""
    return int(np.abs(np.asarray(got, int) - np.asarray(want, int)).max())


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
    assert Hue(120.0).apply(red)[0, 0].tolist() == [0, 200, 0]
    assert Hue(240.0).apply(red)[0, 0].tolist() == [0, 0, 200]


def test_hue_keeps_value() -> None:
    turned = Hue(77.0).apply(NOISE)
    assert np.array_equal(turned.max(axis=2), NOISE.max(axis=2))
    assert np.array_equal(turned, HsvScale(77.0 - 360.0, 1.0, 1.0).apply(NOISE))


@pytest.mark.parametrize("factor", [-0.1, float("nan"), float("-inf")])
def test_a_factor_that_is_none_is_refused(factor: float) -> None:
    for step in (Saturation(factor), HsvScale(0.0, factor, 1.0), HsvScale(0.0, 1.0, factor), Hue(float("nan"))):
        with pytest.raises(GeometryError, match="colour steps must have finite numbers"):
            step.apply(NOISE)


def test_factors_beyond_all_measure_end_at_full_colour() -> None:
    for factor in (1e30, 1e300, float("inf")):
        full = HsvScale(0.0, factor, 1.0).apply(NOISE)
        grey = NOISE.max(axis=2) == NOISE.min(axis=2)
        assert (full.min(axis=2) == np.where(grey, NOISE.min(axis=2), 0)).all()
        assert np.isin(Saturation(factor).apply(NOISE)[~grey], [0, 255]).all()
        assert (HsvScale(0.0, 1.0, factor).apply(NOISE).max(axis=2) == 255 * (NOISE.max(axis=2) > 0)).all()


@given(STEPS, st.integers(1, 5), st.integers(1, 5))
def test_every_step_takes_the_smallest_images(step: ColorStep, height: int, width: int) -> None:
    image = NOISE[:height, :width]
    before = image.copy()
    changed = step.apply(image)
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert np.array_equal(image, before)


@given(TABLES)
def test_a_table_says_what_each_value_becomes(step: TableStep) -> None:
    assert step.table().shape == (256,)
    assert np.array_equal(step.apply(NOISE), step.table()[NOISE])


@given(st.floats(0, 2))
def test_brightness_and_colour_are_those_of_pillow(factor: float) -> None:
    image = Image.fromarray(NOISE)
    assert difference(Levels(factor).apply(NOISE), ImageEnhance.Brightness(image).enhance(factor)) <= 1
    # Pillow rounds the grey before it blends, dcap does not.
    assert difference(Saturation(factor).apply(NOISE), ImageEnhance.Color(image).enhance(factor)) <= 2


@given(st.integers(0, 256), st.integers(1, 8))
def test_solarize_and_posterize_are_those_of_pillow(threshold: int, bits: int) -> None:
    image = Image.fromarray(NOISE)
    assert np.array_equal(Inversion(threshold).apply(NOISE), ImageOps.solarize(image, threshold))
    assert np.array_equal(FewerBits(bits).apply(NOISE), ImageOps.posterize(image, bits))


def test_a_power_curve_keeps_the_ends_and_the_formula() -> None:
    table = PowerCurve(2.2).table()
    assert (table[0], table[128], table[255]) == (0, round(255 * (128 / 255) ** 2.2), 255)
    assert np.array_equal(PowerCurve(1.0).table(), np.arange(256))
    assert (np.diff(table.astype(int)) >= 0).all()


@given(st.floats(-180, 180), st.floats(0, 2), st.floats(0, 2))
def test_hsv_equals_the_standard_library(hue_deg: float, saturation: float, value: float) -> None:
    pixels = [colorsys.rgb_to_hsv(*p) for p in (NOISE[:6, :8].reshape(-1, 3) / 255).tolist()]
    want = [
        colorsys.hsv_to_rgb((h + hue_deg / 360) % 1.0, min(s * saturation, 1.0), min(v * value, 1.0))
        for h, s, v in pixels
    ]
    got = HsvScale(hue_deg, saturation, value).apply(NOISE[:6, :8])
    assert difference(got.reshape(-1, 3), np.rint(np.array(want) * 255)) <= 1


@pytest.mark.parametrize(
    ("step", "numbers", "message"),
    [
        (Levels, (1e300,), "gain must be within -1e.06..1e.06, not 1e.300"),
        (PowerCurve, (0.0,), "exponent must be within"),
        (PowerCurve, (-1.0,), "exponent must be within"),
        (Inversion, (257,), r"threshold must be within 0\.\.256, not 257"),
        (FewerBits, (9,), r"bits must be within 1\.\.8, not 9"),
        (FewerBits, (0,), r"bits must be within 1\.\.8, not 0"),
    ],
)
def test_numbers_out_of_range(step: Any, numbers: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        step(*numbers)
