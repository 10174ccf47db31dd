"""Annotations are known by their names and first bytes, and what is for validation by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.convert.found_source import find_sources
from dcap.convert.readers.voc import Voc
from dcap.convert.readers.yolo import Yolo
from dcap.core.errors import ConfigError
from support.convert_cases import image, write_json

COCO = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}
LABELME = {"version": "5.0", "shapes": [], "imagePath": "a.png"}
RECORD = '{"images": ["a.png"], "width": 8, "height": 6, "objects": []}\n'
YOLO = "train: images/train\nval: images/val\nnames: [cup]\n"


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(path: Path) -> tuple[str, str, str | None]:
    sources = find_sources(str(path))
    return sources.train.format, sources.train.path.name, sources.val and sources.val.path.name


def test_files_by_their_content(tmp_path: Path) -> None:
    assert found(write_json(tmp_path / "a.json", COCO)) == ("coco", "a.json", None)
    lvis = {**COCO, "images": [{"id": 1, "neg_category_ids": []}]}
    assert found(write_json(tmp_path / "b.json", lvis)) == ("lvis", "b.json", None)
    assert found(write_json(tmp_path / "c.json", LABELME)) == ("labelme", "c.json", None)
    assert found(write(tmp_path / "d.jsonl", RECORD)) == ("jsonl", "d.jsonl", None)
    assert found(write(tmp_path / "e.json", RECORD)) == ("jsonl", "e.json", None)
    assert found(write(tmp_path / "f.xml", "<annotation/>")) == ("voc", "f.xml", None)


def test_coco_with_a_file_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_json(tmp_path / "annotations" / f"instances_{split}2017.json", COCO)
    assert found(tmp_path) == ("coco", "instances_train2017.json", "instances_val2017.json")
    assert find_sources(str(tmp_path)).train.images == tmp_path
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    assert found(tmp_path) == ("coco", "instances_train2017.json", None)


def test_coco_in_a_folder_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_json(tmp_path / split / "_annotations.coco.json", COCO)
    sources = find_sources(str(tmp_path))
    assert sources.train.path == tmp_path / "train" / "_annotations.coco.json"
    assert sources.val
    assert sources.val.path == tmp_path / "valid" / "_annotations.coco.json"


def test_yolo_has_splits_of_its_own(tmp_path: Path) -> None:
    data = write(tmp_path / "data.yaml", YOLO)
    write(tmp_path / "args.yaml", "epochs: 3\n")
    for path in (tmp_path, data):
        sources = find_sources(str(path))
        assert sources.train.reader() == Yolo(split="train")
        assert sources.val
        assert sources.val.reader() == Yolo(split="val")
    write(data, "train: images\nnames: [cup]\n")
    assert found(tmp_path) == ("yolo", "data.yaml", None)


def test_a_folder_of_yolo_labels(tmp_path: Path) -> None:
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "labels" / "classes.txt", "cup")
    assert found(tmp_path) == ("yolo", "labels", None)


def test_voc_by_its_folders_and_lists(tmp_path: Path) -> None:
    write(tmp_path / "Annotations" / "a.xml", "<annotation/>")
    assert found(tmp_path) == ("voc", tmp_path.name, None)
    train, val = (write(tmp_path / "ImageSets" / "Main" / f"{name}.txt", "a") for name in ("train", "val"))
    sources = find_sources(str(tmp_path))
    assert sources.train.reader() == Voc(split=train)
    assert sources.val
    assert sources.val.reader() == Voc(split=val)


def test_labelme_is_a_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_json(tmp_path / f"{name}.json", LABELME)
    assert found(tmp_path) == ("labelme", tmp_path.name, None)


def test_records_in_a_folder_and_in_place_of_what_they_were_made_of(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", RECORD)
    write(tmp_path / "val.jsonl", RECORD)
    write_json(tmp_path / "instances.json", COCO)
    assert found(tmp_path) == ("jsonl", "train.jsonl", "val.jsonl")


def test_a_split_is_a_word_of_the_name(tmp_path: Path) -> None:
    write(tmp_path / "trainer_values.jsonl", RECORD)
    assert found(tmp_path) == ("jsonl", "trainer_values.jsonl", None)
    assert found(write(tmp_path / "training" / "my-val.jsonl", RECORD)) == ("jsonl", "my-val.jsonl", None)


def test_bundled_records_and_records_that_are_made() -> None:
    assert find_sources("builtin:photos/train.jsonl").train.path.is_file()
    scenes = find_sources("builtin:scenes?num=3")
    assert (scenes.train.format, str(scenes.train.path), scenes.val) == ("jsonl", "builtin:scenes?num=3", None)
    with pytest.raises(ConfigError, match="did you mean scenes"):
        find_sources("builtin:scene")


def test_what_cannot_be_told_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a file or folder that exists, not .*absent"):
        find_sources(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"which holds none of them\. Name a file or another folder"):
        find_sources(str(tmp_path))
    image(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"which holds 1 image and no annotations\. Annotate them first"):
        find_sources(str(tmp_path))
    with pytest.raises(ConfigError, match="dcap convert --help lists the formats"):
        find_sources(str(tmp_path / "a.png"))
    for name in ("one", "two"):
        write(tmp_path / f"{name}.jsonl", RECORD)
    with pytest.raises(ConfigError, match=r"annotations once, and .* holds .*one\.jsonl, .*two\.jsonl\. Name one"):
        find_sources(str(tmp_path))
