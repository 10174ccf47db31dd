"""Masks and polygons of other tools to shapes of records.

Owns the step from pixels to pixel-edge coordinates. A polygon follows the edges of its pixels. Through their centres it
would lose half a pixel on every side. Owns the checks of run-length encoded masks too: runs are unpacked here and must
fill the mask exactly before anything is allocated. pycocotools 2.0.11 returns uninitialised memory where they do not,
and reads behind the end of a text that is cut.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import number_of, show_short
from dcap.core.errors import GeometryError, RecordError
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import KEYS, GeometryKind, ShapeArray, box_fault, rings_without_area

Parts = Literal["largest", "all", "box"]
"""Rule for an object with several polygons: its largest polygon, one object for each, or the box around all."""

Shape = tuple[str, list[Any]]
"""Key of a record and flat numbers."""

_BOX_SLACK = 2.0
"""Pixels by which a box may differ from its outline on a side: some tools count pixels, others edges."""
_BOX_SLACK_SHARE = 0.05
"""The same, as a share of the longest side."""
_MOST_DEGREES = 1e6
_SAME_POINT = 1e-6
"""Pixels."""
_PACKED = re.compile(r"(?:[P-o]{0,6}[0-O])*")
"""Groups of 5 bits from the lowest on, in characters from 0; all but the last of a number have the sixth bit set."""


class MaskPolygons(NamedTuple):
    """Result of `mask_polygons`.

    Attributes:
        rings: One float64 (n, 2) per connected part, pixel-edge frame; diagonal neighbours are connected.
        hole_pixels: Pixels inside rings that the mask leaves out.
    """

    rings: list[npt.NDArray[np.float64]]
    hole_pixels: int


def mask_polygons(mask: npt.NDArray[np.uint8]) -> MaskPolygons:
    """Trace the outer borders of a mask.

    Filled by the even-odd rule a ring covers exactly the pixels of its part, and the part's holes::

        . # #        (1,0) ------- (3,0)
        # # .          |       (3,1) |      where parts meet at a corner only, the ring goes through it twice
                     ...

    Args:
        mask: uint8 (H, W), not 0 inside.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return MaskPolygons([], 0)
    top, left = int(rows[0]), int(columns[0])
    inside = (mask[top : rows[-1] + 1, left : columns[-1] + 1] != 0).astype(np.uint8)
    # OpenCV's contours go through the centres of border pixels. In a picture twice as large, they show the side of the
    # pixel that a point is on: an even coordinate is the low edge, an odd one the high edge.
    doubled = np.repeat(np.repeat(inside, 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = hierarchy[0][:, 3]
    rings = [_ring((contour[:, 0] + 1) // 2) for contour, p in zip(contours, parents, strict=True) if p < 0]
    filled = 0
    if (parents >= 0).any():
        outside = np.zeros((inside.shape[0] + 2, inside.shape[1] + 2), np.uint8)
        outside[1:-1, 1:-1] = inside
        cv2.floodFill(outside, None, (0, 0), 2, flags=4)
        filled = int((outside == 0).sum())
    return MaskPolygons([ring + np.array([left, top], np.float64) for ring in rings], filled)


def _ring(points: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Drop repeats, then points in the middle of straight edges."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    ring: npt.NDArray[np.float64] = points[turns].astype(np.float64)
    return ring


def decode_rle(segmentation: Mapping[str, Any], size: tuple[int, int], max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode a mask.

    Args:
        segmentation: ``{"size": [height, width], "counts": runs}``: a list of numbers, or COCO's compressed text.
        size: Width and height of the image, which the mask must have.
        max_pixels: Bound on height x width.

    Returns:
        uint8 (H, W) of 0 and 1.

    Raises:
        RecordError: The mask has another size than the image, is too large, or its runs do not fill it.

    Source: the format of ``maskApi.c`` of the COCO API, whose decoder is the oracle of the tests.
    """
    width, height = size
    stated = segmentation.get("size")
    if stated != [height, width]:
        shown = stated if isinstance(stated, list) and len(stated) <= 4 else show_short(stated)
        raise RecordError(f"segmentation.size must be [height, width] of the image, {[height, width]}, not {shown}")
    if height * width > max_pixels:
        raise RecordError(f"segmentation.size must be at most {max_pixels} pixels, not {width} x {height}")
    counts = _runs(segmentation.get("counts"))
    total = sum(counts)
    if total != height * width:
        raise RecordError(f"segmentation.counts must sum up to {height * width} pixels, not {total}")
    values = np.arange(len(counts), dtype=np.int64).astype(np.uint8) & 1
    return np.repeat(values, counts).reshape(width, height).T


def _runs(counts: Any) -> list[int]:
    runs = _unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list):
        raise RecordError(f"segmentation.counts must be a list of numbers or a text, not {show_short(counts)}")
    for k, value in enumerate(runs):
        if type(value) is not int or value < 0:
            raise RecordError(f"segmentation.counts[{k}] must be a number of pixels >= 0, not {show_short(value)}")
    return runs


def _unpack(text: str) -> list[int]:
    if _PACKED.fullmatch(text) is None:
        raise RecordError(f"segmentation.counts must be COCO's compressed runs, not {show_short(text)}")
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        bits = code - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:  # the sign
            value -= 1 << shift
        # From the fourth run on, the stored number is the difference to the run before the last.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def shapes_of(
    outline: Sequence[Sequence[Any]] | None,
    box: Shape | None,
    how: Parts,
    report: ConversionReport,
    place: SourcePlace,
) -> list[Shape]:
    """Return the shapes of an object that has an outline, a box, or both.

    The outline counts where one of its polygons encloses an area. Else the box does, and the report says so. It says
    too where the two are in different places.

    Args:
        outline: Flat coordinates of finite numbers of each polygon. `None`: it has none.
        box: Its box, or the polygon of a turned one.
        how: The rule for several polygons.
        report: Gets what is lost.
        place: The object.
    """
    parts, faults = sound_parts([("poly", list(part)) for part in outline or ()])
    if not parts and box is not None:
        if outline is not None and not _fault_of(box):
            reason = "outline that encloses nothing: the box of the object is used"
            report.add("approximated", reason, place, faults[0] if faults else "no polygon")
        return [box]
    report_faults(faults, report, place)
    if box is not None:
        check_box(box, [value for _, values in parts for value in values], report, place)
    return one_shape(parts, how, report, place)


def sound_parts(parts: Sequence[Shape]) -> tuple[list[Shape], list[str]]:
    """Return the parts of an object that enclose an area, and what is wrong with each of the others."""
    faults = [_fault_of(part) for part in parts]
    good = [part for part, fault in zip(parts, faults, strict=True) if not fault]
    return good, [fault for fault in faults if fault]


def report_faults(faults: Sequence[str], report: ConversionReport, place: SourcePlace) -> None:
    """Report the parts that `sound_parts` found wrong."""
    for fault in faults:
        report.add("dropped", fault.split(":")[0], place, fault.partition(": ")[2])


def _fault_of(shape: Shape) -> str:
    """Return why a box or polygon encloses nothing; nothing for one that does."""
    key, values = shape
    if key == "bbox_2d":
        return "box without area: " + fault if (fault := box_fault(np.reshape(values, (2, 2)))) else ""
    if len(values) < 6:
        return f"polygon with fewer than 3 points: {len(values)} numbers"
    xy = np.array(values, np.float64).reshape(-1, 2)
    flat = rings_without_area(xy, np.array([0, len(xy)]), np.array([GeometryKind.POLYGON], np.uint8))
    return "polygon without area: its points are on one line, or its edges cancel out" if flat[0] else ""


def check_box(box: Shape, outline: Sequence[Any], report: ConversionReport, place: SourcePlace) -> None:
    """Report a box that is elsewhere than the outline of its object.

    Args:
        box: The box, or the polygon of a turned one.
        outline: Flat coordinates.
        report: Gets what is lost.
        place: The object.
    """
    bounds = [
        (min(xs), min(ys), max(xs), max(ys)) for xs, ys in ((v[::2], v[1::2]) for v in (list(box[1]), list(outline)))
    ]
    sides = [high - low for x1, y1, x2, y2 in bounds for low, high in ((x1, x2), (y1, y2))]
    slack = max(_BOX_SLACK, _BOX_SLACK_SHARE * max(sides))
    if any(abs(a - b) > slack for a, b in zip(*bounds, strict=True)):
        first, second = ("[" + ", ".join(f"{value:.6g}" for value in each) + "]" for each in bounds)
        reason = "box that contradicts the outline of its object: the outline is used"
        report.add("dropped", reason, place, f"box {first}, outline {second}, as x1, y1, x2, y2")


def turned_box(corners: Sequence[float], degrees: float) -> Shape:
    """Return a box that is turned about its centre, clockwise on the image: a polygon, after quarter turns a box.

    Args:
        corners: x1, y1, x2, y2.
        degrees: The angle; any finite number.
    """
    x1, y1, x2, y2 = corners
    x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
    if degrees % 90 == 0:
        if degrees % 180 == 0:
            return "bbox_2d", list(corners)
        return "bbox_2d", np.round([x - h, y - w, x + h, y + w], 6).tolist()
    angle = math.radians(degrees % 360)
    cosine, sine = math.cos(angle), math.sin(angle)
    sides = np.array([[-w, -h], [w, -h], [w, h], [-w, h]])
    xy = sides @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)
    return "poly", np.round(xy, 6).ravel().tolist()


def degrees_of(value: Any) -> float:
    """Return an angle, a number or a text of one, in 0..360 degrees; 0 for an attribute that means something else."""
    if isinstance(value, str):
        try:
            value = number_of(value.strip())
        except ValueError:
            return 0.0
    # A tiny angle below 0 is 360 after the first step.
    return float(value) % 360 % 360 if type(value) in (int, float) and abs(value) <= _MOST_DEGREES else 0.0


def corners_of(values: Sequence[float]) -> Shape:
    """Return the shape of four corners in order: a box where they are those of one, else a polygon."""
    if len(values) != 8:
        return "poly", list(values)
    xs, ys = values[::2], values[1::2]
    x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    corners = set()
    for x, y in zip(xs, ys, strict=True):
        at = (x - x1 > x2 - x, y - y1 > y2 - y)
        if max(abs(x - (x2 if at[0] else x1)), abs(y - (y2 if at[1] else y1))) <= _SAME_POINT:
            corners.add(at)
    return ("bbox_2d", [x1, y1, x2, y2]) if len(corners) == 4 else ("poly", list(values))


def one_shape(parts: Sequence[Shape], how: Parts, report: ConversionReport, place: SourcePlace) -> list[Shape]:
    """Return the shapes of an object of some parts.

    Args:
        parts: Polygons and boxes that each enclose an area.
        how: The rule for several of them.
        report: Gets what is lost.
        place: The object.

    Raises:
        RecordError: A polygon crosses itself millions of times, so that its area is not known.
    """
    if len(parts) <= 1:
        return list(parts)
    if how == "all":
        report.add("changed", "object of several polygons: one object for each", place, f"{len(parts)} polygons")
        return list(parts)
    points = [np.array(values, np.float64).reshape(-1, 2) for _, values in parts]
    if how == "box":
        report.add("approximated", "object of several polygons: the box around them", place, f"{len(parts)} polygons")
        xy = np.concatenate(points)
        return [("bbox_2d", [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()])]
    try:
        areas = area_or_length(ShapeArray.from_points(points, [KEYS[key] for key, _ in parts]))
    except GeometryError as error:
        raise RecordError(str(error)) from None
    best = int(np.argmax(areas))
    share = 1 - areas[best] / areas.sum() if areas.sum() else 0.0
    report.add(
        "dropped", "polygons of an object but the largest", place, f"{len(parts) - 1} with {share:.1%} of its area"
    )
    return [parts[best]]
