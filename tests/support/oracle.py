"""What shapely says, by roads of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely


def even_odd(ring: npt.NDArray[np.float64]) -> shapely.Geometry:
    """The region of a ring by the even-odd rule: the faces of its arrangement that a ray test calls odd."""
    line = shapely.linestrings(np.vstack([ring, ring[:1]]))
    faces = shapely.get_parts(shapely.polygonize([shapely.node(line)]))
    if len(faces) == 0:
        return shapely.Polygon()
    inside = parity(ring, shapely.get_coordinates(shapely.point_on_surface(faces)))
    return shapely.union_all(faces[inside])


def parity(ring: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether points (k, 2), none of them on an edge, are inside by the even-odd rule."""
    inside = np.zeros(len(points), bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            straddles = (y1 > points[:, 1]) != (y2 > points[:, 1])
            inside ^= straddles & (x1 + (points[:, 1] - y1) * ((x2 - x1) / (y2 - y1)) > points[:, 0])
    return inside
