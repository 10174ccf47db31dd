from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from dcap.augment.filters import LocalContrast, SharpnessBlend, Stretch
from dcap.core.errors import ConfigError

NOISE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
DULL = cv2.GaussianBlur(NOISE, (0, 0), 2)


def difference(a: npt.ArrayLike, b: npt.ArrayLike) -> int:
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


@pytest.mark.parametrize("percent", [0, 1, 5, 30])
@pytest.mark.parametrize("image", [NOISE, DULL, np.full((5, 7, 3), 90, np.uint8)])
def test_auto_contrast_is_that_of_pillow(percent: int, image: Any) -> None:
    # Pillow cuts off the fraction, dcap rounds it.
    want = ImageOps.autocontrast(Image.fromarray(image), cutoff=percent)
    assert difference(Stretch(percent / 100).apply(image), want) <= 1


@given(st.floats(0, 2), st.sampled_from([0, 1]))
def test_sharpness_is_that_of_pillow_but_for_the_border(factor: float, which: int) -> None:
    # Pillow copies the outermost pixels and rounds the smooth image before it blends; dcap does neither.
    image = (NOISE, DULL)[which]
    want = np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor))
    assert difference(SharpnessBlend(factor).apply(image)[1:-1, 1:-1], want[1:-1, 1:-1]) <= 1
    assert np.array_equal(SharpnessBlend(1.0).apply(image), image)


def test_clahe_is_that_of_opencv_on_the_lightness() -> None:
    lab = cv2.cvtColor(DULL, cv2.COLOR_RGB2LAB)
    for rows, columns in ((1, 1), (2, 3), (5, 4)):
        want = lab.copy()
        want[..., 0] = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(columns, rows)).apply(lab[..., 0])
        got = LocalContrast(3.0, (rows, columns)).apply(DULL)
        assert np.array_equal(got, cv2.cvtColor(want, cv2.COLOR_LAB2RGB))
        assert got.std() > DULL.std()


def test_clahe_counts_rows_before_columns() -> None:
    # Left half dark, right half bright, both with a faint gradient from top to bottom.
    image = np.repeat((np.arange(64)[:, None] // 8 + np.where(np.arange(64) < 32, 40, 200))[..., None], 3, axis=2)
    side_by_side = LocalContrast(40.0, (1, 2)).apply(image.astype(np.uint8)).astype(int)
    stacked = LocalContrast(40.0, (2, 1)).apply(image.astype(np.uint8)).astype(int)
    # Tiles side by side see one brightness each, so that the gradient fills it; stacked ones see both.
    assert np.ptp(side_by_side[:, 5]) > 2 * np.ptp(stacked[:, 5])


@pytest.mark.parametrize(
    ("step", "numbers", "message"),
    [
        (Stretch, (0.6,), r"cutoff must be within 0\.\.0\.5"),
        (LocalContrast, (-1.0, (8, 8)), "clip_limit must be within"),
        (LocalContrast, (2.0, (0, 8)), r"tile_grid must be within 1\.\.256, not 0"),
        (LocalContrast, (2.0, (8, 100_000)), r"tile_grid must be within 1\.\.256, not 100000"),
    ],
)
def test_numbers_out_of_range(step: Any, numbers: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        step(*numbers)
