"""Warping: one resample through an affine map, antialiased where it shrinks."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

Image = npt.NDArray[np.uint8]
Resampling = Literal["linear", "cubic"]

_ONE_SAMPLE = 4 / 3
"""Most source pixels per output pixel along an axis that one sample does justice to; above, two are averaged."""


def warp(image: Image, affine: Affine, canvas: Canvas, interpolation: Resampling) -> Image:
    """Resample an image; what lies outside it shows its nearest border pixel.

    Args:
        image: uint8 (H, W, 3).
        affine: Frame of `image` to frame of `canvas`.
        canvas: Extent of the result.
        interpolation: Between the pixels.
    """
    shrinks = [1.0 / max(math.hypot(*column), 1e-9) for column in ((affine.a, affine.d), (affine.b, affine.e))]
    if interpolation == "cubic":
        image, affine = _averaged(image, affine, [math.floor(k + 1e-9) for k in shrinks])
        size, matrix = (canvas.width, canvas.height), affine.opencv_matrix()
        cubic = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cubic, np.uint8)
    # The kernel's own samples average what is left, up to 2.
    image, affine = _averaged(image, affine, [math.ceil(k / 2 - 1e-9) for k in shrinks])
    out = np.empty((canvas.height, canvas.width, 3), np.uint8)
    back = affine.inverse()
    samples = [2 if math.hypot(*step) > _ONE_SAMPLE else 1 for step in ((back.a, back.d), (back.b, back.e))]
    kernels.warp(np.ascontiguousarray(image), back.coefficients, tuple(samples), out)
    return out


def _averaged(image: Image, affine: Affine, block: list[int]) -> tuple[Image, Affine]:
    """Average blocks of so many columns and rows, and return the map from there.

    What is left of a block at the right and at the bottom, less than an output pixel, shows the last whole one:
    blocks of a fraction of pixels would take OpenCV ten times as long.
    """
    height, width = image.shape[:2]
    kx, ky = (min(max(k, 1), side) for k, side in zip(block, (width, height), strict=True))
    if kx == ky == 1:
        return image, affine
    columns, rows = width // kx, height // ky
    small = cv2.resize(image[: rows * ky, : columns * kx], (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), affine @ Affine.scaling(kx, ky)
