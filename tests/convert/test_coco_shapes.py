"""The shapes of a COCO annotation: turned boxes, outlines that enclose nothing, and boxes that contradict them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.convert.coco_shapes import AnnotationShapes, annotation_shapes
from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.core.errors import RecordError
from support.convert_cases import counts

RING = [20, 30, 60, 30, 60, 40]
BOX = [20, 30, 40, 10]
CORNERS = ("bbox_2d", [20, 30, 60, 40])
QUAD = [25.179492, 20.669873, 59.820508, 40.669873, 54.820508, 49.330127, 20.179492, 29.330127]
FELL_BACK = "outline that encloses nothing: the box of the object is used"
CONTRADICTS = "box that contradicts the outline of its object: the outline is used"


def shapes(report: ConversionReport | None = None, **annotation: Any) -> AnnotationShapes:
    return annotation_shapes(annotation, (100, 80), "largest", report or ConversionReport(), SourcePlace("in.json"))


@pytest.mark.parametrize("rotation", [30, 390.0, "30", " 30.0 ", -330])
@pytest.mark.parametrize("segmentation", [None, [], [[20, 30, 60, 30, 60, 40, 20, 40]], [[]]])
def test_the_angle_of_cvat_turns_the_box_about_its_centre(rotation: Any, segmentation: Any) -> None:
    found, turned = shapes(bbox=BOX, attributes={"rotation": rotation}, segmentation=segmentation)
    assert found == [("poly", pytest.approx(QUAD, abs=1e-6))]
    assert turned


@pytest.mark.parametrize(
    ("rotation", "shape"),
    [
        (0, CORNERS),
        (180, CORNERS),
        (360, CORNERS),
        (90, ("bbox_2d", [35, 15, 45, 55])),
        ("left", CORNERS),
        (True, CORNERS),
    ],
)
def test_quarter_turns_leave_a_box_and_other_rotations_are_no_angles(rotation: Any, shape: Any) -> None:
    found, turned = shapes(bbox=BOX, attributes={"rotation": rotation})
    assert found == [shape]
    assert turned == (rotation in (180, 90))


def test_an_outline_is_not_turned_by_the_angle_of_a_box() -> None:
    found, turned = shapes(segmentation=[RING], attributes={"rotation": 30})
    assert (found, turned) == ([("poly", RING)], False)


SIDE = st.floats(0.5, 500).map(lambda value: round(value, 3))


@given(st.floats(-500, 500), st.floats(-500, 500), SIDE, SIDE, st.floats(-720, 720))
def test_turned_boxes_are_those_of_opencv(x: float, y: float, width: float, height: float, degrees: float) -> None:
    ((key, values),), _ = shapes(bbox=[x, y, width, height], attributes={"rotation": degrees})
    corners = np.reshape(values, (-1, 2))
    if key == "bbox_2d":
        assert degrees % 90 % 90 == 0  # -1e-18 % 90 is 90
        corners = corners[[[0, 0], [1, 0], [1, 1], [0, 1]], [0, 1]]
    centre = (x + width / 2, y + height / 2)
    assert corners.mean(axis=0) == pytest.approx(centre, abs=1e-5)
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    assert sorted(lengths) == pytest.approx(sorted([width, height, width, height]), abs=1e-5)
    oracle = cv2.boxPoints((centre, (width, height), degrees % 360))
    distances = np.linalg.norm(corners[:, None] - oracle[None], axis=2)
    assert distances.min(axis=1) == pytest.approx(0, abs=1e-3)  # OpenCV computes in float32


@pytest.mark.parametrize(
    "segmentation",
    [
        [[]],
        [[], []],
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[20, 30, 40, 35, 60, 40]],
        [[20, 30, 60, 30, 60, 40, 60, 30]],
        [[5, 5, 5, 5, 5, 5]],
        {"size": [80, 100], "counts": [8000]},
    ],
)
def test_the_box_counts_where_the_outline_encloses_nothing(segmentation: Any) -> None:
    report = ConversionReport()
    assert shapes(report, segmentation=segmentation, bbox=BOX).shapes == [CORNERS]
    assert counts(report) == {FELL_BACK: 1}


def test_an_object_without_any_shape_is_lost_with_the_reason() -> None:
    report = ConversionReport()
    assert shapes(report, segmentation=[[20, 30, 40, 35, 60, 40], [1, 2]]).shapes == []
    assert counts(report) == {"polygon without area": 1, "polygon with fewer than 3 points": 1}


def test_a_bad_part_beside_a_good_one_is_lost_alone() -> None:
    report = ConversionReport()
    assert shapes(report, segmentation=[[1, 2], RING], bbox=BOX).shapes == [("poly", RING)]
    assert counts(report) == {"polygon with fewer than 3 points": 1}


@pytest.mark.parametrize(
    ("bbox", "said"),
    [
        (BOX, {}),
        ([19, 29, 42, 12], {}),
        (None, {}),
        ([0, 0, 0, 0], {}),
        ([20, 30, 60, 40], {CONTRADICTS: 1}),  # corners in place of sides
        ([2, 3, 4, 1], {CONTRADICTS: 1}),  # another scale
        ([20, 30, "40", 10], {"broken box beside an outline: the outline is used": 1}),
        ([40, 35, 40, 10, 0.5], {"broken box beside an outline: the outline is used": 1}),
    ],
)
def test_a_box_that_contradicts_its_outline_is_told(bbox: Any, said: dict[str, int]) -> None:
    report = ConversionReport()
    assert shapes(report, segmentation=[RING], bbox=bbox).shapes == [("poly", RING)]
    assert counts(report) == said


def test_the_forms_of_detectron2_are_used() -> None:
    assert shapes(bbox=[20, 30, 60, 40], bbox_mode=0).shapes == [CORNERS]
    assert shapes(bbox=BOX, bbox_mode=1).shapes == [CORNERS]
    assert shapes(bbox=[40, 35, 40, 10, -30], bbox_mode=4).shapes == [("poly", pytest.approx(QUAD, abs=1e-6))]
    with pytest.raises(RecordError, match=r"bbox_mode must be 0 .*, not 2 for 4 numbers"):
        shapes(bbox=BOX, bbox_mode=2)


def test_an_angle_of_unknown_unit_is_told() -> None:
    report = ConversionReport()
    assert shapes(report, bbox=BOX, angle=0.5).shapes == [CORNERS]
    assert counts(report) == {
        "angle beside a box, whose unit and direction COCO does not say: the box is not turned": 1
    }


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({}, "segmentation or bbox must be given"),
        ({"bbox": [40, 35, 40, 10, 0.5]}, r"must be \[x, y, width, height\], not 5 numbers.*\"bbox_mode\": 4"),
        ({"bbox": [1, 2, 3]}, r"bbox must be \[x, y, width, height\], not 3 numbers"),
        ({"bbox": [1, 2, 3, "4"]}, 'not "4". Write the number without quotes'),
        ({"segmentation": [1, 2, 3, 4]}, "segmentation must be a list of polygons"),
        ({"segmentation": "none"}, "segmentation must be a list of polygons"),
        ({"segmentation": [[1, 2, 3]]}, r"segmentation\[0\] must have an even count of numbers, not 3"),
        ({"bbox": [40, 35, -40, 10, 0.5], "bbox_mode": 4}, "width and height above 0, not -40 and 10"),
    ],
)
def test_broken_annotations(annotation: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=said):
        shapes(**annotation)
