"""Pasting: parts of the source that a plan shows a second time, read at their final size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.augment.plan import Paste, Plan
from dcap.augment.warp import Image, Resampling, warp
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

_MARGIN = 4
"""Output pixels around what a paste shows that interpolation looks at."""


def paste_all(pixels: Image, image: Image, plan: Plan, shrink: int, interpolation: Resampling) -> Image:
    """Put every paste of `plan` over `pixels`, edges blended by the share of the pixel that they cover.

    Args:
        pixels: uint8 (H', W', 3), of the plan's final canvas; changed in place.
        image: uint8 (H, W, 3), the source, as decoded.
        plan: What is pasted.
        shrink: How many times smaller than the plan's source `image` is.
        interpolation: Between the pixels.
    """
    for paste in plan.pastes:
        _paste(pixels, image, Paste(paste.affine @ Affine.scaling(shrink), paste.region), interpolation)
    return pixels


def _paste(pixels: Image, image: Image, paste: Paste, interpolation: Resampling) -> None:
    target = _bounds(paste.region, 0, *pixels.shape[1::-1])
    height, width = image.shape[:2]
    back = paste.affine.inverse()
    step = max(math.hypot(back.a, back.d), math.hypot(back.b, back.e), 1.0)
    source = _bounds(back.apply(paste.region), math.ceil(_MARGIN * step), width, height)
    if target is None or source is None:
        return
    (x1, y1, x2, y2), (left, top, right, bottom) = target, source
    affine = Affine.translation(-x1, -y1) @ paste.affine @ Affine.translation(left, top)
    canvas = Canvas(y2 - y1, x2 - x1)
    patch = warp(image[top:bottom, left:right], affine, canvas, interpolation)
    share = np.full_like(patch, 255)
    kernels.fill_outside(paste.region - [x1, y1], 0, share)
    place, whole = pixels[y1:y2, x1:x2], share == 255
    np.copyto(place, patch, where=whole)
    edge = (share > 0) & ~whole
    under = place[edge].astype(np.float64)
    place[edge] = np.rint(under + share[edge] / 255.0 * (patch[edge] - under))


def _bounds(points: npt.NDArray[np.float64], margin: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Whole pixels around points, within an image; None when there are none."""
    low = np.clip(np.floor(points.min(axis=0)) - margin, 0, [width, height]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + margin, 0, [width, height]).astype(int)
    return (*low.tolist(), *high.tolist()) if (high > low).all() else None
