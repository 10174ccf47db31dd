"""Warping: one resample through an affine map, antialiased where it shrinks."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

Image = npt.NDArray[np.uint8]
Resampling = Literal["linear", "cubic"]

_FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


def warp(image: Image, affine: Affine, canvas: Canvas, interpolation: Resampling) -> Image:
    """Resample an image; what lies outside it shows its nearest border pixel.

    Args:
        image: uint8 (H, W, 3).
        affine: Frame of `image` to frame of `canvas`.
        canvas: Extent of the result.
        interpolation: Between the pixels.
    """
    image, affine = _shrunk(image, affine)
    out = cv2.warpAffine(
        image,
        affine.opencv_matrix(),
        (canvas.width, canvas.height),
        flags=_FLAGS[interpolation],
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(out, np.uint8)


def _shrunk(image: Image, affine: Affine) -> tuple[Image, Affine]:
    """Average whole blocks first where the map shrinks by 2 or more, since a warp alone does not antialias."""
    height, width = image.shape[:2]
    kx = math.floor(1.0 / max(math.hypot(affine.a, affine.d), 1e-9) + 1e-9)
    ky = math.floor(1.0 / max(math.hypot(affine.b, affine.e), 1e-9) + 1e-9)
    small_w, small_h = max(1, width // max(kx, 1)), max(1, height // max(ky, 1))
    if (small_h, small_w) == (height, width):
        return image, affine
    small = cv2.resize(image, (small_w, small_h), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), affine @ Affine.scaling(width / small_w, height / small_h)
