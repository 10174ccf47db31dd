"""Smaller images: shapes stay on their pixels, files are kept only where nothing changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcap.convert.conversion import ConvertOptions, read_records
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.readers import READERS
from dcap.convert.resize import Resizer, fitting, scaled
from dcap.core.errors import RecordError
from dcap.geometry import Canvas, ShapeArray
from dcap.records.images import decode_image, read_header
from dcap.records.record import Origin, Record, parse_record

sides = st.integers(1, 5000)


@given(sides, sides, st.integers(1, 10**6))
def test_the_bound_holds_and_the_aspect_is_kept(height: int, width: int, bound: int) -> None:
    small = fitting(Canvas(height, width), bound)
    assert small.num_pixels <= bound
    assert small.height <= height
    assert small.width <= width
    if height * width <= bound:
        assert small == Canvas(height, width)
    elif min(small.height, small.width) > 1:
        # As large as whole pixels allow.
        scale = (bound / (height * width)) ** 0.5
        assert abs(small.height - height * scale) < 1.001
        assert abs(small.width - width * scale) < 1.001


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 300), st.integers(1, 300))
def test_the_border_stays_on_the_border(width: int, height: int, new_width: int, new_height: int) -> None:
    before, after = Canvas(height, width), Canvas(new_height, new_width)
    shapes = scaled(ShapeArray.from_objects([{"bbox_2d": [0, 0, width, height]}]), before, after)
    assert shapes.bounds()[0] == pytest.approx([0, 0, new_width, new_height], rel=1e-12)
    assert (shapes.xy <= [new_width, new_height]).all()


def data(folder: Path, name: str, orientation: int = 1) -> Path:
    """A white square of 12 x 12 on black, 48 x 36 as stored, and its record in the displayed frame."""
    pixels = np.zeros((36, 48, 3), np.uint8)
    pixels[4:16, 8:20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(folder / name, exif=exif, quality=95)
    shown = decode_image(folder / name, None)[..., 0] > 128
    y, x = np.nonzero(shown)
    box = [int(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
    objects = [{"desc": "card", "bbox_2d": box}, {"desc": "edge", "line": [0, 0, shown.shape[1], shown.shape[0]]}]
    record = {"images": [name], "width": shown.shape[1], "height": shown.shape[0], "objects": objects}
    (folder / "in.jsonl").write_text(json.dumps({**record, "summary": "a card", "mine": 1}) + "\n")
    return folder / "in.jsonl"


def run(source: Path, max_pixels: int, overwrite: bool = False) -> Record:
    resizer = Resizer(max_pixels, source.parent / "small", overwrite)
    options = ConvertOptions(resizer=resizer, workers=2)
    (record,) = read_records(READERS.get("jsonl")(), source, source.parent / "out.jsonl", ConversionReport(), options)
    return record


@pytest.mark.parametrize(("name", "orientation"), [("a.png", 1), ("a.jpg", 1), ("a.jpg", 6), ("a.png", 3)])
def test_shapes_stay_on_their_pixels(tmp_path: Path, name: str, orientation: int) -> None:
    record = run(data(tmp_path, name, orientation), 18 * 24)
    path = tmp_path / record.image
    assert path.suffix == Path(name).suffix
    header = read_header(path)
    assert (header.canvas, header.orientation) == (record.canvas, 1)
    assert record.canvas.num_pixels == 18 * 24
    y, x = np.nonzero(decode_image(path, record.canvas)[..., 0] > 128)
    assert record.shapes.bounds()[0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert record.shapes.bounds()[1].tolist() == [0, 0, record.canvas.width, record.canvas.height]
    assert (record.summary, record.extra) == ("a card", {"mine": 1})


@pytest.mark.parametrize("letter", ["x", "杯"])
def test_the_longest_name_gets_no_longer(tmp_path: Path, letter: str) -> None:
    stem = letter * (251 // len(letter.encode()))
    record = run(data(tmp_path, f"{stem}.png"), 400)
    assert (tmp_path / record.image).is_file()
    assert Path(record.image).name.startswith(letter * 70)


def test_small_images_stay_where_they_are(tmp_path: Path) -> None:
    record = run(data(tmp_path, "a.png"), 48 * 36)
    assert record.image == "a.png"
    assert not (tmp_path / "small").exists()


def test_a_finished_file_is_kept_until_its_source_changes(tmp_path: Path) -> None:
    source = data(tmp_path, "a.png")
    path = tmp_path / run(source, 400).image
    path.write_bytes(path.read_bytes() + b"mark")
    stamp = (tmp_path / "a.png").stat().st_mtime_ns
    os.utime(path, ns=(stamp, stamp))
    run(source, 400)
    assert path.read_bytes().endswith(b"mark")
    run(source, 300)  # another size
    assert not path.read_bytes().endswith(b"mark")
    path.write_bytes(path.read_bytes() + b"mark")
    os.utime(path, ns=(stamp, stamp))
    run(source, 300, overwrite=True)
    assert not path.read_bytes().endswith(b"mark")
    path.write_bytes(path.read_bytes() + b"mark")
    os.utime(tmp_path / "a.png", ns=(stamp + 10**9, stamp + 10**9))
    run(source, 300)
    assert not path.read_bytes().endswith(b"mark")
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_records_of_one_image_share_its_file(tmp_path: Path) -> None:
    source = data(tmp_path, "a.png")
    source.write_text(source.read_text() * 24)
    resizer = Resizer(400, tmp_path / "small", overwrite=True)  # every record writes the file anew
    options = ConvertOptions(resizer=resizer, workers=8)
    records = list(read_records(READERS.get("jsonl")(), source, tmp_path / "out.jsonl", ConversionReport(), options))
    assert len(records) == 24
    (path,) = (tmp_path / "small").iterdir()
    assert {tmp_path / record.image for record in records} == {path}
    assert read_header(path).canvas == records[0].canvas


def test_a_truncated_image_is_bad_input(tmp_path: Path) -> None:
    source = data(tmp_path, "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:600])
    with pytest.raises(RecordError, match=r"line 1: image .* must be") as caught:
        run(source, 400)
    assert not list(tmp_path.glob("small/*"))
    assert str(caught.value).startswith(str(source))


def test_a_name_as_long_as_the_file_system_allows_gets_a_smaller_file(tmp_path: Path) -> None:
    source = data(tmp_path, "é" * 125 + ".png")
    record = run(source, 500)
    assert record.image.startswith("small/" + "é" * 120 + "-")
    assert (tmp_path / record.image).is_file()


def test_a_sixteen_bit_image_is_written_by_the_rule(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 4095, 36 * 48).reshape(36, 48).astype(np.uint16)).save(tmp_path / "a.png")
    record = parse_record(
        json.dumps({"images": ["a.png"], "width": 48, "height": 36, "objects": []}).encode(),
        Origin(str(tmp_path / "a.jsonl"), 1),
    )
    made = {rule: Resizer(400, tmp_path / "small", sixteen_bit=rule)(record, tmp_path) for rule in ("full", "minmax")}
    assert made["full"].image != made["minmax"].image, "a file of another rule is not taken for this one"
    assert decode_image(tmp_path / made["full"].image, None).max() == 15
    assert decode_image(tmp_path / made["minmax"].image, None).max() > 230
