"""YOLO: boxes and polygons as shares, and how files belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import RecordError
from support.convert_cases import counts, image, read

YAML = "train: images/train\nnames: [cup, dog]\n"


def yolo(folder: Path, labels: str = "0 0.5 0.5 0.25 0.5\n", yaml: str = YAML) -> Path:
    image(folder / "images" / "train" / "a.png")
    image(folder / "images" / "train" / "empty.png")
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(labels)
    (folder / "data.yaml").write_text(yaml)
    return folder / "data.yaml"


def test_boxes_polygons_and_images_without_objects(tmp_path: Path) -> None:
    labels = "0 0.5 0.5 0.25 0.5\n\n1 0.25 0.5 1 0.5 1 1\n"
    (first, second), report = read("yolo", yolo(tmp_path, labels))
    assert first.image == "images/train/a.png"
    assert first.captions == ("cup", "dog")
    assert first.shapes.to_objects() == [{"bbox_2d": [3, 1.5, 5, 4.5]}, {"poly": [2, 3, 8, 3, 8, 6]}]
    assert len(second.shapes) == 0
    assert report.total == 0


def test_names_by_number_lists_of_images_and_keypoints(tmp_path: Path) -> None:
    text = "val: [list.txt]\nnames: {3: cup}\nkpt_shape: [1, 3]\n"
    source = yolo(tmp_path, "3 0.5 0.5 0.5 0.5 0.1 0.1 2\n", text)
    (tmp_path / "list.txt").write_text("./images/train/a.png\n")
    (record,), report = read("yolo", source, split="val")
    assert record.shapes.to_objects() == [{"bbox_2d": [2, 1.5, 6, 4.5]}]
    assert counts(report) == {"keypoints, which records have no shape for": 1}


def test_a_folder_with_a_list_of_classes(tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "names.txt").write_text("cup\ndog\n")
    records, _ = read("yolo", tmp_path / "labels", classes=tmp_path / "names.txt")
    assert [(record.image, record.captions) for record in records] == [
        ("../images/train/a.png", ("cup",)),
        ("../images/train/empty.png", ()),
    ]
    with pytest.raises(RecordError, match="Give the names of the classes as --classes"):
        read("yolo", tmp_path / "labels")


def test_an_image_with_an_orientation(tmp_path: Path) -> None:
    source = yolo(tmp_path, "0 0.25 0.5 0.5 1\n")
    image(tmp_path / "images" / "train" / "a.png", orientation=6)
    (record, _), report = read("yolo", source)
    assert record.shapes.to_objects() == [{"bbox_2d": [0, 0, 3, 8]}]
    assert report.total == 1
    (record, _), report = read("yolo", source, frame="stored")
    assert record.shapes.to_objects() == [{"bbox_2d": [0, 0, 6, 4]}]
    assert report.total == 0


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("0 0.5 0.5 0.25\n", "line 1: line must hold a box of 4 numbers"),
        ("\n9 0.5 0.5 0.25 0.5\n", "line 2: class must be one of the 2 names, not 9"),
        ("cup 0.5 0.5 0.25 0.5\n", "line must be a class and numbers"),
        ("0 nan 0.5 0.25 0.5\n", r"line 1: coordinates\[0\] must be a finite number"),
        ("0 300 200 40 50\n", r"line 1: coordinates\[0\] must be a finite number within 2"),
    ],
)
def test_broken_labels_are_named_or_skipped(tmp_path: Path, labels: str, said: str) -> None:
    source = yolo(tmp_path, labels)
    with pytest.raises(RecordError, match=said) as caught:
        read("yolo", source)
    assert "labels/train/a.txt: " in str(caught.value)
    records, report = read("yolo", source, on_bad="skip")
    assert (len(records), report.skipped) == (1, 1)


def test_labels_without_an_image(tmp_path: Path) -> None:
    source = yolo(tmp_path)
    (tmp_path / "labels" / "train" / "lost.txt").write_text("")
    with pytest.raises(RecordError, match=r"lost\.txt: labels must belong to an image"):
        read("yolo", source)
    records, report = read("yolo", source, on_bad="skip")
    assert (len(records), report.skipped) == (2, 1)


def test_labels_of_another_split_in_the_same_folder_are_not_lost(tmp_path: Path) -> None:
    source = yolo(tmp_path, yaml="train: list.txt\nnames: [cup]\n")
    (tmp_path / "list.txt").write_text("images/train/empty.png\n")
    records, report = read("yolo", source)
    assert [record.image for record in records] == ["images/train/empty.png"]
    assert report.total == 0


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: ../../other\nnames: [cup]\n", "images must lie inside"),
        ("path: /\ntrain: images\nnames: [cup]\n", "path must be a folder below .* as --images"),
        ("train: images/train\n", "names must be a list or map"),
        ("names: [cup]\n", "train must be given. Choose another --split"),
        ("train: images/none\nnames: [cup]\n", "must be a folder or a list of images"),
        ("train: [\n", "file must be YAML"),
        ("train: images/train\nnames: !!python/object/apply:os.system [ls]\n", "file must be YAML"),
        ("- 1\n", "file must hold names, train and val"),
        ('train: "a\\0b"\nnames: [cup]\n', "images must be given by a path"),
        (f"train: {'a' * 300}\nnames: [cup]\n", "images must be given by a path"),
        ("path: [a]\ntrain: images/train\nnames: [cup]\n", "images must be given by a path, not a list of 1"),
        ("train: images/train\nnames: {0: null}\n", "names must be texts, not null for 0"),
        ("a: &a [x, x]\ntrain: images/train\nnames: [[*a, *a]]\n", "names must be texts, not a list of 2 for 0"),
    ],
)
def test_data_that_is_none(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        read("yolo", yolo(tmp_path, yaml=yaml))
