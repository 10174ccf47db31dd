"""Labelme: every kind of shape, images inside files, and broken files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.core.errors import RecordError
from dcap.geometry.measures import area_or_length
from support.convert_cases import counts, image, read, write_json


def labelme(folder: Path, *shapes: dict[str, Any], **keys: Any) -> Path:
    image(folder / "a.png")
    found = [{"label": "cup", "shape_type": "polygon", "flags": {}, "group_id": None, **shape} for shape in shapes]
    data = {"version": "5.5", "flags": {}, "shapes": found, "imagePath": "a.png", "imageData": None}
    return write_json(folder / "a.json", {**data, "imageHeight": 6, "imageWidth": 8, **keys})


def png(pixels: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_every_kind_of_shape(tmp_path: Path) -> None:
    mask = png([[0, 255], [255, 255]])
    labelme(
        tmp_path,
        {"points": [[1, 1], [3, 1], [3, 3]]},
        {"points": [[5, 4], [1, 2]], "shape_type": "rectangle"},
        {"points": [[1, 1], [3, 1]], "shape_type": "line"},
        {"points": [[1, 1], [3, 1], [3, 3]], "shape_type": "linestrip", "description": "wire", "group_id": 2},
        {"points": [[2, 3], [3, 4]], "shape_type": "mask", "mask": mask},
        {"points": [[3, 3], [3, 5]], "shape_type": "circle"},
        {"points": [[3, 3]], "shape_type": "point"},
    )
    (record,), report = read("labelme", tmp_path)
    *shapes, circle = record.shapes.to_objects()
    assert shapes[:4] == [
        {"poly": [1, 1, 3, 1, 3, 3]},
        {"bbox_2d": [1, 2, 5, 4]},
        {"line": [1, 1, 3, 1]},
        {"line": [1, 1, 3, 1, 3, 3]},
    ]
    ring = np.reshape(shapes[4]["poly"], (-1, 2))
    assert {tuple(point) for point in ring.tolist()} == {(3, 3), (4, 3), (4, 5), (2, 5), (2, 4), (3, 4)}
    assert area_or_length(record.shapes)[5] == pytest.approx(np.pi * 4, rel=1e-5)
    assert len(circle["poly"]) == 64
    assert record.attributes[3] == {"group_id": 2, "description": "wire"}
    assert counts(report) == {
        "point, which has no extent": 1,
        "circle: a polygon of 32 corners and the same area": 1,
    }


def test_descriptions_as_texts(tmp_path: Path) -> None:
    box = {"points": [[1, 1], [3, 3]], "shape_type": "rectangle"}
    labelme(tmp_path, {**box, "description": "a blue cup"}, {**box, "description": ""})
    (record,), _ = read("labelme", tmp_path, text="description")
    assert record.captions == ("a blue cup", "cup")
    assert record.attributes == ({"label": "cup"}, None)


def test_the_image_inside_is_written_where_there_is_none(tmp_path: Path) -> None:
    source = labelme(tmp_path, imagePath="..\\photos\\b.jpg", imageData=png(np.zeros((6, 8, 3))))
    with pytest.raises(RecordError, match=r"image must lie inside .*photos.*b\.jpg', and no file there has its name"):
        read("labelme", source)
    (record,), _ = read("labelme", source, extract=True)
    assert record.image == "b.jpg.png"
    assert (tmp_path / "b.jpg.png").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".writing")]
    broken = labelme(tmp_path, imagePath="c.png", imageData=base64.b64encode(b"no image").decode())
    with pytest.raises(RecordError, match="imageData must be an image of"):
        read("labelme", broken, extract=True)
    with pytest.raises(RecordError, match="imageData must be given"):
        read("labelme", labelme(tmp_path, imagePath="c.png"), extract=True)


def test_paths_start_at_the_file_and_stay_in_the_folder(tmp_path: Path) -> None:
    labelme(tmp_path / "labels", imagePath="../photos/c.png")
    image(tmp_path / "photos" / "c.png")
    (record,), _ = read("labelme", tmp_path)
    assert record.image == "photos/c.png"
    with pytest.raises(RecordError, match=r"image must lie inside .*, not at '\.\./photos/c\.png'"):
        read("labelme", tmp_path / "labels")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shapes": None}, "shapes must be a list, not null"),
        ({"imagePath": ""}, "imagePath must be a path"),
        ({"imagePath": "a\0.png"}, "imagePath must be a path"),
        ({"imageWidth": 0}, "imageWidth, imageHeight must be pixels >= 1"),
        ({"shapes": [{"label": "a", "points": [[1, float("inf")]]}]}, r"shapes\[0\]: points\[0\] must be two finite"),
        (
            {"shapes": [{"label": "a", "points": [[10**400, 1], [4, 5]], "shape_type": "circle"}]},
            r"points\[0\] must be two finite",
        ),
        ({"shapes": [{"label": "a", "points": [], "shape_type": ["x"]}]}, "shape_type must be one of Labelme's"),
        (
            {"shapes": [{"label": "a", "points": [[1e200, 1], [4, 5], [4, 8]], "group_id": 1}] * 2},
            r"points\[0\] must be two finite numbers within 1e\+09",
        ),
        ({"shapes": [{"label": "a", "points": 3}]}, r"shapes\[0\]: points must be a list"),
        ({"shapes": [{"label": "", "points": [[1, 1], [2, 2], [1, 3]]}]}, r"shapes\[0\]: desc must not be empty"),
        ({"shapes": [{"label": "a", "points": [], "shape_type": "cube"}]}, "shape_type must be one of Labelme's"),
        (
            {"shapes": [{"label": "a", "points": [[1, 1]], "shape_type": "circle"}]},
            "points of a circle must be 2",
        ),
        ({"shapes": [{"label": "a", "points": [[0, 0]] * 2, "shape_type": "mask", "mask": "@"}]}, "base64"),
    ],
)
def test_broken_files_are_named_or_skipped(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    source = labelme(tmp_path, **change)
    with pytest.raises(RecordError, match=said) as caught:
        read("labelme", source)
    assert str(caught.value).startswith(f"{source}: ")
    records, report = read("labelme", source, on_bad="skip")
    assert (records, report.skipped) == ([], 1)


QUAD = [[4, 1], [7, 3], [5, 5], [2, 3]]


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle", "rotation", "quadrilateral"])
def test_four_corners_are_a_box_or_turned(tmp_path: Path, kind: str) -> None:
    upright = [[1, 1], [5, 1], [5, 4], [1, 4]]
    labelme(
        tmp_path,
        {"points": QUAD, "shape_type": kind, "direction": 0.5},
        {"points": upright, "shape_type": kind},
        {"points": upright[2:] + upright[:2], "shape_type": kind},
        {"points": [[1, 1], [5, 1], [5, 1], [1, 4]], "shape_type": kind},
    )
    (record,), report = read("labelme", tmp_path)
    assert record.shapes.to_objects() == [
        {"poly": [4, 1, 7, 3, 5, 5, 2, 3]},
        {"bbox_2d": [1, 1, 5, 4]},
        {"bbox_2d": [1, 1, 5, 4]},
        {"poly": [1, 1, 5, 1, 1, 4]},
    ]
    assert record.attributes[0] == {"direction": 0.5}
    assert report.total == 0
    if kind != "rectangle":
        with pytest.raises(RecordError, match=f"points of a {kind} must be 4, not 2"):
            read("labelme", labelme(tmp_path, {"points": [[1, 1], [5, 4]], "shape_type": kind}))


@pytest.mark.parametrize(
    ("parts", "shapes", "told"),
    [
        ("largest", [{"bbox_2d": [1, 1, 5, 5]}, {"poly": [5, 1, 6, 1, 6, 2]}], "polygons of an object but the largest"),
        (
            "all",
            [{"poly": [6, 1, 8, 1, 8, 2]}, {"bbox_2d": [1, 1, 5, 5]}, {"poly": [5, 1, 6, 1, 6, 2]}],
            "object of several polygons: one object for each",
        ),
        (
            "box",
            [{"bbox_2d": [1, 1, 8, 5]}, {"poly": [5, 1, 6, 1, 6, 2]}],
            "object of several polygons: the box around them",
        ),
    ],
)
def test_shapes_of_one_label_and_group_are_one_object(tmp_path: Path, parts: str, shapes: Any, told: str) -> None:
    labelme(
        tmp_path,
        {"points": [[6, 1], [8, 1], [8, 2]], "group_id": 1},
        {"points": [[1, 1], [5, 5]], "shape_type": "rectangle", "group_id": 1},
        {"points": [[5, 1], [6, 1], [6, 2]], "group_id": 1, "label": "mug"},
    )
    (record,), report = read("labelme", tmp_path, parts=parts)
    assert record.shapes.to_objects() == shapes
    assert counts(report) == {told: 1}
    assert report.found[0].examples[0]["object"] == "shapes[0], shapes[1]"


def test_a_part_of_a_group_that_encloses_nothing_is_lost_alone(tmp_path: Path) -> None:
    shapes = [
        {"points": points, "group_id": 1} for points in ([[6, 1], [8, 1], [8, 2]], [[1, 1], [5, 5]], [[1, 1]] * 4)
    ]
    (record,), report = read("labelme", labelme(tmp_path, *shapes))
    assert record.shapes.to_objects() == [{"poly": [6, 1, 8, 1, 8, 2]}]
    assert counts(report) == {"polygon with fewer than 3 points": 1, "polygon without area": 1}


def test_lines_of_a_group_stay_objects_of_their_own(tmp_path: Path) -> None:
    wire = {"points": [[1, 1], [3, 1], [3, 3]], "shape_type": "linestrip", "group_id": 0}
    labelme(tmp_path, wire, wire, {**wire, "group_id": None}, {**wire, "group_id": None})
    (record,), report = read("labelme", tmp_path)
    assert len(record.shapes) == 4
    assert counts(report) == {"object of several shapes (group_id): one object for each": 1}


@pytest.mark.parametrize("points", [[[2, 3], [4, 4]], [[2, 3], [3, 3]], [[2, 3], [2, 4]]])
def test_a_mask_must_fit_its_points(tmp_path: Path, points: Any) -> None:
    source = labelme(tmp_path, {"points": points, "shape_type": "mask", "mask": png([[0, 255], [255, 255]])})
    with pytest.raises(RecordError, match=r"shapes\[0\]: mask must fit its points, . x . pixels .*, not have 2 x 2"):
        read("labelme", source)


def test_a_mask_that_was_moved_is_put_on_whole_pixels(tmp_path: Path) -> None:
    labelme(tmp_path, {"points": [[2.4, 2.6], [3.4, 3.6]], "shape_type": "mask", "mask": png([[255, 255]] * 2)})
    (record,), _ = read("labelme", tmp_path)
    assert record.shapes.bounds().tolist() == [[2, 3, 4, 5]]


def test_an_empty_mask_is_its_box(tmp_path: Path) -> None:
    labelme(tmp_path, {"points": [[2, 3], [3, 4]], "shape_type": "mask", "mask": png([[0, 0], [0, 0]])})
    (record,), report = read("labelme", tmp_path)
    assert record.shapes.to_objects() == [{"bbox_2d": [2, 3, 4, 5]}]
    assert counts(report) == {"outline that encloses nothing: the box of the object is used": 1}


def test_the_picture_inside_comes_before_the_file_as_in_labelme(tmp_path: Path) -> None:
    source = labelme(tmp_path, imageData=png(np.zeros((6, 8, 3))))
    with pytest.raises(
        RecordError, match=r"must be the picture inside \(imageData\), .*a\.png is another one.*--extract"
    ):
        read("labelme", source)
    for _ in range(2):
        (record,), _ = read("labelme", source, extract=True)
        assert record.image == "a-inside.png"
    same = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    again = png(np.full((6, 8, 3), (90, 120, 30)))
    assert again != same
    for data in (same, again):
        (record,), _ = read("labelme", labelme(tmp_path, imageData=data), extract=True)
        assert record.image == "a.png"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"label": "cup"', '"label": "cup", "label": "mug"', r'shapes\[0\]: key "label" must be given once'),
        ('"version": "5.5"', '"version": "5", "version": "6"', 'key "version" must be given once'),
        ("[1, 1]", "[1, " + "9" * 5000 + "]", r"shapes\[0\]: number must fit float64"),
        ("[1, 1]", "[NaN, " + "9" * 5000 + "]", "number must fit float64"),
        ('"cup"', "[" * 5000 + "]" * 5000, "must not be nested deeper"),
        ('"shapes"', '"annotations": [], "categories": [], "things"', "shapes must be given; .*dcap convert coco"),
        ("a.png", "x" * 300 + ".png", "image "),
    ],
)
def test_hostile_files_end_with_their_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    source = labelme(tmp_path, {"points": [[1, 1], [3, 1], [3, 3]]})
    source.write_text(source.read_text().replace(old, new))
    for extract in (False, True):
        with pytest.raises(RecordError, match=said) as caught:
            read("labelme", source, extract=extract) if "x" * 300 not in new or not extract else read("labelme", source)
        assert str(caught.value).startswith(f"{source}: ")
    records, report = read("labelme", source, on_bad="skip")
    assert (records, report.skipped) == ([], 1)


def test_a_name_too_long_to_write(tmp_path: Path) -> None:
    source = labelme(tmp_path, imagePath="x" * 300 + ".png", imageData=png(np.zeros((6, 8, 3))))
    with pytest.raises(RecordError, match="image must have a name that can be written"):
        read("labelme", source, extract=True)


def test_a_picture_is_not_written_through_a_link_that_leads_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    data = {"shapes": [], "imagePath": "link/new.png", "imageData": png(np.zeros((6, 8, 3)))}
    write_json(inside / "a.json", data)
    (inside / "link").symlink_to(outside)
    with pytest.raises(RecordError, match=r"image must be written inside .*, and link/new.png leads out"):
        read("labelme", inside, extract=True)
    assert list(outside.iterdir()) == []


def test_two_pictures_of_one_name_are_written_beside_their_files(tmp_path: Path) -> None:
    for folder, value in (("one", 0), ("two", 200)):
        data = {"shapes": [], "imagePath": "a.png", "imageData": png(np.full((6, 8, 3), value))}
        write_json(tmp_path / folder / "a.json", data)
    records, _ = read("labelme", tmp_path, extract=True)
    assert [record.image for record in records] == ["one/a.png", "two/a.png"]


def test_sidecars_of_macos_are_passed_over(tmp_path: Path) -> None:
    labelme(tmp_path)
    (tmp_path / "._a.json").write_bytes(b"\0\5\x16\7")
    assert len(read("labelme", tmp_path)[0]) == 1
