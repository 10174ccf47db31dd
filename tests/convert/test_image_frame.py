"""The map of an EXIF orientation must be the one by which pixels are turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcap.convert.image_frame import stored_to_displayed
from dcap.core.errors import RecordError
from dcap.geometry import ShapeArray, transform
from dcap.records.images import decode_image, read_header
from support.convert_cases import counts, image, instances, read


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shapes_turn_with_pixels(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((6, 9, 3), np.uint8)
    pixels[1:3, 4:9] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    shapes = ShapeArray.from_objects([{"bbox_2d": [4, 1, 9, 3]}])
    turned = transform(shapes, stored_to_displayed(read_header(tmp_path / "a.png")))
    y, x = np.nonzero(decode_image(tmp_path / "a.png", None)[..., 0])
    assert turned.bounds()[0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert len(x) == 10


def test_the_size_tells_the_frame(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 8, 6, orientation=6)
    source = instances(tmp_path, {"bbox": [1, 2, 3, 4]})
    (record,), report = read("coco", source)
    assert (record.canvas.width, record.canvas.height) == (6, 8)
    assert record.shapes.to_objects() == [{"bbox_2d": [0, 1, 4, 4]}]
    assert report.total == 0
    (record,), report = read("coco", instances(tmp_path, {"bbox": [1, 2, 3, 4]}, width=6, height=8))
    assert record.shapes.to_objects() == [{"bbox_2d": [1, 2, 4, 6]}]
    assert report.total == 0
    with pytest.raises(RecordError, match="6 x 8 as displayed, or 8 x 6 as stored, not 8 x 8"):
        read("coco", instances(tmp_path, {"bbox": [1, 2, 3, 4]}, height=8))


@pytest.mark.parametrize(
    ("frame", "box", "lost"),
    [("auto", [1, 2, 4, 6], 1), ("displayed", [1, 2, 4, 6], 0), ("stored", [4, 0, 7, 4], 0)],
)
def test_a_half_turn_is_not_told_by_the_size(tmp_path: Path, frame: str, box: list[float], lost: int) -> None:
    image(tmp_path / "a.png", 8, 6, orientation=3)
    (record,), report = read("coco", instances(tmp_path, {"bbox": [1, 2, 3, 4]}), frame=frame)
    assert record.shapes.to_objects() == [{"bbox_2d": box}]
    assert sum(counts(report).values()) == lost
