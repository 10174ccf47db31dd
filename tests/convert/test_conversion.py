"""Whole conversions: the output appears whole or not at all, and passes the check of records."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.audit.validation import validate_files
from dcap.convert.conversion import ConvertOptions, convert
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.division import Division, GroupBy
from dcap.convert.label_map import LabelMap
from dcap.convert.readers import READERS
from dcap.convert.resize import Resizer
from dcap.core.errors import ConfigError, RecordError
from dcap.records.checking import ImageRules
from support.container_cases import annotation as labelled
from support.container_cases import picture, write_parquet
from support.convert_cases import CATEGORIES, image, instances, read, write_json

BOX = {"bbox": [1, 1, 3, 3]}


def run(source: Path, out: Path, report: ConversionReport | None = None, **options: bool) -> int | None:
    return convert(
        READERS.get("coco")(), source, out, report or ConversionReport(), ConvertOptions(source.parent, **options)
    )


def test_the_output_is_valid_and_starts_at_its_own_folder(tmp_path: Path) -> None:
    out = tmp_path / "lists" / "deep" / "out.jsonl"
    assert run(instances(tmp_path, BOX, {"bbox": [6, 1, 9, 9]}), out) == 1
    assert b'"bbox_2d":[1,1,4,4]' in out.read_bytes()
    report = validate_files([out], ImageRules(decode=True))
    assert (report.records, report.problems, report.notes) == (1, (), ())
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    source, out = instances(tmp_path, BOX), tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(ConfigError, match=r"exists\. Give --overwrite"):
        run(source, out)
    with pytest.raises(ConfigError, match="another file than the input"):
        run(source, source, overwrite=True)
    with pytest.raises(ConfigError, match="not a folder"):
        run(source, tmp_path, overwrite=True)
    with pytest.raises(RecordError):
        run(instances(tmp_path, {"bbox": 1}), out, overwrite=True)
    assert out.read_text() == "mine"
    assert run(instances(tmp_path, BOX), out, overwrite=True) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in.json", "out.jsonl", "a.png"}


def test_strict_writes_nothing_where_something_is_lost(tmp_path: Path) -> None:
    report = ConversionReport()
    assert run(instances(tmp_path, BOX, {"bbox": [1, 1, 0, 0]}), tmp_path / "out.jsonl", report, strict=True) is None
    assert report.total == 1
    assert not (tmp_path / "out.jsonl").exists()
    assert run(instances(tmp_path, BOX), tmp_path / "out.jsonl", strict=True) == 1


def test_what_is_not_there_is_told_and_no_loss(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / "JPEGImages" / f"{name}.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    records, report = read("voc", tmp_path)
    assert (len(records), report.total) == (1, 0)
    assert {loss.reason: loss.examples[0]["file"] for loss in report.found} == {
        "image without objects: a record of none": str(tmp_path / "Annotations" / "a.xml"),
        "image below the folder of images that no record is made of": str(tmp_path / "JPEGImages" / "b.png"),
    }


def many(folder: Path, count: int = 24, copies: int = 2) -> Path:
    """Write a COCO file of pictures that differ, each there `copies` times in other sizes, with a box of two labels."""
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    images, annotations = [], []
    for k in range(count * copies):
        times = 4 + 2 * (k // count)
        Image.fromarray(np.kron(pictures[k % count], np.ones((times, times, 1), np.uint8))).save(folder / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": 8 * times, "height": 8 * times})
        annotations += [
            {"id": 2 * k + j, "image_id": k, "category_id": (1, 7)[j], "bbox": [j, j, 2 + 4 * j, 3]} for j in range(2)
        ]
    return write_json(folder / "in.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})


def convert_many(source: Path, out: Path, **options: Any) -> tuple[int | None, ConversionReport]:
    report = ConversionReport()
    return convert(READERS.get("coco")(), source, out, report, ConvertOptions(source.parent, **options)), report


def names(path: Path) -> list[str]:
    return [Path(json.loads(line)["images"][0]).name for line in path.read_text().splitlines()]


def numbers(path: Path, count: int) -> set[int]:
    """Return which pictures a file has, whatever their copy."""
    return {int(name.partition(".")[0].partition("-")[0]) % count for name in names(path)}


def reasons(report: ConversionReport, action: str) -> dict[str, int]:
    return {loss.reason: loss.count for loss in report.found if loss.action == action}


@pytest.mark.parametrize("workers", [0, 3])
def test_records_are_divided_without_a_picture_in_two_files(tmp_path: Path, workers: int) -> None:
    source = many(tmp_path)
    out = tmp_path / "lists" / "train.jsonl"
    count, report = convert_many(source, out, division=Division((0.6, 0.2, 0.2)), workers=workers)
    files = [out.with_name(f"{name}.jsonl") for name in ("train", "val", "test")]
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(path.name for path in files)
    found = [numbers(path, 24) for path in files]
    assert all(found)
    assert sum(map(len, found)) == 24
    assert set.union(*found) == set(range(24))
    assert count == sum(len(names(path)) for path in files) == 48
    assert report.files == {str(path): len(names(path)) for path in files}
    assert reasons(report, "note") == {"image that looks like an earlier one: both are in one file": 24}
    assert report.total == 0
    assert validate_files(files, ImageRules(decode=True)).problems == ()


@pytest.mark.parametrize("by", ["name", "folder"])
def test_a_division_by_names_opens_no_image(tmp_path: Path, by: GroupBy) -> None:
    for k in range(8):
        path = image(tmp_path / "ab"[k % 2] / f"{k}.png")
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"IDAT") + 6])  # the header is whole
    images = [{"id": k, "file_name": f"{'ab'[k % 2]}/{k}.png", "width": 8, "height": 6} for k in range(8)]
    source = write_json(tmp_path / "in.json", {"images": images, "annotations": [], "categories": CATEGORIES})
    out = tmp_path / "x.jsonl"
    assert convert_many(source, out, division=Division((0.5, 0.5), by))[0] == 8
    found = [names(tmp_path / f"x-{name}.jsonl") for name in ("train", "val")]
    assert all(found)
    if by == "folder":
        assert [{int(name[0]) % 2 for name in each} for each in found] in ([{0}, {1}], [{1}, {0}])
    with pytest.raises(RecordError, match="must be whole"):
        convert_many(source, out, division=Division((0.5, 0.5)), overwrite=True)


def test_a_sample_is_exact_and_part_of_a_larger_one(tmp_path: Path) -> None:
    source = many(tmp_path)
    kept = []
    for n in (5, 12, 100):
        count, report = convert_many(source, tmp_path / f"{n}.jsonl", sample=n)
        kept.append(names(tmp_path / f"{n}.jsonl"))
        assert count == len(kept[-1]) == min(n, 48)
        left_out = {"image that --sample leaves out": 48 - n} if n < 48 else {}
        assert (reasons(report, "note"), report.total) == (left_out, 0)
    assert set(kept[0]) < set(kept[1]) < set(kept[2])
    assert kept[1] == [name for name in kept[2] if name in kept[1]]
    convert_many(source, tmp_path / "other.jsonl", sample=12, seed=1)
    assert names(tmp_path / "other.jsonl") != kept[1]


def test_a_sample_of_parquet_does_not_follow_the_name_of_the_file(tmp_path: Path) -> None:
    rows = [labelled(k, image=picture(k)) for k in range(20)]
    found = []
    for name, given in (("a", rows), ("b", rows[::-1])):
        source, out = write_parquet(tmp_path / f"{name}.parquet", given), tmp_path / f"{name}.jsonl"
        options = ConvertOptions(sample=6)
        assert convert(READERS.get("jsonl")(), source, out, ConversionReport(), options) == 6
        found.append({json.loads(line)["summary"] for line in out.read_text().splitlines()})
    assert found[0] == found[1]


def test_nothing_is_made_of_an_image_that_is_not_sampled(tmp_path: Path) -> None:
    source = many(tmp_path)
    small = tmp_path / "small"
    convert_many(source, tmp_path / "a.jsonl", sample=3, resizer=Resizer(400, small))
    assert len(list(small.iterdir())) == 3


def test_what_images_that_are_not_sampled_would_lose_is_no_loss(tmp_path: Path) -> None:
    tree = json.loads(many(tmp_path).read_text())
    for annotation in tree["annotations"]:
        annotation["iscrowd"] = 1
    source = write_json(tmp_path / "in.json", tree)
    _, report = convert_many(source, tmp_path / "a.jsonl", sample=3)
    assert report.total == sum(reasons(report, "dropped").values()) == 6


def test_small_objects_are_losses_and_lines_stay(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    objects = [
        {"desc": "small", "bbox_2d": [0, 0, 2, 2]},
        {"desc": "as large", "bbox_2d": [0, 0, 3, 3]},
        {"desc": "triangle", "poly": [0, 0, 4, 0, 0, 4]},
        {"desc": "wire", "line": [0, 0, 1, 1]},
    ]
    record = {"images": ["a.png"], "width": 8, "height": 6, "objects": objects}
    source = write_json(tmp_path / "in.jsonl", record)
    out, report = tmp_path / "out.jsonl", ConversionReport()
    assert convert(READERS.get("jsonl")(), source, out, report, ConvertOptions(min_area=9.0)) == 1
    assert [each["desc"] for each in json.loads(out.read_text())["objects"]] == ["as large", "wire"]
    assert reasons(report, "dropped") == {"object smaller than 9 square pixels (--min-area)": 2}
    assert [example["detail"] for example in report.found[0].examples] == ["4", "8"]


def write_map(folder: Path, text: str) -> LabelMap:
    (folder / "labels.yaml").write_text(text)
    return LabelMap.read(folder / "labels.yaml")


def test_labels_are_renamed_merged_and_dropped(tmp_path: Path) -> None:
    source = many(tmp_path, copies=1)
    count, report = convert_many(source, tmp_path / "a.jsonl", labels=write_map(tmp_path, "cup: thing\ndog: thing\n"))
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    found = Counter(each["desc"] for line in lines for each in json.loads(line)["objects"])
    assert (count, found, report.total) == (24, {"thing": 48}, 0)
    assert reasons(report, "note") == {"object whose label --map renames": 48}
    labels = write_map(tmp_path, "cup: null\ndog: dog\ncat: cat\n")
    count, report = convert_many(source, tmp_path / "b.jsonl", labels=labels)
    record = json.loads((tmp_path / "b.jsonl").read_text().splitlines()[0])
    assert [each["desc"] for each in record["objects"]] == ["dog"]
    assert record["metadata"]["annotation_ids"] == [1]
    assert reasons(report, "dropped") == {"object of a label that --map or --unmapped drops": 24}
    assert reasons(report, "note") == {"label of --map that no object has": 1}


def test_an_unknown_label_is_broken_input(tmp_path: Path) -> None:
    source = many(tmp_path, copies=1)
    with pytest.raises(RecordError, match=r'annotation.*: label must be in the map, not "dog".*--on-bad skip'):
        convert_many(source, tmp_path / "a.jsonl", labels=write_map(tmp_path, "cup: cup\ndogs: dog\n"))
    assert not (tmp_path / "a.jsonl").exists()


def test_all_options_work_together(tmp_path: Path) -> None:
    source = many(tmp_path)
    options = {
        "sample": 30,
        "labels": write_map(tmp_path, "cup: cup\ndog: animal\n"),
        "min_area": 10.0,
        "division": Division((0.5, 0.5)),
        "resizer": Resizer(600, tmp_path / "small"),
    }
    count, report = convert_many(source, tmp_path / "a.jsonl", **options)
    files = [tmp_path / "a-train.jsonl", tmp_path / "a-val.jsonl"]
    assert count == 30
    assert numbers(files[0], 24).isdisjoint(numbers(files[1], 24))
    assert reasons(report, "dropped") == {"object smaller than 10 square pixels (--min-area)": 30}
    assert validate_files(files, ImageRules(decode=True)).problems == ()
    again = tmp_path / "again"
    convert_many(source, again / "a.jsonl", **{**options, "resizer": None})
    assert len(names(again / "a-train.jsonl")) == len(names(files[0]))


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jsonl"))


def test_a_division_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    source = many(tmp_path)
    half = Division((0.5, 0.5))
    assert convert_many(source, tmp_path / "a.jsonl", division=half, min_area=10.0, strict=True)[0] is None
    assert written(tmp_path) == []
    (tmp_path / "a-val.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"a-val\.jsonl exists\. Give --overwrite"):
        convert_many(source, tmp_path / "a.jsonl", division=half)
    assert written(tmp_path) == ["a-val.jsonl"]
    with pytest.raises(ConfigError, match="at least 2 images that look different, one for each file, not 1"):
        convert_many(many(tmp_path, 1), tmp_path / "b.jsonl", division=half)
    assert written(tmp_path) == ["a-val.jsonl"]
