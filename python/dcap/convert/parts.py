"""Objects that have several polygons in another format, to shapes of records, which have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dcap.convert.losses import Losses, Place
from dcap.geometry.area import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray

Parts = Literal["largest", "all", "box"]
"""What an object with several polygons becomes: its largest polygon, one object for each, or the box around all."""


def one_shape(parts: Sequence[Sequence[Any]], how: Parts, losses: Losses, place: Place) -> list[tuple[str, list[Any]]]:
    """Return the shapes, as (key, flat numbers), that stand for an object of some polygons.

    Args:
        parts: Flat coordinates of finite numbers of each polygon; those with fewer than 3 points are dropped.
        how: What several polygons become.
        losses: Gets what is lost.
        place: The object.
    """
    good = [list(part) for part in parts if len(part) >= 6]
    for part in parts:
        if len(part) < 6:
            losses.add("dropped", "polygon with fewer than 3 points", place, f"{len(part)} numbers")
    if len(good) <= 1:
        return [("poly", part) for part in good]
    if how == "all":
        losses.add("changed", "object of several polygons: one object for each", place, f"{len(good)} polygons")
        return [("poly", part) for part in good]
    points = [np.array(part, np.float64).reshape(-1, 2) for part in good]
    if how == "box":
        losses.add("approximated", "object of several polygons: the box around them", place, f"{len(good)} polygons")
        xy = np.concatenate(points)
        return [("bbox_2d", [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()])]
    areas = area_or_length(ShapeArray.from_points(points, [GeometryKind.POLYGON] * len(points)))
    best = int(np.argmax(areas))
    share = 1 - areas[best] / areas.sum() if areas.sum() else 0.0
    losses.add(
        "dropped", "polygons of an object but the largest", place, f"{len(good) - 1} with {share:.1%} of its area"
    )
    return [("poly", good[best])]
