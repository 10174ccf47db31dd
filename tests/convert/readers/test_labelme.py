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
    with pytest.raises(RecordError, match=r"image b\.jpg must be a file"):
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
    with pytest.raises(RecordError, match=r"image c\.png must be a file in"):
        read("labelme", tmp_path / "labels")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shapes": None}, "shapes must be a list, not null; is this a file of Labelme"),
        ({"imagePath": ""}, "imagePath must be a path"),
        ({"imagePath": "a\0.png"}, "imagePath must be a path"),
        ({"imageWidth": 0}, "imageWidth, imageHeight must be pixels >= 1"),
        ({"shapes": [{"label": "a", "points": [[1, float("inf")]]}]}, r"shapes\[0\]: points\[0\] must be two finite"),
        (
            {"shapes": [{"label": "a", "points": [[10**400, 1], [4, 5]], "shape_type": "circle"}]},
            r"points\[0\] must be two finite",
        ),
        ({"shapes": [{"label": "a", "points": [], "shape_type": ["x"]}]}, "shape_type must be one of Labelme's"),
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
