"""Image files: every mode by its rule, every orientation, and what is refused before pixels are allocated."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from dcap.core.errors import ImageError
from dcap.geometry.canvas import Canvas
from dcap.records.images import (
    FORMATS,
    MAX_PIXELS,
    MOST_PIXELS,
    ImageHeader,
    check_header,
    decode_image,
    find_darkness,
    read_header,
)
from dcap.records.record import Origin

ORIGIN = Origin("train.jsonl", 7)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises pixels and has none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def pillow_state() -> tuple[int | None, bool]:
    return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES


def test_pixels_come_out_as_they_are_stored(tmp_path: Path) -> None:
    pixels = noise(5, 7)
    image = decode_image(save(tmp_path / "a.png", Image.fromarray(pixels)), Canvas(height=5, width=7))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert not image.flags.writeable
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = Image.fromarray(np.kron(noise(3, 4), np.ones((8, 8, 1), np.uint8)))
    options = {"tiffinfo": {0x0112: orientation}} if suffix == "tif" else {"exif": exif(orientation)}
    path = save(tmp_path / f"a.{suffix}", stored, **options)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    header = read_header(path)
    assert header.orientation == orientation
    assert header.canvas == Canvas(*expected.shape[:2])
    assert header.stored == Canvas(height=24, width=32)
    np.testing.assert_array_equal(decode_image(path, header.canvas), expected)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_the_unrotated_size_is_recognised(tmp_path: Path, suffix: str) -> None:
    options = {"tiffinfo": {0x0112: 6}} if suffix == "tif" else {"exif": exif(6)}
    path = save(tmp_path / f"a.{suffix}", Image.new("RGB", (32, 24)), **options)
    with pytest.raises(ImageError) as caught:
        decode_image(path, Canvas(height=24, width=32), origin=ORIGIN)
    message = str(caught.value)
    assert message.startswith(
        f"train.jsonl:7: width, height must be the size of {path} as displayed, 24 x 32, not 32 x 24"
    )
    assert "stored size, before its EXIF orientation 6" in message
    assert "Write width 24, height 32" in message


def test_another_size_is_an_error_before_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(640, 480))
    with pytest.raises(ImageError, match=r"as displayed, 640 x 480, not 480 x 640\. Correct the record"):
        decode_image(path, Canvas(height=640, width=480))


@pytest.mark.parametrize(
    "data", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_is_no_orientation_and_no_warning(tmp_path: Path, data: bytes) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 6)), exif=data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(path).orientation == 1
        assert decode_image(path, None).shape == (6, 8, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 6)), exif=exif(orientation))
    assert read_header(path) == ImageHeader(Canvas(height=6, width=8), 1, "JPEG", "RGB")


class TestBombs:
    def test_refused_from_the_header(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(png_header(12_000, 10_000))
        assert path.stat().st_size < 200
        with pytest.raises(ImageError, match="must have at most 1000000 pixels, not 12000 x 10000 = 120000000"):
            decode_image(path, None, max_pixels=1_000_000)

    def test_beyond_pillow_s_own_bound(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(png_header(100_000, 100_000))
        with pytest.raises(ImageError, match=f"train.jsonl:7: image .*bomb.png must have at most {MAX_PIXELS} pixels"):
            check_header(path, None, origin=ORIGIN)

    def test_between_pillow_s_warning_and_its_bound_there_is_no_warning(self, tmp_path: Path) -> None:
        path = tmp_path / "large.png"
        path.write_bytes(png_header(12_000, 10_000))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_header(path).canvas.num_pixels == 120_000_000

    def test_pillow_s_state_is_left_alone(self, tmp_path: Path) -> None:
        state, filters = pillow_state(), list(warnings.filters)
        path = tmp_path / "large.png"
        path.write_bytes(png_header(12_000, 10_000))
        with pytest.raises(ImageError):
            decode_image(path, None, max_pixels=1000)
        assert pillow_state() == state
        assert warnings.filters == filters
        with pytest.raises(Image.DecompressionBombWarning), Image.open(path):
            pass

    def test_threads_that_overlap_leave_the_warning_filters_alone(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", Image.fromarray(noise(64, 64)))
        filters = list(warnings.filters)
        threads = [threading.Thread(target=lambda: [read_header(path) for _ in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == filters


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_opened(tmp_path: Path, name: str) -> None:
    Image.fromarray(noise(60, 80)).save(tmp_path / "a", format=name)
    assert read_header(tmp_path / "a").canvas == Canvas(height=60, width=80)
    assert decode_image(tmp_path / "a", None).shape == (60, 80, 3)


def test_a_photo_with_several_pictures_gives_the_first(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    assert read_header(tmp_path / "a.mpo").format == "MPO"
    assert decode_image(tmp_path / "a.mpo", None)[0, 0].argmax() == 0


class TestRefused:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm", "jp2"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_truncated(self, tmp_path: Path, suffix: str, share: float) -> None:
        whole = save(tmp_path / f"a.{suffix}", Image.fromarray(noise(60, 80))).read_bytes()
        path = tmp_path / f"b.{suffix}"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError, match=f"^train.jsonl:7: image {path} must be"):
            decode_image(path, None, origin=ORIGIN)

    def test_a_truncated_photo_says_so(self, tmp_path: Path) -> None:
        whole = save(tmp_path / "a.jpg", Image.fromarray(noise(60, 80))).read_bytes()
        (tmp_path / "b.jpg").write_bytes(whole[:-200])
        with pytest.raises(ImageError, match="must be whole, not damaged or truncated"):
            decode_image(tmp_path / "b.jpg", Canvas(height=60, width=80))

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "must be a file with an image in it, not an empty one"),
            (b"<html>not found</html>", "must be one of JPEG, PNG"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "must be one of JPEG, PNG"),
            (b"\xff\xd8\xff", "must be one of JPEG, PNG"),
        ],
    )
    def test_no_image(self, tmp_path: Path, data: bytes, message: str) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        with pytest.raises(ImageError, match=message):
            read_header(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError) as caught:
            decode_image(tmp_path / "a.jpg", None, origin=ORIGIN)
        assert str(caught.value) == (
            f"train.jsonl:7: image {tmp_path}/a.jpg must be a readable file, not missing. "
            "Paths in a record start at the folder of its file."
        )

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="not a folder"):
            read_header(tmp_path)

    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        with pytest.raises(ImageError, match="not a pipe or device"):
            read_header(tmp_path / "a.jpg")

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
    def test_a_name_that_no_file_can_have(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ImageError, match="must be a readable file"):
            read_header(tmp_path / name)

    def test_the_check_without_pixels_does_not_read_them(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png_header(640, 480))
        assert check_header(path, Canvas(height=480, width=640)).mode == "RGB"
        with pytest.raises(ImageError, match="damaged or truncated"):
            decode_image(path, Canvas(height=480, width=640))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "gif"])
def test_a_header_is_read_without_decoding(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise(24, 32)))

    def load(_: ImageFile.ImageFile) -> None:
        raise AssertionError("pixels must not be decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert read_header(path).canvas == Canvas(height=24, width=32)


def test_any_damage_is_an_image_error_or_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(noise(24, 32)).save(buffer, kind)
        whole = np.frombuffer(buffer.getvalue(), np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(0, len(data), 6)] = rng.integers(0, 256, 6)
            path = tmp_path / "a.img"
            path.write_bytes(data.tobytes())
            with contextlib.suppress(ImageError):
                assert decode_image(path, None, max_pixels=4_000_000).shape[2] == 3


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    for suffix in ("gif", "webp", "png"):
        options = {"lossless": True} if suffix == "webp" else {}
        path = save(
            tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], duration=50, **options
        )
        assert (decode_image(path, Canvas(height=6, width=8)) == (200, 0, 0)).all()


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(("width", "height"), [(320, 240), (323, 237)])
def test_a_jpeg_can_be_decoded_smaller(tmp_path: Path, factor: int, width: int, height: int) -> None:
    """Every pixel shows the mean of its block, those at the border of what there is of it."""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    path = save(tmp_path / "a.jpg", Image.fromarray(smooth.astype(np.uint8)), quality=95, subsampling=0)
    small = decode_image(path, Canvas(height, width), shrink=factor)
    assert small.shape == (-(-height // factor), -(-width // factor), 3)
    inner = decode_image(path, None)[: height // factor * factor, : width // factor * factor].astype(float)
    means = inner.reshape(height // factor, factor, width // factor, factor, 3).mean(axis=(1, 3))
    assert np.abs(small[: height // factor, : width // factor] - means).max() <= 4


def test_what_cannot_be_decoded_smaller_comes_whole(tmp_path: Path) -> None:
    turned = save(tmp_path / "a.jpg", Image.fromarray(noise(33, 47)), exif=exif(6))
    assert decode_image(turned, None, shrink=2).shape == (47, 33, 3)
    assert decode_image(save(tmp_path / "a.png", Image.fromarray(noise(32, 48))), None, shrink=2).shape == (32, 48, 3)
    even = save(tmp_path / "b.jpg", Image.fromarray(noise(32, 48)), exif=exif(6))
    assert decode_image(even, None, shrink=2).shape == (24, 16, 3)
    tiny = save(tmp_path / "c.jpg", Image.fromarray(noise(3, 48)))
    assert decode_image(tiny, None, shrink=4).shape == (3, 48, 3)


def ramp(path: Path, bits: int, dtype: str = "uint16") -> Path:
    """A grey picture whose values fill so many bits."""
    values = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64).astype(dtype)
    return save(path, Image.fromarray(values))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_images_are_decoded_by_the_rule(tmp_path: Path, name: str) -> None:
    path = ramp(tmp_path / name, 12)
    assert read_header(path).is_deep
    assert decode_image(path, None).max() == 15
    for rule in ("minmax", "percentile"):
        shown = decode_image(path, None, sixteen_bit=rule)
        assert (shown.min(), shown.max()) == (0, 255)
        assert (shown[..., 0] == shown[..., 2]).all()


@pytest.mark.parametrize("bits", range(8, 17))
def test_nearly_black_pictures_are_told_apart(tmp_path: Path, bits: int) -> None:
    path = ramp(tmp_path / "a.png", bits)
    dark = find_darkness(decode_image(path, None), path)
    assert (dark is not None) == (bits <= 14)
    if dark:
        assert dark.startswith(f"decodes to a nearly black picture: no value is above {2**bits - 1 >> 8} of 255")
        assert dark.endswith("Set data.sixteen_bit: minmax or percentile.")
    assert find_darkness(decode_image(path, None, sixteen_bit="minmax"), path) is None


def test_a_dark_photo_of_8_bits_is_as_dark_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "night.png", Image.fromarray(noise(40, 40) // 16))
    assert not read_header(path).is_deep
    assert find_darkness(decode_image(path, None), path) is None


def test_16_bit_colour_that_is_dark_has_another_way_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), noise(8, 8).astype(np.uint16))
    path = tmp_path / "a.png"
    assert read_header(path).mode == "RGB"
    dark = find_darkness(decode_image(path, None, sixteen_bit="minmax"), path)
    assert dark is not None
    assert dark.endswith("Save it with 8 bits.")


def test_a_bound_above_that_of_pillow_takes_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(noise(20, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    before = pillow_state()
    assert decode_image(path, None, 600).shape == (20, 30, 3)
    assert read_header(path).canvas == Canvas(height=20, width=30)
    with pytest.raises(ImageError, match=r"at most 599 pixels, not 30 x 20 = 600. Shrink it, or raise the bound"):
        decode_image(path, None, 599)
    assert pillow_state() == before


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (40_000, 40_000), (100_000, 100_000)])
def test_a_size_is_checked_before_pixels_are_allocated(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    size = f"not {width} x {height} = {width * height}"
    with pytest.raises(ImageError, match=f"at most {MAX_PIXELS} pixels, {size}. Shrink it, or raise"):
        decode_image(path, None)
    if width * height > MOST_PIXELS:
        with pytest.raises(ImageError, match=f"at most {MOST_PIXELS} pixels, {size}. Shrink it.$"):
            decode_image(path, None, 10**12)
