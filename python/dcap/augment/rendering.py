"""Rendering: one resample reads the source once and writes the final canvas once.

Owns the resample, antialiased where it shrinks, and the pastes, which are read from the source at their final size.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from dcap import kernels
from dcap.augment.color import Image, apply_color
from dcap.augment.fit import MULTIPLE
from dcap.augment.patches import PatchType, to_patches
from dcap.augment.plan import Paste, Plan
from dcap.core.errors import GeometryError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.tiling import TileWindow

FILL = 128
"""Mid grey, the colour of areas without a source pixel."""
Resampling = Literal["linear", "cubic"]

_ONE_SAMPLE = 4 / 3
"""Most source pixels per output pixel along an axis for one sample per output pixel. Above it, two are averaged."""
_MARGIN = 4
"""Output pixels around a paste that interpolation reads."""


def render(image: Image, plan: Plan) -> Image:
    """Apply `plan` to pixels.

    Args:
        image: uint8 (H, W, 3) RGB, of the plan's source canvas; or 2, 4 or 8 times smaller, sides rounded up, as
            `Plan.decode_shrink` allows and `dcap.records.images.decode_image` delivers.
        plan: From `Pipeline.plan`.

    Returns:
        uint8 (H', W', 3) RGB, of the plan's final canvas.

    Raises:
        GeometryError: The image has another extent than the plan's source.
    """
    shrink = _decode_shrink(image, plan)
    source = Affine.scaling(shrink)
    if plan.window is not None:
        image, source = _cut_out(image, plan.window, shrink)
    if plan.interpolation == "model":
        return resize_for_model(image, plan.canvas)
    pixels = _warped(image, plan.affine @ source, plan.canvas, plan.interpolation)
    pixels = _with_pastes(pixels, image, plan, source, plan.interpolation)
    pixels = apply_color(pixels, plan.color, in_place=True)
    # A colour step may return any view.
    pixels = np.require(pixels, np.uint8, ["C_CONTIGUOUS", "WRITEABLE"])
    kernels.fill_outside(np.require(plan.region, np.float64, ["C", "A"]), FILL, pixels)
    return pixels


def render_patches(
    image: Image, plan: Plan, dtype: PatchType = "float32", out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Apply `plan` to pixels and return the patches for the vision tower.

    Args:
        image: As for `render`.
        plan: From `Pipeline.plan`; the sides of its final canvas are multiples of 32.
        dtype: ``float32``, ``bfloat16`` (as uint16 bits) or ``uint8``; see `dcap.augment.patches.to_patches`.
        out: Array to write to; see `dcap.augment.patches.to_patches`.

    Returns:
        One row per patch: (N, 1536), or (N, 768) for ``uint8``.

    Raises:
        GeometryError: The image has another extent than the plan's source, or a side of the final canvas is not a
            multiple of 32, or `out` has another length.
        TypeError: `out` has another type.
        ConfigError: The dtype is unknown.
    """
    pixels = render(image, plan)
    if any(side % MULTIPLE for side in pixels.shape[:2]):
        raise GeometryError(
            f"final canvas of the plan must have sides that are multiples of {MULTIPLE}, not {plan.canvas.width} x "
            f"{plan.canvas.height}. Plan with fit=, or end the ops with expand_to_fit_affine or pad_to_multiple"
        )
    return to_patches(pixels, dtype, out)


def resize_for_model(image: Image, canvas: Canvas) -> Image:
    """Resize as Hugging Face's Qwen image processor does: PIL bicubic, antialiased, bit-equal."""
    if image.shape[:2] == (canvas.height, canvas.width):
        return image
    resized = PillowImage.fromarray(image).resize((canvas.width, canvas.height), PillowImage.Resampling.BICUBIC)
    return np.asarray(resized)


def _decode_shrink(image: Image, plan: Plan) -> int:
    height, width = plan.source.height, plan.source.width
    for k in (1, 2, 4, 8):
        if k <= plan.decode_shrink and image.shape == (-(-height // k), -(-width // k), 3):
            return k
    raise GeometryError(f"image must be {height}x{width}x3, not {image.shape}")


def _cut_out(image: Image, window: TileWindow, shrink: int) -> tuple[Image, Affine]:
    """Return a window of the source, in whole pixels of `image`, and the map from what is returned to the source.

    Args:
        image: uint8 (H, W, 3), the source, as decoded.
        window: In pixels of the source.
        shrink: Factor by which `image` is smaller than the source.
    """
    x, y = window.x // shrink, window.y // shrink
    right, bottom = -(-(window.x + window.width) // shrink), -(-(window.y + window.height) // shrink)
    part = np.ascontiguousarray(image[y:bottom, x:right])
    return part, Affine.scaling(shrink) @ Affine.translation(x, y)


def _warped(image: Image, affine: Affine, canvas: Canvas, interpolation: Resampling) -> Image:
    """Resample an image. Outside it, the nearest border pixel is repeated.

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
    # The kernel's own samples average the rest, a factor of up to 2.
    image, affine = _averaged(image, affine, [math.ceil(k / 2 - 1e-9) for k in shrinks])
    out = np.empty((canvas.height, canvas.width, 3), np.uint8)
    back = affine.inverse()
    samples = [2 if math.hypot(*step) > _ONE_SAMPLE else 1 for step in ((back.a, back.d), (back.b, back.e))]
    kernels.warp(np.ascontiguousarray(image), back.coefficients, tuple(samples), out)
    return out


def _averaged(image: Image, affine: Affine, block: list[int]) -> tuple[Image, Affine]:
    """Average blocks of so many columns and rows, and return the map from the averaged image.

    A partial block at the right or bottom, less than an output pixel, repeats the last whole block. Blocks with
    fractions of pixels would take OpenCV ten times as long.
    """
    height, width = image.shape[:2]
    kx, ky = (min(max(k, 1), side) for k, side in zip(block, (width, height), strict=True))
    if kx == ky == 1:
        return image, affine
    columns, rows = width // kx, height // ky
    small = cv2.resize(image[: rows * ky, : columns * kx], (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), affine @ Affine.scaling(kx, ky)


def _with_pastes(pixels: Image, image: Image, plan: Plan, source: Affine, interpolation: Resampling) -> Image:
    """Put every paste of `plan` over `pixels`. An edge pixel is blended by its covered share.

    Args:
        pixels: uint8 (H', W', 3), of the plan's final canvas; changed in place.
        image: uint8 (H, W, 3), of the source.
        plan: The plan with the pastes.
        source: Frame of `image` to that of the plan's source.
        interpolation: Between the pixels.
    """
    for paste in plan.pastes:
        _paste(pixels, image, Paste(paste.affine @ source, paste.region), interpolation)
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
    patch = _warped(image[top:bottom, left:right], affine, canvas, interpolation)
    share = np.full_like(patch, 255)
    kernels.fill_outside(paste.region - [x1, y1], 0, share)
    place, whole = pixels[y1:y2, x1:x2], share == 255
    np.copyto(place, patch, where=whole)
    edge = (share > 0) & ~whole
    under = place[edge].astype(np.float64)
    place[edge] = np.rint(under + share[edge] / 255.0 * (patch[edge] - under))


def _bounds(points: npt.NDArray[np.float64], margin: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Whole pixels around points, within an image. `None`: there are none."""
    low = np.clip(np.floor(points.min(axis=0)) - margin, 0, [width, height]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + margin, 0, [width, height]).astype(int)
    return (*low.tolist(), *high.tolist()) if (high > low).all() else None
