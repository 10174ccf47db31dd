"""Which file of labels belongs to an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.convert.image_folder import ImageFolder
from dcap.convert.yolo_labels import LabelFolder


def find(
    root: Path, image: str, *labels: str, images: str = "data", written: str = "", only: bool = False
) -> str | None:
    """Return the file of labels of an image, below the root, of some that are there."""
    for name in (image, *labels):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    folder = LabelFolder(root / "data", ImageFolder(root / images), only)
    found = folder.find(root / image, [written] if written else [])
    return found.relative_to(root).as_posix() if found else None


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("data/images/train/a.png", "data/labels/train/a.txt"),
        ("data/images/train/a.b.png", "data/labels/train/a.b.txt"),
        ("data/train/images/a.png", "data/train/labels/a.txt"),
        ("data/images/images/a.png", "data/images/labels/a.txt"),
        ("data/IMAGES/a.PNG", "data/Labels/A.TXT"),
        ("data/JPEGImages/a.jpg", "data/labels/a.txt"),
        ("data/train/a.png", "data/labels/train/a.txt"),
        ("data/train/a.png", "data/train/a.txt"),
        ("data/images/a.png", "data/images/a.txt"),
    ],
)
def test_labels_are_in_labels_or_beside_the_image(tmp_path: Path, image: str, label: str) -> None:
    assert find(tmp_path, image, label) == label


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("data/images/train/a.png", "data/labels/val/a.txt"),
        ("data/images/train/a.png", "data/labels/a.txt"),
        ("data/train/images/a.png", "data/labels/a.txt"),
        ("data/images/train/a.png", "data/labelTxt/train/a.txt"),
        ("data/images/train/a.png", "data/a.txt"),
        ("data/images/train/a.png", "data/labels/train/a.png.txt"),
    ],
)
def test_labels_of_other_images_are_not_taken(tmp_path: Path, image: str, label: str) -> None:
    assert find(tmp_path, image, label) is None


def test_labels_beside_images_come_second(tmp_path: Path) -> None:
    found = find(tmp_path, "data/images/a.png", "data/images/a.txt", "data/labels/a.txt")
    assert found == "data/labels/a.txt"


@pytest.mark.parametrize("written", ["data/images/train/a.png", "C:\\x\\images\\train\\a.png", "images/train/a"])
def test_the_written_path_finds_labels_of_images_elsewhere(tmp_path: Path, written: str) -> None:
    label = "data/labels/train/a.txt"
    assert find(tmp_path, "pics/a.png", label, images="pics", written=written) == label
    assert find(tmp_path, "pics/a.png", label, images="pics") is None


@pytest.mark.parametrize(("image", "label"), [("pics/s/a.png", "data/s/a.txt"), ("pics/s/a.png", "data/a.TXT")])
def test_a_folder_of_labels_follows_that_of_images(tmp_path: Path, image: str, label: str) -> None:
    assert find(tmp_path, image, label, images="pics", only=True) == label
    assert find(tmp_path, "pics/t/b.png", "data/s/b.txt", images="pics", only=True) is None
