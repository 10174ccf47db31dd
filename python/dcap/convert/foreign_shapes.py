"""Masks and polygons of other tools to shapes of records.

Owns the step from pixels to pixel-edge coordinates. A polygon follows the edges of its pixels. Through their centres it
would lose half a pixel on every side. Owns the checks of run-length encoded masks too: runs are unpacked here and must
fill the mask exactly before anything is allocated. pycocotools 2.0.11 returns uninitialised memory where they do not,
and reads behind the end of a text that is cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import show_short
from dcap.core.errors import RecordError
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray

Parts = Literal["largest", "all", "box"]
"""Rule for an object with several polygons: its largest polygon, one object for each, or the box around all."""

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


def one_shape(
    parts: Sequence[Sequence[Any]], how: Parts, report: ConversionReport, place: SourcePlace
) -> list[tuple[str, list[Any]]]:
    """Return the shapes, as (key, flat numbers), of an object with some polygons.

    Args:
        parts: Flat coordinates of finite numbers of each polygon; those with fewer than 3 points are dropped.
        how: The rule for several polygons.
        report: Gets what is lost.
        place: The object.
    """
    good = [list(part) for part in parts if len(part) >= 6]
    for part in parts:
        if len(part) < 6:
            report.add("dropped", "polygon with fewer than 3 points", place, f"{len(part)} numbers")
    if len(good) <= 1:
        return [("poly", part) for part in good]
    if how == "all":
        report.add("changed", "object of several polygons: one object for each", place, f"{len(good)} polygons")
        return [("poly", part) for part in good]
    points = [np.array(part, np.float64).reshape(-1, 2) for part in good]
    if how == "box":
        report.add("approximated", "object of several polygons: the box around them", place, f"{len(good)} polygons")
        xy = np.concatenate(points)
        return [("bbox_2d", [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()])]
    areas = area_or_length(ShapeArray.from_points(points, [GeometryKind.POLYGON] * len(points)))
    best = int(np.argmax(areas))
    share = 1 - areas[best] / areas.sum() if areas.sum() else 0.0
    report.add(
        "dropped", "polygons of an object but the largest", place, f"{len(good) - 1} with {share:.1%} of its area"
    )
    return [("poly", good[best])]
