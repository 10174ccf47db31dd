"""Scene: one image with its shapes and captions, or the same without pixels while planning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.core.errors import GeometryError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """An image with labelled shapes: the input and output of augmentation.

    Args:
        canvas: Extent of the image.
        shapes: N shapes in the pixel-edge frame of `canvas`.
        captions: N texts, one per shape.
        image: uint8 (H, W, 3) RGB of that extent. `None`: the scene is only planned.
        attributes: N values of JSON, one per shape; or none.
        summary: Text about the whole image. A scene that has one keeps all its objects, see
            ``augmentation.words.summary_crop``.

    Raises:
        GeometryError: Captions or attributes and shapes differ in number, or the image differs from `canvas`.
    """

    canvas: Canvas
    shapes: ShapeArray
    captions: tuple[str, ...]
    image: npt.NDArray[np.uint8] | None = None
    attributes: tuple[Any, ...] = ()
    summary: str | None = None

    def __post_init__(self) -> None:
        if len(self.captions) != len(self.shapes):
            raise GeometryError(f"captions must be one per shape ({len(self.shapes)}), not {len(self.captions)}")
        if len(self.attributes) not in (0, len(self.shapes)):
            raise GeometryError(f"attributes must be one per shape ({len(self.shapes)}), not {len(self.attributes)}")
        if self.image is None:
            return
        want = (self.canvas.height, self.canvas.width, 3)
        if self.image.dtype != np.uint8 or self.image.shape != want:
            raise GeometryError(f"image must be uint8 of shape {want}, not {self.image.dtype} {self.image.shape}")
