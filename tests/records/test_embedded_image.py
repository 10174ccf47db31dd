"""Parts of files that are read as files, and images inside containers."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcap.core.errors import ImageError
from dcap.geometry import Canvas
from dcap.records.embedded_image import ByteRange, EmbeddedImage
from dcap.records.images import check_header, decode_image
from dcap.records.record import Origin

DATA = bytes(range(100))


@pytest.fixture(scope="module")
def fd(tmp_path_factory: pytest.TempPathFactory) -> int:
    path = tmp_path_factory.mktemp("window") / "a"
    path.write_bytes(DATA)
    return os.open(path, os.O_RDONLY)


@given(
    start=st.integers(0, 100),
    size=st.integers(0, 100),
    steps=st.lists(st.tuples(st.integers(-120, 120), st.integers(0, 2), st.integers(-1, 120)), max_size=8),
)
def test_a_window_reads_as_its_part_alone_does(
    fd: int, start: int, size: int, steps: list[tuple[int, int, int]]
) -> None:
    size = min(size, 100 - start)
    window, part = ByteRange(lambda: fd, start, size), io.BytesIO(DATA[start : start + size])
    for offset, whence, count in steps:
        whole = part.seek(0, os.SEEK_END)
        part.seek(window.tell())
        if {0: 0, 1: window.tell(), 2: whole}[whence] + offset < 0:
            with pytest.raises(ValueError, match="place must be at least 0"):
                window.seek(offset, whence)
        else:
            assert window.seek(offset, whence) == part.seek(offset, whence)
        assert window.read(count) == part.read(count)
        assert window.tell() == part.tell()


def test_no_more_is_allocated_than_is_there(fd: int) -> None:
    assert ByteRange(lambda: fd, 90, 10).read(1 << 60) == DATA[90:]
    assert ByteRange(lambda: fd, 90, 10).readline() == DATA[90:]


def test_processes_that_share_a_descriptor_do_not_move_each_other(fd: int) -> None:
    one, other = ByteRange(lambda: fd, 0, 50), ByteRange(lambda: fd, 50, 50)
    assert [one.read(2), other.read(2), one.read(2)] == [DATA[:2], DATA[50:52], DATA[2:4]]


class Folder:
    """A container whose images are files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.iterdir())

    def open_image(self, i: int) -> io.BufferedReader:
        if self.paths[i].stat().st_size > 1 << 20:
            raise ImageError("image big.png in x must be small")
        return self.paths[i].open("rb")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "gif", "bmp", "ppm"])
def test_embedded_images_are_decoded_as_files_are(tmp_path: Path, kind: str) -> None:
    Image.effect_noise((31, 17), 80).convert("RGB").save(tmp_path / f"a.{kind}")
    image = EmbeddedImage("a in x", Folder(tmp_path), 0)
    assert check_header(image, Canvas(17, 31)).canvas == Canvas(17, 31)
    assert (decode_image(image, None) == decode_image(tmp_path / f"a.{kind}", None)).all()


def test_messages_name_the_record_and_the_image(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nonsense")
    (tmp_path / "b").write_bytes(bytes(2 << 20))
    for row, said in enumerate(("image a in x must be one of JPEG", "image big.png in x must be small")):
        with pytest.raises(ImageError, match=rf"^x.tar:7: {said}"):
            decode_image(EmbeddedImage("a in x", Folder(tmp_path), row), None, origin=Origin("d/x.tar", 7))
