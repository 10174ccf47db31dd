"""The shapes of a COCO annotation: its segmentation and its box, and the keys that change what they mean.

Owns ``segmentation``, ``bbox``, Detectron2's ``bbox_mode`` and the angle that CVAT writes into the attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import as_object, checked_numbers, show_short
from dcap.convert.foreign_shapes import (
    Parts,
    Shape,
    corners_of,
    decode_rle,
    degrees_of,
    mask_polygons,
    shapes_of,
    turned_box,
)
from dcap.core.errors import RecordError
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.shapes import box_fault
from dcap.records.objects import COORDINATE_LIMIT

GEOMETRY_KEYS = frozenset(("segmentation", "bbox", "bbox_mode", "area"))
"""Keys of an annotation that are read here."""
OTHER_GEOMETRY = frozenset(("keypoints", "num_keypoints", "segments_info"))
"""Keys that records have no shape for."""
_ANGLES = frozenset(("rotation", "angle", "theta"))
_XYXY, _XYWH, _XYWHA = 0, 1, 4
"""Detectron2's numbers of the forms of a box."""


class AnnotationShapes(NamedTuple):
    """Result of `annotation_shapes`."""

    shapes: list[Shape]
    turned: bool
    """The angle in the attributes is in the shape, and means nothing any more."""


def annotation_shapes(
    annotation: Mapping[str, Any], size: tuple[int, int], parts: Parts, report: ConversionReport, place: SourcePlace
) -> AnnotationShapes:
    """Return the shapes of an annotation: of its segmentation, or else of its box.

    Args:
        annotation: With its keys.
        size: Width and height of the image.
        parts: Rule for several polygons.
        report: Gets what is lost.
        place: The annotation.

    Raises:
        RecordError: It has neither, or one is broken.
    """
    outline = _outline(annotation, size, place, report)
    box = _box(annotation, outline is not None, report, place)
    if outline is None and box is None:
        raise RecordError("segmentation or bbox must be given")
    if outline and as_object(annotation.get("dcap", {}), "dcap").get("shape") == "bbox_2d" and len(outline[0]) == 8:
        return AnnotationShapes([("bbox_2d", [*outline[0][:2], *outline[0][4:6]])], False)
    degrees = _degrees(annotation)
    turned = None
    if box is not None and box[0] == "bbox_2d" and degrees and not box_fault(np.reshape(box[1], (2, 2))):
        turned = turned_box(box[1], degrees)
        if outline and len(outline) == 1 and corners_of(outline[0]) == box:
            outline = None  # the box again, before it was turned
    shapes = shapes_of(outline, turned or box, parts, report, place)
    if shapes and shapes[0] is box:
        for key in sorted(_ANGLES & annotation.keys()):
            reason = f"{key} beside a box, whose unit and direction COCO does not say: the box is not turned"
            report.add("approximated", reason, place, show_short(annotation[key]))
    return AnnotationShapes(shapes, turned is not None and bool(shapes) and shapes[0] is turned)


def _outline(
    annotation: Mapping[str, Any], size: tuple[int, int], place: SourcePlace, report: ConversionReport
) -> list[list[Any]] | None:
    """Return the polygons of the segmentation. `None`: there is none."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        found = mask_polygons(decode_rle(segmentation, size, MAX_PIXELS))
        if not found.rings and not annotation.get("bbox"):
            report.add("dropped", "mask without pixels", place)
        if found.hole_pixels:
            report.add("changed", "mask with holes: they are filled", place, f"{found.hole_pixels} pixels")
        return [ring.ravel().tolist() for ring in found.rings]
    if segmentation is None or segmentation == []:
        return None
    if not isinstance(segmentation, list) or not all(isinstance(part, list) for part in segmentation):
        form = "must be a list of polygons [[x1, y1, x2, y2, ...]] or an RLE object"
        raise RecordError(f"segmentation {form}, not {show_short(segmentation)}")
    return [_numbers(part, f"segmentation[{k}]") for k, part in enumerate(segmentation)]


def _box(
    annotation: Mapping[str, Any], has_outline: bool, report: ConversionReport, place: SourcePlace
) -> Shape | None:
    """Return the box of an annotation. `None`: it has none, or one that is broken beside an outline."""
    bbox, mode = annotation.get("bbox"), annotation.get("bbox_mode", _XYWH)
    if bbox is None or bbox == [] or (has_outline and bbox == [0, 0, 0, 0]):
        return None
    try:
        return _read_box(bbox, mode)
    except RecordError as error:
        if not has_outline:
            raise
        report.add("dropped", "broken box beside an outline: the outline is used", place, str(error))
        return None


def _read_box(bbox: Any, mode: Any) -> Shape:
    values = checked_numbers(bbox, "bbox", COORDINATE_LIMIT)
    if mode == _XYWHA and len(values) == 5:
        x, y, width, height, angle = values.tolist()
        if not (width > 0 and height > 0):
            raise RecordError(f"bbox must have a width and height above 0, not {width:g} and {height:g}")
        # Detectron2 turns against the clock.
        return turned_box([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -angle)
    if mode not in (_XYXY, _XYWH):
        forms = "0 for [x1, y1, x2, y2], 1 for [x, y, width, height] or 4 for 5 numbers with an angle"
        raise RecordError(f"bbox_mode must be {forms}, not {show_short(mode)} for {len(values)} numbers")
    if len(values) == 5:
        raise RecordError(
            "bbox must be [x, y, width, height], not 5 numbers. Where they are Detectron2's [centre x, centre y, "
            'width, height, degrees against the clock], add "bbox_mode": 4; else give the corners as segmentation.'
        )
    return "bbox_2d", list(bbox) if mode == _XYXY and len(values) == 4 else box_from_xywh(bbox)


def _degrees(annotation: Mapping[str, Any]) -> float:
    """Return the angle by which CVAT turned the box, clockwise in 0..360; 0 without one."""
    given = annotation.get("attributes")
    return degrees_of(given.get("rotation")) if isinstance(given, dict) else 0.0


def box_from_xywh(bbox: Any) -> list[float]:
    """Return ``[x1, y1, x2, y2]``, to a millionth of a pixel, of COCO's ``[x, y, width, height]``.

    Raises:
        RecordError: It is no list of four finite numbers.
    """
    checked_numbers(bbox, "bbox", COORDINATE_LIMIT)
    if len(bbox) != 4:
        raise RecordError(f"bbox must be [x, y, width, height], not {len(bbox)} numbers")
    x, y, width, height = bbox
    return [x, y, round(x + width, 6), round(y + height, 6)]  # 0.1 + 0.2 is 0.3


def _numbers(values: Any, name: str) -> list[Any]:
    checked_numbers(values, name, COORDINATE_LIMIT)
    if len(values) % 2:
        raise RecordError(f"{name} must have an even count of numbers, not {len(values)}")
    return list(values)
