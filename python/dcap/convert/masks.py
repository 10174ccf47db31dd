"""Masks to polygons that cover the same pixels.

Owns the step from pixels to pixel-edge coordinates: a polygon runs along the edges of its pixels, not through their
centres, which would lose half a pixel all around.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt


class MaskPolygons(NamedTuple):
    """What `mask_polygons` found.

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
    # OpenCV's contours go through the centres of border pixels. Of a picture twice as large they tell on which side
    # of its pixel a point lies: an even coordinate is the low edge, an odd one the high edge.
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
