"""dcap's own records as the input of a conversion: all kinds of files, and images inside them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dcap.convert.coco_writer import CocoOptions, to_coco
from dcap.convert.conversion import ConvertOptions, convert
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.readers.jsonl import Jsonl
from dcap.core.errors import RecordError
from dcap.records.checking import ImageRules, check_records
from dcap.records.files.opening import open_records
from dcap.records.images import decode_image
from dcap.records.record import image_source, to_dict
from support.container_cases import annotation, parquet_rows, picture, samples, write_parquet, write_tar

ENDINGS = [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".tar"]


def write(folder: Path, ending: str, count: int = 2) -> Path:
    """Write records in a file of a kind; their images are beside it or inside it."""
    path = folder / f"in{ending}"
    lines = [annotation(i, images=[f"{i:04}.png"]) for i in range(count)]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if ending == ".parquet":
        return write_parquet(path, parquet_rows(count))
    if ending == ".tar":
        return write_tar(path, samples(count))
    for i in range(count):
        (folder / f"{i:04}.png").write_bytes(picture(i))
    if ending == ".jsonl.zst":
        text = pytest.importorskip("zstandard").compress(text)
    path.write_bytes(gzip.compress(text) if ending == ".jsonl.gz" else text)
    return path


def shades(path: Path) -> list[int]:
    records = open_records(path)
    images = [decode_image(image_source(record), record.canvas) for record in records]
    return [int(image[0, 0, 0]) for image in images]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_becomes_jsonl(tmp_path: Path, ending: str) -> None:
    source, out = write(tmp_path, ending), tmp_path / "new" / "out.jsonl"
    assert convert(Jsonl(), source, out, ConversionReport()) == 2
    inside = ending in (".parquet", ".tar")
    assert len(check_records([out], images=ImageRules(tmp_path, decode=True))) == 2
    assert shades(out) == [0, 1]
    images = [record.image for record in open_records(out)]
    assert [Path(name).parent.as_posix() for name in images] == ["out-images" if inside else ".."] * 2
    before, after = (json.dumps([to_dict(r)["objects"] for r in open_records(p)]) for p in (source, out))
    assert before == after


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_becomes_coco(tmp_path: Path, ending: str) -> None:
    report = ConversionReport()
    assert to_coco(write(tmp_path, ending), tmp_path / "out.json", report, CocoOptions()) == 2
    data = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [image["file_name"] for image in data["images"]] == ["0000.png", "0001.png"]
    assert len(data["annotations"]) == 2
    assert [loss.count for loss in report.found] == ([2] if ending in (".parquet", ".tar") else [])


def test_a_folder_of_files_is_one_data_set(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        write(tmp_path / "in" / name, ".jsonl")
    out = tmp_path / "out.jsonl"
    assert convert(Jsonl(), tmp_path / "in" / "*" / "*.jsonl", out, ConversionReport()) == 4
    images = [record.image for record in open_records(out)]
    assert images == ["in/a/0000.png", "in/a/0001.png", "in/b/0000.png", "in/b/0001.png"]
    assert to_coco(tmp_path / "in" / "*" / "*.jsonl", tmp_path / "out.json", ConversionReport()) == 4
    names = [image["file_name"] for image in json.loads((tmp_path / "out.json").read_text("utf-8"))["images"]]
    assert names == ["a/0000.png", "a/0001.png", "b/0000.png", "b/0001.png"]


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "a\x1b[31m\n.png", "x" * 300 + ".png", ".png"])
def test_names_of_images_inside_a_file_lead_nowhere(tmp_path: Path, name: str) -> None:
    row: dict[str, Any] = annotation(0, image={"bytes": picture(0), "path": name})
    source, out = write_parquet(tmp_path / "in.parquet", [row]), tmp_path / "new" / "out.jsonl"
    for _ in range(2):  # again, a file that is there is kept
        convert(Jsonl(), source, out, ConversionReport(), ConvertOptions(overwrite=True))
        (image,) = (tmp_path / "new" / "out-images").iterdir()
        assert image.read_bytes() == picture(0)
        assert image.name.isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "new"]


def test_an_image_that_is_none_is_a_broken_record(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "in.parquet", [annotation(0, image={"bytes": b"none", "path": "0.png"})])
    with pytest.raises(RecordError, match=r"in\.parquet: line 1: image in row 1 of in\.parquet must be"):
        convert(Jsonl(), source, tmp_path / "out.jsonl", ConversionReport())
    report = ConversionReport("skip")
    assert convert(Jsonl(), source, tmp_path / "out.jsonl", report) == 0
    assert report.skipped == 1
