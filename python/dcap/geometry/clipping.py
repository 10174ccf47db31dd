"""Affine maps of shapes, and exact cutting: clipping to convex regions, and taking shapes away from others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import GeometryError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import KEYS, ShapeArray

Rect = tuple[float, float, float, float]
"""x1, y1, x2, y2 with x1 < x2 and y1 < y2, pixel-edge coordinates."""
SplitPolicy = Literal["all", "largest"]
"""Which parts of a split object remain: all, or the largest (for a line: the longest)."""

BoxPolicy = Literal["polygon", "aabb"]
"""What a box becomes under a map that is not axis-aligned: its 4-point polygon, or that polygon's bounds."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Clipped(NamedTuple):
    """The visible parts of shapes, with their sources and visible fractions.

    Attributes:
        shapes: M visible parts, in the order of their source objects.
        source_index: int64 (M,); the input object of each part.
        visible_fraction: float64 (M,) in (0, 1]; the share of the *source object* (its area; for a line its length)
            that all its parts show together. Exactly 1 if it was not cut.
    """

    shapes: ShapeArray
    source_index: npt.NDArray[np.int64]
    visible_fraction: npt.NDArray[np.float64]


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
        shapes.xy, shapes.offsets, shapes.kinds, affine.coefficients, _keeps_boxes(box_policy), xy, offsets, kinds
    )
    return ShapeArray.trusted(xy[:num_points], offsets, kinds)


def clip(
    shapes: ShapeArray,
    region: Canvas | Rect,
    split_policy: SplitPolicy = "all",
) -> Clipped:
    """Cut every shape to a canvas or rectangle, exactly.

    A polygon becomes the true pieces of its intersection, without bridges between them. A line that leaves and
    re-enters is split. Boxes stay boxes. A shape fully inside (the border included) is returned bit for bit. A shape
    that is outside, or only touches the border, is absent. A self-crossing polygon follows the even-odd rule; where its
    pieces would overlap they stay one ring. A shape without area (of a line: length) is kept, with fraction 1, when it
    is fully inside, and is absent otherwise.

    Args:
        shapes: N shapes.
        region: A `Canvas`, or x1, y1, x2, y2 with x1 < x2 and y1 < y2.
        split_policy: ``"all"`` parts of a split object, or its ``"largest"``.

    Raises:
        GeometryError: The region or the policy is not legal, or a polygon crosses itself millions of times.
    """
    return _run(kernels.clip_rect, shapes, _IDENTITY, _rect(region), split_policy, "polygon")


def transform_and_clip(
    shapes: ShapeArray,
    affine: Affine,
    region: Canvas | Rect,
    split_policy: SplitPolicy = "all",
    box_policy: BoxPolicy = "polygon",
) -> Clipped:
    """Return ``clip(transform(shapes, affine, box_policy), region, split_policy)`` in one kernel call.

    Raises:
        GeometryError: As `transform` and `clip`.
    """
    return _run(kernels.clip_rect, shapes, affine.coefficients, _rect(region), split_policy, box_policy)


def clip_convex(
    shapes: ShapeArray,
    region_xy: npt.ArrayLike,
    split_policy: SplitPolicy = "all",
    box_policy: BoxPolicy = "polygon",
    affine: Affine | None = None,
) -> Clipped:
    """Cut every shape to a convex polygon; the rules are those of `clip`.

    A box that a tilted side cuts becomes the polygon of its visible part, or the bounds of that part with
    ``box_policy="aabb"``; a box that only axis-aligned sides cut stays a box.

    Args:
        shapes: N shapes.
        region_xy: Vertices, float64 (m, 2), 3 <= m <= 4096, in either direction.
        split_policy: ``"all"`` parts of a split object, or its ``"largest"``.
        box_policy: ``"polygon"`` or ``"aabb"``.
        affine: Map the shapes with it first, in the same pass.

    Raises:
        GeometryError: The region is not convex or has no area, a policy is not legal, or a polygon crosses itself
            millions of times.
    """
    region = np.require(region_xy, np.float64, ["C", "A"])
    if region.ndim != 2 or region.shape[1] != 2:
        raise GeometryError(f"region_xy must be an (m, 2) array, not one of shape {region.shape}")
    matrix = _IDENTITY if affine is None else affine.coefficients
    return _run(kernels.clip_convex, shapes, matrix, region, split_policy, box_policy)


def difference(
    shapes: ShapeArray,
    covers: ShapeArray,
    split_policy: SplitPolicy = "all",
    box_policy: BoxPolicy = "polygon",
) -> Clipped:
    """Take all covers, together, away from every shape: what shows of the shapes when the covers are pasted over them.

    What no cover hides is returned unchanged to the bit, with fraction 1; what they hide entirely is absent. Rings are
    filled by the even-odd rule, those of the covers too. A part with a hole is one ring: a seam runs to and fro between
    the hole and the nearest place of the outline. Parts that only touch each other in a point may be one ring. Of a
    line its parts outside the covers remain; a stretch along the border of a cover may count as either.

    A box stays a box where a rectangle of it shows. Else it becomes the polygons that show, or the bounds of all
    that with ``box_policy="aabb"``. A shape without area (of a line: length) is absent when its first point is covered.

    Args:
        shapes: N shapes.
        covers: Boxes and polygons, convex or not; lines hide nothing.
        split_policy: ``"all"`` parts of a split object, or its ``"largest"``.
        box_policy: ``"polygon"`` or ``"aabb"``.

    Returns:
        The parts that remain. `visible_fraction` is the share of the source object that no cover hides.

    Raises:
        GeometryError: A policy is not legal, or polygons cross themselves or each other millions of times.

    Source: K. Weiler, P. Atherton, "Hidden surface removal using polygon area sorting", 1977; here with exact order of
        crossings.
    """
    xy, offsets, kinds, source, fraction = kernels.difference(
        shapes.xy,
        shapes.offsets,
        shapes.kinds,
        covers.xy,
        covers.offsets,
        covers.kinds,
        _keeps_boxes(box_policy),
        _keeps_largest(split_policy),
    )
    return Clipped(ShapeArray.frozen(xy, offsets, kinds), source, fraction)


def visible_fraction(shapes: ShapeArray, region: Canvas | Rect) -> npt.NDArray[np.float64]:
    """Return the visible share of every shape, float64 (N,); 0 if it is not visible at all.

    It is the share of the area (for a line: of the length). A shape without area or length has 1 fully inside, else 0.

    Raises:
        GeometryError: As `clip`.
    """
    clipped = clip(shapes, region, "largest")
    share = np.zeros(len(shapes))
    share[clipped.source_index] = clipped.visible_fraction
    return share


def transform_geometry(
    obj: Mapping[str, Any], matrix: Affine | npt.ArrayLike, width: int, height: int
) -> list[dict[str, Any]]:
    """Map one plain dict and clip it to a canvas; for scripts and tests, images go through `transform_and_clip`.

    Args:
        obj: Exactly one of ``bbox_2d``, ``poly``, ``line``; its other keys are copied to every part.
        matrix: `Affine`, (2, 3) or (3, 3), source to destination, pixel-edge coordinates.
        width: Columns of the destination canvas.
        height: Rows of the destination canvas.

    Returns:
        One dict per visible part, empty when nothing is visible. A box under a map that is not axis-aligned comes
        back as ``poly``.

    Raises:
        GeometryError: The object, the matrix or the canvas is not legal.
    """
    affine = matrix if isinstance(matrix, Affine) else Affine.from_matrix(matrix)
    clipped = transform_and_clip(ShapeArray.from_objects([obj]), affine, Canvas(height=height, width=width))
    others = {key: value for key, value in obj.items() if key not in KEYS}
    return [{**part, **others} for part in clipped.shapes.to_objects()]


def _rect(region: Canvas | Rect) -> Rect:
    if isinstance(region, Canvas):
        return region.rect
    if len(region) != 4:
        raise GeometryError(f"rect must be x1, y1, x2, y2, not {region!r}")
    x1, y1, x2, y2 = region
    return (float(x1), float(y1), float(x2), float(y2))


def _keeps_largest(split_policy: str) -> bool:
    if split_policy not in ("all", "largest"):
        raise GeometryError(f"split_policy must be all or largest, not {split_policy!r}")
    return split_policy == "largest"


def _run(
    kernel: Callable[..., Any],
    shapes: ShapeArray,
    matrix: tuple[float, ...],
    region: Any,
    split_policy: str,
    box_policy: str,
) -> Clipped:
    xy, offsets, kinds, source, fraction = kernel(
        shapes.xy, shapes.offsets, shapes.kinds, matrix, _keeps_boxes(box_policy), _keeps_largest(split_policy), region
    )
    # As Clipped(...), without the Python function in between: this wrapper costs as much as clipping a small image.
    return tuple.__new__(Clipped, (ShapeArray.frozen(xy, offsets, kinds), source, fraction))


def _keeps_boxes(box_policy: str) -> bool:
    """Return whether the policy is aabb."""
    if box_policy not in ("polygon", "aabb"):
        raise GeometryError(f"box_policy must be polygon or aabb, not {box_policy!r}")
    return box_policy == "aabb"
