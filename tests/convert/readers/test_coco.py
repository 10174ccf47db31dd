"""COCO files: shapes, captions, what is lost, and what is too broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.convert.conversion_report import EXAMPLES
from dcap.core.errors import RecordError
from support.convert_cases import counts, image, instances, read, write_json

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
WIDE = [4, 1, 8, 1, 8, 4, 4, 4]


def test_polygon_box_and_mask(tmp_path: Path) -> None:
    mask = {"size": [6, 8], "counts": [0, 2, 46]}
    source = instances(
        tmp_path,
        {"segmentation": [SQUARE], "bbox": [1, 1, 2, 2], "attributes": {"occluded": True}, "score": 0.5},
        {"bbox": [0.1, 0.2, 0.2, 0.1], "category_id": 7},
        {"segmentation": mask},
        license=4,
    )
    (record,), report = read("coco", source)
    assert record.captions == ("cup", "dog", "cup")
    assert record.image == "a.png"
    first, second, third = record.shapes.to_objects()
    assert first == {"poly": SQUARE}
    assert second == {"bbox_2d": [0.1, 0.2, 0.3, 0.3]}
    assert np.array_equal(np.sort(np.reshape(third["poly"], (-1, 2)), axis=0), [[0, 0], [0, 0], [1, 2], [1, 2]])
    assert record.attributes[0] == {"supercategory": "kitchen", "score": 0.5, "occluded": True}
    assert record.attributes[1] is None
    assert record.metadata == {"image_id": 3, "license": 4, "annotation_ids": [10, 11, 12]}
    assert report.total == 0


@pytest.mark.parametrize(
    ("parts", "shapes"),
    [
        ("largest", [{"poly": WIDE}]),
        ("all", [{"poly": SQUARE}, {"poly": WIDE}]),
        ("box", [{"bbox_2d": [1, 1, 8, 4]}]),
    ],
)
def test_several_polygons(tmp_path: Path, parts: str, shapes: list[Any]) -> None:
    (record,), report = read("coco", instances(tmp_path, {"segmentation": [SQUARE, WIDE]}), parts=parts)
    assert record.shapes.to_objects() == shapes
    assert report.total == 1
    assert report.found[0].examples == [
        {
            "file": str(tmp_path / "in.json"),
            "image": "image 3",
            "object": "annotation 10",
            "detail": "1 with 25.0% of its area" if parts == "largest" else "2 polygons",
        }
    ]


def test_every_loss_is_counted(tmp_path: Path) -> None:
    source = instances(
        tmp_path,
        {"segmentation": [[1, 1, 2, 2]]},
        {"bbox": [1, 1, 0, 4]},
        {"bbox": [6, 1, 4, 4]},
        {"bbox": [9, 1, 4, 4]},
        {"bbox": [1, 1, 4, 4], "keypoints": [1, 1, 2], "num_keypoints": 1},
        {"segmentation": {"size": [6, 8], "counts": [7, 3, 3, 1, 1, 1, 3, 3, 26]}},
        {"segmentation": {"size": [6, 8], "counts": [48]}},
        {"segmentation": {"size": [6, 8], "counts": [48]}, "iscrowd": 1},
    )
    (record,), report = read("coco", source)
    assert len(record.shapes) == 3
    assert record.metadata["annotation_ids"] == [12, 14, 15]
    assert sorted(counts(report).items()) == sorted(
        {
            "polygon with fewer than 3 points": 1,
            "shape without area or length": 1,
            "shape partly outside the image: cut at its border": 1,
            "shape outside the image": 1,
            "keypoints, which records have no shape for": 1,
            "num_keypoints, which records have no shape for": 1,
            "mask with holes: they are filled": 1,
            "mask without pixels": 1,
            "region with iscrowd 1; crowd: keep keeps it": 1,
        }.items()
    )


def test_parts_that_the_border_of_the_image_splits_off_are_a_loss(tmp_path: Path) -> None:
    # Two legs in the image of 8 x 6, joined above it.
    legs = [1, 4, 1, -2, 7, -2, 7, 1, 6, 1, 6, -1, 3, -1, 3, 4]
    (record,), report = read("coco", instances(tmp_path, {"segmentation": [legs]}))
    assert record.shapes.bounds().tolist() == [[1, 0, 3, 4]]
    assert counts(report) == {
        "shape that the border of its image splits: only the largest part is kept": 1,
        "shape partly outside the image: cut at its border": 1,
    }


def test_crowds_can_be_kept(tmp_path: Path) -> None:
    source = instances(tmp_path, {"segmentation": {"size": [6, 8], "counts": [0, 6, 42]}, "iscrowd": 1})
    (record,), report = read("coco", source, crowd="keep")
    assert record.attributes[0]["iscrowd"] == 1
    assert report.total == 0


def test_the_first_caption_is_the_summary_and_the_others_are_kept(tmp_path: Path) -> None:
    texts = [{"image_id": 3, "caption": text} for text in ("one cup", " two cups ", "three")]
    captions = write_json(tmp_path / "captions.json", {"annotations": [*texts, {"image_id": 9, "caption": "none"}]})
    (record,), report = read("coco", instances(tmp_path), captions=captions)
    assert record.summary == "one cup"
    assert record.metadata["captions"] == ["two cups", "three"]
    assert counts(report) == {"caption of an image that is not in the other file": 1}


def test_captions_without_an_image_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    names = [f"gone {k}" for k in range(12)]
    texts = [{"image_id": name, "caption": "a cup"} for name in names]
    _, report = read("coco", instances(tmp_path), captions=write_json(tmp_path / "c.json", {"annotations": texts}))
    loss = report.found[0]
    assert [example["object"] for example in loss.examples] == [f"image {name}" for name in names[:EXAMPLES]]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"category_id": 99}, "category_id must be the id of one of the categories, not 99"),
        (
            {"segmentation": [[1, 1, 2, 2, 3, float("nan")]]},
            r"segmentation\[0\]\[5\] must be a finite .*, not NaN",
        ),
        ({"segmentation": [[1, 1, 2, 2, 3]]}, "even count"),
        ({"segmentation": [1, 1, 2, 2, 3, 3]}, "list of polygons"),
        ({"segmentation": []}, "segmentation or bbox must be given"),
        ({"bbox": [1, 2, 3]}, r"bbox must have an even count|must be \[x, y, width, height\]"),
        ({"bbox": [1, 2, 3, "4"]}, r"bbox\[3\] must be a finite number .*, not \"4\""),
        ({"bbox": [1, 2, 1e300, 4]}, "within 1e\\+09"),
        ({"image_id": 4}, r"annotations\[0\]: image_id must be the id of one of the images, not 4"),
        ({"image_id": None}, "image_id must be given"),
        ({"segmentation": {"size": [9**9, 9**9], "counts": []}}, "segmentation.size must be"),
    ],
)
def test_broken_annotations_are_named_or_skipped(tmp_path: Path, annotation: dict[str, Any], said: str) -> None:
    given = annotation if "segmentation" in annotation else {"bbox": [1, 1, 3, 3], **annotation}
    source = instances(tmp_path, given)
    with pytest.raises(RecordError, match=said) as caught:
        read("coco", source)
    assert str(caught.value).startswith(f"{source}: ")
    records, report = read("coco", source, on_bad="skip")
    assert report.skipped == 1
    assert len(records) == ("image_id" in annotation)  # an annotation of no image leaves the images alone


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1 column 2: file must be JSON"),
        ("[]", "must hold a JSON object, not a list of 0"),
        ("{}", "images must be given"),
        ('{"images": [], "annotations": {}, "categories": []}', "annotations must be a list, not an object of 0"),
        ('{"images": [], "annotations": []}', "categories must be given"),
        ("[" * 100_000, "nested|JSON"),
    ],
)
def test_files_that_are_no_coco(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(RecordError, match=said):
        read("coco", tmp_path / "in.json")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b'"\xff"', "value must be UTF-8, not byte 0xff"),
        (b"1e999", "number must fit float64"),
        (b"9" * 5000, "number must fit float64"),
        (b'{"a": 1, "a": 2}', 'key "a" must be given once in an object, not 2 times'),
        (b"[" * 70 + b"]" * 70, "value must not be nested deeper than 64 levels"),
    ],
)
def test_damage_inside_an_annotation_is_bad_input(tmp_path: Path, damage: bytes, said: str) -> None:
    source = instances(tmp_path, {"bbox": [1, 1, 3, 3], "score": "here"})
    source.write_bytes(source.read_bytes().replace(b'"here"', damage))
    with pytest.raises(RecordError, match=rf"annotations\[0\]: {said}"):
        read("coco", source)
    records, report = read("coco", source, on_bad="skip")
    assert (records, report.skipped) == ([], 1)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "..\\a.png", "C:\\a.png", "link.png"])
def test_images_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "a.png")
    source = instances(tmp_path, file_name=name)
    with pytest.raises(RecordError, match="image must lie inside"):
        read("coco", source, tmp_path / "images")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"extra": {"images": ["../secret.png"]}}, "further keys must be other ones than the record's, not images"),
        ({"extra": {"width": 9, "height": 9}}, "not height, width"),
        ({"extra": {"objects": []}}, "not objects"),
        ({"extra": [1]}, "dcap.extra must be an object, not a list of 1"),
        ({"metadata": 5}, "dcap.metadata must be an object, not 5"),
    ],
)
def test_further_keys_take_no_other_s_place(tmp_path: Path, own: dict[str, Any], said: str) -> None:
    image(tmp_path / "secret.png")
    (tmp_path / "images").mkdir()
    source = instances(tmp_path / "images", {"bbox": [1, 1, 3, 3]}, dcap=own)
    with pytest.raises(RecordError, match=said):
        read("coco", source)
    with pytest.raises(RecordError, match=r"further keys must .* not desc"):
        read("coco", instances(tmp_path / "images", {"bbox": [1, 1, 3, 3], "dcap": {"extra": {"desc": "other"}}}))


def test_a_size_that_is_not_the_image_s(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="image 3: width, height must be the image's, 8 x 6, not 9 x 6"):
        read("coco", instances(tmp_path, width=9))
    with pytest.raises(RecordError, match="width must be a whole number"):
        read("coco", instances(tmp_path, width="8"))


def test_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"image b\.png must be a file in .* Give its folder with --images"):
        read("coco", instances(tmp_path, file_name="b.png"))


def test_ids_must_be_given_once(tmp_path: Path) -> None:
    source = instances(tmp_path)
    data = json.loads(source.read_text())
    data["images"] *= 2
    write_json(source, data)
    with pytest.raises(RecordError, match=r"images\[1\]: id must be given once"):
        read("coco", source)
    records, report = read("coco", source, on_bad="skip")
    assert (len(records), report.skipped) == (1, 1)


def test_a_shared_image_id_is_told_and_means_neither_image(tmp_path: Path) -> None:
    source = instances(tmp_path, {"bbox": [1, 1, 3, 3]})
    data = json.loads(source.read_text())
    data["images"].append({**data["images"][0], "file_name": "b.png"})
    write_json(source, data)
    image(tmp_path / "b.png")
    records, report = read("coco", source, on_bad="skip")
    assert (records, report.skipped) == ([], 2)  # the second image, and the annotation of either


def test_a_shared_annotation_id_is_an_error_with_both_places(tmp_path: Path) -> None:
    source = instances(tmp_path, {"bbox": [1, 1, 3, 3]}, {"bbox": [2, 1, 3, 3]}, {"bbox": [3, 1, 3, 3], "id": 11.0})
    said = r"image 3: annotations\[2\]: id must be given once, and 11 is that of annotations\[1\] too. .*need none"
    with pytest.raises(RecordError, match=said):
        read("coco", source)
    records, report = read("coco", source, on_bad="skip")
    assert (records, report.skipped) == ([], 1)
    (record,), _ = read("coco", instances(tmp_path, *[{"bbox": [k, 1, 3, 3], "id": None} for k in range(3)]))
    assert len(record.shapes) == 3


def test_a_shared_category_id_is_an_error_and_means_nothing(tmp_path: Path) -> None:
    source = instances(tmp_path, {"bbox": [1, 1, 3, 3]})
    data = json.loads(source.read_text())
    data["categories"].append({"id": 1, "name": "mug"})
    write_json(source, data)
    with pytest.raises(RecordError, match=r"categories\[2\]: id must be given once, not twice: 1") as caught:
        read("coco", source)
    assert str(caught.value).count(str(source)) == 1
    records, report = read("coco", source, on_bad="skip")
    assert (records, report.skipped) == ([], 2)


@pytest.mark.parametrize(("used", "told"), [((1, 8), 1), ((1, 1), 0)])
def test_two_categories_of_one_name_are_told_where_both_are_used(
    tmp_path: Path, used: tuple[int, int], told: int
) -> None:
    source = instances(tmp_path, *[{"bbox": [1, 1, 3, 3], "category_id": key} for key in used])
    data = json.loads(source.read_text())
    data["categories"].append({"id": 8, "name": "cup"})
    write_json(source, data)
    (record,), report = read("coco", source)
    assert record.captions == ("cup", "cup")
    assert counts(report).get("category with the name of another one: one text for both", 0) == told


def test_ids_written_as_3_0_are_whole_numbers(tmp_path: Path) -> None:
    source = instances(tmp_path, {"bbox": [1, 1, 3, 3], "id": 5.0, "image_id": 3.0, "category_id": 1.0})
    write_json(
        source, json.loads(source.read_text().replace('"id": 3,', '"id": 3.0,').replace('"id": 1,', '"id": 1.0,'))
    )
    (record,), report = read("coco", source)
    assert record.metadata == {"image_id": 3, "annotation_ids": [5]}
    assert report.total == 0
    with pytest.raises(RecordError, match=r"id must be a whole number or a text, not 5\.5"):
        read("coco", instances(tmp_path, {"bbox": [1, 1, 3, 3], "id": 5.5}))


@pytest.mark.parametrize(("iscrowd", "kept"), [("0", 1), (0.0, 1), (False, 1), (None, 1), ("1", 0), (1, 0), (True, 0)])
def test_crowds_are_told_by_number_and_not_by_truth(tmp_path: Path, iscrowd: Any, kept: int) -> None:
    (record,), _ = read("coco", instances(tmp_path, {"bbox": [1, 1, 3, 3], "iscrowd": iscrowd}))
    assert len(record.shapes) == kept
    with pytest.raises(RecordError, match='iscrowd must be 0 or 1, not "no"'):
        read("coco", instances(tmp_path, {"bbox": [1, 1, 3, 3], "iscrowd": "no"}))


def test_the_angle_of_cvat_is_in_the_shape_and_no_longer_an_attribute(tmp_path: Path) -> None:
    turned = {"bbox": [2, 2, 4, 1], "attributes": {"rotation": 30, "occluded": False}}
    (record,), report = read(
        "coco", instances(tmp_path, turned, {"bbox": [2, 2, 4, 1], "attributes": {"rotation": 0.0}})
    )
    assert [list(shape) for shape in record.shapes.to_objects()] == [["poly"], ["bbox_2d"]]
    assert record.attributes == (
        {"supercategory": "kitchen", "occluded": False},
        {"supercategory": "kitchen", "rotation": 0.0},
    )
    assert report.total == 0


@pytest.mark.parametrize(
    ("swapped", "shapes", "said"),
    [
        ("drop", [], "box whose corners are swapped, x2 < x1 or y2 < y1; --swapped order puts them in order"),
        ("order", [{"bbox_2d": [2, 1, 5, 4]}], "box whose corners are swapped, x2 < x1 or y2 < y1; put in order"),
    ],
)
def test_swapped_corners_are_called_so(tmp_path: Path, swapped: Any, shapes: list[Any], said: str) -> None:
    source = instances(tmp_path, {"bbox": [5, 4, -3, -3]})
    (record,), report = read("coco", source, swapped=swapped)
    assert record.shapes.to_objects() == shapes
    assert counts(report) == {said: 1}
    assert report.found[0].examples[0]["detail"] == "from [5, 4] to [2, 1]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"images": ["a.png"], "width": 8, "height": 6, "objects": []}',
            "looks like the format jsonl: dcap convert jsonl",
        ),
        ('{"shapes": [], "imagePath": "a.png"}', "looks like the format labelme: dcap convert labelme"),
        ('{"images": ["a.png"]}\n{"images": ["b.png"]}', "one JSON object, not one in each line. dcap convert jsonl"),
    ],
)
def test_other_formats_given_as_coco(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(RecordError, match=said):
        read("coco", tmp_path / "in.json")
    with pytest.raises(RecordError, match=r"must be a regular file, not a folder\. Name a file in it"):
        read("coco", tmp_path)
