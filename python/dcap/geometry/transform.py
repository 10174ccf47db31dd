"""Affine maps of whole shape arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dcap import kernels
from dcap.core.errors import GeometryError
from dcap.geometry.affine import Affine
from dcap.geometry.shapes import ShapeArray

BoxPolicy = Literal["polygon", "aabb"]
"""What a box becomes under a map that is not axis-aligned: its 4-point polygon, or that polygon's bounds."""


def keeps_boxes(box_policy: str) -> bool:
    """Return whether `box_policy` is ``"aabb"``.

    Raises:
        GeometryError: It is neither ``"polygon"`` nor ``"aabb"``.
    """
    if box_policy not in ("polygon", "aabb"):
        raise GeometryError(f"box_policy must be polygon or aabb, not {box_policy!r}")
    return box_policy == "aabb"


def transform(shapes: ShapeArray, affine: Affine, box_policy: BoxPolicy = "polygon") -> ShapeArray:
    """Map all shapes from the affine's source frame to its destination frame.

    Boxes stay boxes (x1 <= x2, y1 <= y2, flips included) under an axis-aligned map. Under any other map a box becomes
    the polygon of its four corners, or that polygon's bounds with ``box_policy="aabb"``.

    Args:
        shapes: N shapes.
        affine: Source to destination, pixel-edge coordinates.
        box_policy: ``"polygon"`` or ``"aabb"``.

    Returns:
        N shapes in the same order; nothing is clipped.

    Raises:
        GeometryError: `box_policy` is unknown, or a mapped coordinate is not finite or above 1e150.
    """
    xy = np.empty((len(shapes.xy) + 2 * len(shapes), 2))
    offsets = np.empty_like(shapes.offsets)
    kinds = np.empty_like(shapes.kinds)
    num_points = kernels.transform(
        shapes.xy, shapes.offsets, shapes.kinds, affine.coefficients, keeps_boxes(box_policy), xy, offsets, kinds
    )
    return ShapeArray.trusted(xy[:num_points], offsets, kinds)
