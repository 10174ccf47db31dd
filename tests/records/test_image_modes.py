"""One rule per mode, as the table of `to_rgb` says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcap.records.images import decode_image, to_rgb


def rgb(image: Image.Image) -> np.ndarray:
    out = to_rgb(image)
    assert out.mode == "RGB"
    return np.asarray(out)


def on_grey(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha[..., None].astype(np.float64)
    return np.rint((color * a + 128.0 * (255 - a)) / 255).astype(np.uint8)


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOR = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def test_grey_and_black_and_white() -> None:
    np.testing.assert_array_equal(rgb(Image.fromarray(RAMP)), np.repeat(RAMP[..., None], 3, 2))
    bits = Image.fromarray(((RAMP > 100) * 255).astype(np.uint8)).convert("1")
    assert set(rgb(bits).ravel().tolist()) == {0, 255}


def test_palette() -> None:
    image = Image.fromarray(RAMP, "L").convert("P")
    image.putpalette(np.roll(COLOR.reshape(-1, 3), 1, 0).tobytes())
    np.testing.assert_array_equal(rgb(image), np.roll(COLOR.reshape(-1, 3), 1, 0)[RAMP])


def test_alpha_is_composed_on_mid_grey() -> None:
    rgba = Image.fromarray(np.dstack([COLOR, RAMP]))
    np.testing.assert_array_equal(rgb(rgba), on_grey(COLOR, RAMP))
    grey = Image.fromarray(np.dstack([RAMP[::-1], RAMP]), "LA")
    np.testing.assert_array_equal(rgb(grey), on_grey(np.repeat(RAMP[::-1, :, None], 3, 2), RAMP))
    assert (rgb(Image.new("RGBA", (4, 4), (255, 0, 0, 0))) == 128).all()


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_premultiplied_alpha_is_composed_too(mode: str) -> None:
    straight = Image.new(
        "RGBA" if mode == "RGBa" else "LA", (4, 4), (200, 100, 50, 128) if mode == "RGBa" else (200, 128)
    )
    expected = rgb(straight).astype(int)
    assert np.abs(rgb(straight.convert(mode)).astype(int) - expected).max() <= 2


def test_transparent_colours_of_files(tmp_path: Path) -> None:
    """GIF, and PNG in palette, grey and colour, can name a colour that is transparent."""
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "a.gif", transparency=1)
    palette.save(tmp_path / "p.png", transparency=bytes([255, 0]))
    Image.new("L", (4, 4), 9).save(tmp_path / "l.png", transparency=9)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "c.png", transparency=(1, 2, 3))
    for name in ("a.gif", "p.png", "l.png", "c.png"):
        assert (decode_image(tmp_path / name, None) == 128).all(), name
    Image.new("L", (4, 4), 8).save(tmp_path / "o.png", transparency=9)
    assert (decode_image(tmp_path / "o.png", None) == 8).all()


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bit_keeps_the_high_byte(dtype: str) -> None:
    values = np.array([[0, 255, 256, 257], [32768, 65279, 65280, 65535]], dtype)
    image = Image.frombytes("I;16" if dtype == "<u2" else "I;16B", (4, 2), values.tobytes())
    assert rgb(image)[..., 0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]


def test_16_bit_files(tmp_path: Path) -> None:
    values = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, 2)
    for name in ("a.png", "a.tif", "a.pgm"):
        np.testing.assert_array_equal(decode_image(tmp_path / name, None), expected, err_msg=name)


def test_32_bit_integers_are_clipped_to_16_bit() -> None:
    values = np.array([[-5, 0, 256, 65535, 70000, 2**31 - 1]], np.int32)
    assert rgb(Image.fromarray(values))[0, :, 0].tolist() == [0, 0, 1, 255, 255, 255]


def test_floats_are_clipped_and_rounded() -> None:
    values = np.array([[-1, 0.4, 1.5, 2.5, 254.6, 300, np.nan, np.inf, -np.inf]], np.float32)
    assert rgb(Image.fromarray(values))[0, :, 0].tolist() == [0, 0, 2, 2, 255, 255, 0, 255, 0]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_colour_spaces_come_back(mode: str) -> None:
    color = np.array([[[250, 250, 250], [5, 5, 5], [200, 40, 60], [30, 180, 90]]], np.uint8)
    if mode == "LAB":
        lab = np.array([[[250, 0, 0], [8, 0, 0]]], np.uint8)
        out = rgb(Image.frombytes("LAB", (2, 1), lab.tobytes()))
        assert (out[0, 0] > 235).all()
        assert (out[0, 1] < 30).all()
        return
    assert np.abs(rgb(Image.fromarray(color).convert(mode)).astype(int) - color).max() <= 6


def test_a_cmyk_photo(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    out = decode_image(tmp_path / "a.jpg", None).astype(int)
    assert np.abs(out - (255, 0, 0)).max() <= 6


def test_an_icc_profile_changes_nothing(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(COLOR).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", None), COLOR)
