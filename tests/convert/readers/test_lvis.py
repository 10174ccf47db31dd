"""LVIS: names of images, and what is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import RecordError
from support.convert_cases import image, instances, read

URL = "http://images.cocodataset.org/train2017/000000391895.jpg"


@pytest.mark.parametrize("place", ["train2017/000000391895.jpg", "000000391895.jpg"])
def test_the_image_of_a_url(tmp_path: Path, place: str) -> None:
    image(tmp_path / "images" / place)
    source = instances(tmp_path, coco_url=URL, file_name=None)
    (record,), _ = read("lvis", source, tmp_path / "images")
    assert record.image == f"images/{place}"


def test_the_names_of_its_first_version(tmp_path: Path) -> None:
    image(tmp_path / "000000391895.jpg")
    (record,), _ = read("lvis", instances(tmp_path, file_name="COCO_val2014_000000391895.jpg"))
    assert record.image == "000000391895.jpg"


def test_absent_categories_are_named(tmp_path: Path) -> None:
    source = instances(tmp_path, neg_category_ids=[7], not_exhaustive_category_ids=[])
    (record,), report = read("lvis", source)
    assert record.metadata["neg_category_ids"] == [7]
    assert record.metadata["neg_categories"] == ["dog"]
    assert record.metadata["not_exhaustive_categories"] == []
    assert report.total == 0
    with pytest.raises(RecordError, match="neg_category_ids must be a list of ids of the categories"):
        read("lvis", instances(tmp_path, neg_category_ids=[8]))


def test_an_image_without_a_name(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="image 3: coco_url or file_name must be given"):
        read("lvis", instances(tmp_path, file_name=""))
    with pytest.raises(RecordError, match=r"image 3: coco_url must be a URL, not .*http://\[x/1.jpg"):
        read("lvis", instances(tmp_path, coco_url="http://[x/1.jpg", file_name=None))
    (record,), _ = read("lvis", instances(tmp_path, coco_url="http://x/../a.png", file_name=None))
    assert record.image == "a.png"  # and none above the folder
