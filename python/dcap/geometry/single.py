"""One plain dict in, its visible parts out: for scripts and tests; images go through `transform_and_clip`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clip import transform_and_clip
from dcap.geometry.objects import KEYS
from dcap.geometry.shapes import ShapeArray


def transform_geometry(
    obj: Mapping[str, Any], matrix: Affine | npt.ArrayLike, width: int, height: int
) -> list[dict[str, Any]]:
    """Map one object and clip it to a canvas.

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
