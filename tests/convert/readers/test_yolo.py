"""YOLO: the three forms of a data set, and how images and labels belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dcap.convert.conversion_report import ConversionReport
from dcap.core.errors import RecordError
from dcap.records.record import Record
from support.convert_cases import counts, image, read

YAML = "train: images/train\nnames: [cup, dog]\n"
BOX = "0 0.5 0.5 0.25 0.5\n"


def yolo(folder: Path, labels: str = BOX, yaml: str = YAML) -> Path:
    image(folder / "images" / "train" / "a.png")
    image(folder / "images" / "train" / "empty.png")
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(labels)
    (folder / "data.yaml").write_text(yaml)
    return folder / "data.yaml"


def files(folder: Path, *names: str, text: str = BOX) -> None:
    """Write images, and files of labels or lists, by their ending."""
    for name in names:
        path = folder / name
        if path.suffix.lower() == ".txt":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        else:
            image(path)


def told(report: ConversionReport) -> dict[str, int]:
    """Return reasons to counts, with notes."""
    return {loss.reason: loss.count for loss in report.found}


def objects(records: list[Record]) -> dict[str, int]:
    return {record.image: len(record.shapes) for record in records}


def test_boxes_polygons_and_images_without_objects(tmp_path: Path) -> None:
    labels = "0 0.5 0.5 0.25 0.5\n\n1 0.25 0.5 1 0.5 1 1\n"
    (first, second), report = read("yolo", yolo(tmp_path, labels))
    assert first.image == "images/train/a.png"
    assert first.captions == ("cup", "dog")
    assert first.shapes.to_objects() == [{"bbox_2d": [3, 1.5, 5, 4.5]}, {"poly": [2, 3, 8, 3, 8, 6]}]
    assert len(second.shapes) == 0
    assert report.total == 0
    assert told(report) == {
        "image without a file of labels: taken as one without objects": 1,
        "image without objects: a record of none": 1,
    }
    (tmp_path / "labels/train/empty.txt").touch()
    (_, second), report = read("yolo", tmp_path / "data.yaml")
    assert len(second.shapes) == 0
    assert told(report) == {"image without objects: a record of none": 1}


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
    for classes in (tmp_path / "names.txt", tmp_path / "data.yaml"):
        records, _ = read("yolo", tmp_path / "labels", classes=classes)
        assert [(record.image, record.captions) for record in records] == [
            ("../images/train/a.png", ("cup",)),
            ("../images/train/empty.png", ()),
        ]
    with pytest.raises(RecordError, match="Give the names of the classes as --classes"):
        read("yolo", tmp_path / "labels")
    with pytest.raises(RecordError, match=r"holds a data\.yaml\. Convert .*data\.yaml"):
        read("yolo", tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n")
    records, _ = read("yolo", tmp_path / "labels")
    assert records[0].captions == ("cat",)


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
        ("0 300 200 40 50\n", r"line 1: coordinates\[0\] must be a share .* not 300\. .* are pixels"),
        ("0 1e999 0.5 0.25 0.5\n", r"line 1: coordinates\[0\] must be a finite number"),
    ],
)
def test_broken_labels_are_named_or_skipped(tmp_path: Path, labels: str, said: str) -> None:
    source = yolo(tmp_path, labels)
    with pytest.raises(RecordError, match=said) as caught:
        read("yolo", source)
    assert str(caught.value).count("labels/train/a.txt") == 1
    assert "labels/train/a.txt: " in str(caught.value)
    records, report = read("yolo", source, on_bad="skip")
    assert (len(records), report.skipped) == (1, 1)


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    source = yolo(tmp_path)
    (tmp_path / "labels/train/a.txt").write_bytes(BOX.encode() + b"0 0.5 0.5 0.5 0.5 \xe9\n")
    said = r"labels/train/a\.txt: file must be UTF-8 text, and line 2 has the byte 0xe9\."
    with pytest.raises(RecordError, match=said) as caught:
        read("yolo", source)
    assert str(caught.value).count("a.txt") == 1


def test_labels_without_an_image(tmp_path: Path) -> None:
    source = yolo(tmp_path)
    files(tmp_path, "labels/train/lost.txt", text="")
    files(tmp_path, "labels/train/README.txt", text="made by hand")
    with pytest.raises(RecordError, match=r"lost\.txt: labels must belong to an image, and no image below .* name\."):
        read("yolo", source)
    records, report = read("yolo", source, on_bad="skip")
    assert (len(records), report.skipped) == (2, 1)
    assert told(report)["text file among the labels that holds none"] == 1


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("images/train/lost.heic", r"images/train/lost\.heic is no kind of image that dcap reads"),
        ("images/more/lost.png", r"the one of this name is in another folder, .*images/more/lost\.png"),
    ],
)
def test_labels_whose_image_is_elsewhere_or_cannot_be_read(tmp_path: Path, other: str, said: str) -> None:
    source = yolo(tmp_path)
    files(tmp_path, "labels/train/lost.txt")
    files(tmp_path, "images/more/x.png")
    shutil.copy(tmp_path / "images/more/x.png", tmp_path / other)
    with pytest.raises(RecordError, match=said):
        read("yolo", source)


def test_labels_of_another_split_in_the_same_folder_are_not_lost(tmp_path: Path) -> None:
    source = yolo(tmp_path, yaml="train: list.txt\nnames: [cup]\n")
    files(tmp_path, "labels/train/empty.txt")
    (tmp_path / "list.txt").write_text("images/train/empty.png\n")
    records, report = read("yolo", source)
    assert [record.image for record in records] == ["images/train/empty.png"]
    assert told(report) == {}


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["images/train/a.png", "labels/train/a.txt"], "images\\train\\a.png"),
        (["images/train/a.png", "Labels/train/a.txt"], "images/train/a.png"),
        (["images/train/a.png", "labels/train/a.TXT"], "images/train/a.png"),
        (["images/train/a.png", "labels/TRAIN/A.txt"], "./images/train/a.png"),
        (["Images/train/a.png", "labels/train/a.txt"], "images/train/A.PNG"),
        (["images/train/a.png", "images/train/a.txt"], "images/train/a.png"),
        (["images/train/caf\u00e9.png", "labels/train/cafe\u0301.txt"], "images/train/cafe\u0301.png"),
        (["images/train/a.png", "labels/train/a.txt"], "data/images/train/a.png"),
        (["images/train/a.png", "labels/train/a.txt"], "C:\\set\\images\\train\\a.png"),
        (["images/train/a.png", "labels/train/a.txt"], "train/a"),
        (["train/images/a.png", "train/labels/a.txt"], "/content/set/train/images/a.png"),
        (["train/a.png", "labels/train/a.txt"], "train/a.png"),
        (["images/images/a.png", "images/labels/a.txt"], "images/images/a.png"),
        (["JPEGImages/a.png", "labels/a.txt"], "JPEGImages/a.png"),
        (["obj_train_data/a.png", "obj_train_data/a.txt"], "data/obj_train_data/a.png"),
    ],
)
def test_images_and_labels_are_found_by_one_rule(tmp_path: Path, names: list[str], listed: str) -> None:
    files(tmp_path, *names)
    (tmp_path / "list.txt").write_text(f"\n{listed}\n")
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [cup]\n")
    records, report = read("yolo", tmp_path / "data.yaml")
    assert objects(records) == {names[0]: 1}
    assert report.total == 0
    assert "image without a file of labels: taken as one without objects" not in told(report)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["labelTxt/train/a.txt"], r"1 text file is in .*labelTxt/train\. If they are labels, convert that"),
        ([], r"no file such as .*labels/train/a\.txt is there for 1 image\. An image without objects has an empty"),
        (["labels/val/a.txt"], "convert that folder"),
    ],
)
def test_no_image_with_labels_is_an_error(tmp_path: Path, names: list[str], said: str) -> None:
    files(tmp_path, "images/train/a.png", *names)
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(RecordError, match=said):
        read("yolo", tmp_path / "data.yaml", on_bad="skip")


def test_a_folder_of_labels_that_matches_no_image(tmp_path: Path) -> None:
    files(tmp_path, "pictures/a.png", "marks/b.txt")
    files(tmp_path, "classes.txt", text="cup")
    with pytest.raises(RecordError, match=r"1 text file is in .*marks\. Give the folder of their images"):
        read("yolo", tmp_path / "marks", tmp_path / "pictures")


def test_images_that_share_labels_are_refused(tmp_path: Path) -> None:
    source = yolo(tmp_path)
    image(tmp_path / "images/train/a.bmp")
    said = r"a\.txt: labels must belong to one image, not to 2: .*a\.bmp and .*a\.png\."
    with pytest.raises(RecordError, match=said):
        read("yolo", source)
    records, report = read("yolo", source, on_bad="skip")
    assert (objects(records), report.skipped) == ({"images/train/empty.png": 0}, 1)


def test_labels_that_differ_in_spelling_only(tmp_path: Path) -> None:
    files(tmp_path, "images/train/a.png", "labels/train/a.TXT", "Labels/train/a.txt")
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(RecordError, match=r"labels must be one file, not 2: Labels/train/a\.txt, labels/train/a\.TXT"):
        read("yolo", tmp_path / "data.yaml")


def test_an_image_that_is_listed_twice_is_taken_once(tmp_path: Path) -> None:
    source = yolo(tmp_path, yaml="train: [images/train, list.txt]\nnames: [cup]\n")
    (tmp_path / "list.txt").write_text("images/train/a.png\n")
    records, report = read("yolo", source)
    assert objects(records) == {"images/train/a.png": 1, "images/train/empty.png": 0}
    assert told(report)["image that is named more than once: taken once"] == 1


@pytest.mark.parametrize(
    "entry",
    [
        "[a.txt, images/b]",
        "a.txt",
        "[images/a, images/b]",
        "[images/a/1.png, images/b]",
        "['../images/a', '..\\images\\b']",
        "[/content/set/images/a, data/a.txt]",
        "images",
        "Images/A",
    ],
)
def test_folders_lists_and_images_as_entries(tmp_path: Path, entry: str) -> None:
    files(tmp_path, "images/a/1.png", "labels/a/1.txt", "images/b/2.png", "labels/b/2.txt")
    files(tmp_path, "a.txt", text="images/a/1.png\nimages/b/2.png\n" if entry == "a.txt" else "./images/a/1.png\n")
    (tmp_path / "data.yaml").write_text(f"train: {entry}\nnames: [cup]\n")
    if entry == "Images/A":
        with pytest.raises(RecordError, match="'Images/A' must be a folder or a list of images in"):
            read("yolo", tmp_path / "data.yaml")
        return
    records, report = read("yolo", tmp_path / "data.yaml")
    wanted = {"images/a/1.png": 1, "images/b/2.png": 1}
    assert objects(records) == (wanted if "a.txt]" not in entry or "b" in entry else {"images/a/1.png": 1})
    assert report.total == 0


def test_an_export_of_cvat_with_images_elsewhere(tmp_path: Path) -> None:
    files(tmp_path, "export/labels/train/a.txt", "pics/train/a.png")
    files(tmp_path, "export/train.txt", text="data/images/train/a.png\n")
    (tmp_path / "export/data.yaml").write_text("names:\n  0: cup\npath: .\ntrain: train.txt\n")
    records, report = read("yolo", tmp_path / "export/data.yaml", tmp_path / "pics")
    assert objects(records) == {"../pics/train/a.png": 1}
    assert told(report).keys() == {"image found by its name: its path as written is not below the folder of images"}


@pytest.mark.parametrize("split", ["train", "val"])
def test_darknet_and_cvat(tmp_path: Path, split: str) -> None:
    files(tmp_path, "obj_train_data/a.png", "obj_train_data/a.txt", "obj_valid_data/b.png", "obj_valid_data/b.txt")
    files(tmp_path, "train.txt", text="data/obj_train_data/a.png\n")
    files(tmp_path, "valid.txt", text="data/obj_valid_data/b.png\n")
    (tmp_path / "obj.names").write_text("cup\ndog\n")
    source = tmp_path / "obj.data"
    text = "classes = 2\n# made by CVAT\n{} = data/{}.txt\nnames = data/obj.names\nbackup = backup/\n"
    name = "train" if split == "train" else "valid"
    source.write_text(text.format(name, name))
    (record,), report = read("yolo", source, split=split)
    assert (record.image[-5:], record.captions, report.total) == ("a.png" if split == "train" else "b.png", ("cup",), 0)


def test_dota(tmp_path: Path) -> None:
    files(tmp_path, "images/P1.png")
    text = "imagesource:GoogleEarth\ngsd:0.5\n1 1 5 1 5 4 1 4 small-vehicle 0\n2 2 6 2 6.5 5 2 5 ship 1\n"
    files(tmp_path, "labelTxt/P1.txt", text=text)
    (record,), report = read("yolo", tmp_path / "labelTxt", lines="dota")
    assert record.captions == ("small-vehicle", "ship")
    assert record.shapes.to_objects()[1] == {"poly": [2, 2, 6, 2, 6.5, 5, 2, 5]}
    assert (record.attributes, report.total) == ((None, {"difficult": 1}), 0)
    with pytest.raises(RecordError, match=r"line 1: line must be .* this is DOTA's form: .* Give --lines dota"):
        read("yolo", tmp_path / "labelTxt", classes=files_names(tmp_path))


def files_names(folder: Path) -> Path:
    (folder / "names.txt").write_text("cup\n")
    return folder / "names.txt"


def test_pose_is_what_data_yaml_says(tmp_path: Path) -> None:
    yaml = "train: images/train\nnames: [cup]\nkpt_shape: [2, 3]\n"
    source = yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.4 0.4 2 0.6 0.6 1\n", yaml)
    (record, _), report = read("yolo", source)
    assert record.shapes.to_objects() == [{"bbox_2d": [2, 1.5, 6, 4.5]}]
    assert counts(report) == {"keypoints, which records have no shape for": 1}
    with pytest.raises(RecordError, match=r"--lines must be pose, as kpt_shape says, not segments"):
        read("yolo", source, lines="segments")
    for line in (BOX, "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"):
        said = r"a\.txt: line 1: line must hold a box and 2 keypoints of 3 numbers, as kpt_shape says: 10 numbers"
        with pytest.raises(RecordError, match=said):
            read("yolo", yolo(tmp_path, line, yaml))


def test_lines_that_can_be_two_things_need_an_option(tmp_path: Path) -> None:
    source = yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.4 0.4 0.6 0.45 0.5 0.6\n" * 3)
    with pytest.raises(RecordError, match=r"10 numbers .* 3 keypoints or a polygon of 5 points\. Give --lines pose"):
        read("yolo", source, on_bad="skip")
    (record, _), _ = read("yolo", source, lines="pose")
    assert record.shapes.to_objects()[0] == {"bbox_2d": [2, 1.5, 6, 4.5]}
    (record, _), _ = read("yolo", source, lines="segments")
    assert record.shapes.to_objects()[0].keys() == {"poly"}


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("what", ["folder", "below", "files"])
def test_linked_images(tmp_path: Path, what: str, follow: bool) -> None:
    cache, data = tmp_path / "cache", tmp_path / "data"
    files(cache, "x/a.png")
    files(data, "labels/train/a.txt", "labels/train/x/a.txt")
    (data / "data.yaml").write_text(YAML)
    target = data / "images/train"
    (target if what == "files" else target.parent).mkdir(parents=True)
    if what == "folder":
        target.symlink_to(cache / "x")
    elif what == "below":
        image(target / "a.png")
        (target / "x").symlink_to(cache / "x")
    else:
        (target / "a.png").symlink_to(cache / "x/a.png")
    if what != "below":
        (data / "labels/train/x/a.txt").unlink()
    if not follow:
        with pytest.raises(RecordError, match=r"is a link .*Give --follow-links"):
            read("yolo", data / "data.yaml")
        return
    records, report = read("yolo", data / "data.yaml", follow_links=True)
    below = {"images/train/x/a.png": 1} if what == "below" else {}
    assert objects(records) == {"images/train/a.png": 1, **below}
    assert told(report) == {}


@pytest.mark.parametrize("path", ["data", "../datasets/data", "/content/data", ".", "sub/../", "D:\\sets\\data"])
def test_the_path_of_another_machine(tmp_path: Path, path: str) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    source = yolo(tmp_path / "data", yaml=f"path: {path}\n{YAML}")
    assert len(read("yolo", source)[0]) == 2


def test_the_data_may_be_elsewhere_when_the_user_says_so(tmp_path: Path) -> None:
    files(tmp_path, "data/images/train/a.png", "data/Labels/train/a.TXT")
    source = tmp_path / "configs" / "data.yaml"
    source.parent.mkdir()
    source.write_text(f"path: ../data\n{YAML}")
    with pytest.raises(RecordError, match=r"path must be a folder below .*configs, .* as --images"):
        read("yolo", source)
    records, _ = read("yolo", source, tmp_path / "data")
    assert objects(records) == {"../data/images/train/a.png": 1}


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: ../../other\nnames: [cup]\n", "images must lie inside"),
        ("path: /\ntrain: images\nnames: [cup]\n", "path must be a folder below .* as --images"),
        ("names: [cup]\n", "train must be given. Choose another --split"),
        ("train: images/none\nnames: [cup]\n", "must be a folder or a list of images"),
        (f"train: {'a' * 300}\nnames: [cup]\n", "must be a folder or a list of images"),
        ("train: labels\nnames: [cup]\n", "must name images, and none were found"),
    ],
)
def test_images_that_are_not_there(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        read("yolo", yolo(tmp_path, yaml=yaml))
