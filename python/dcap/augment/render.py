"""Rendering: the source is read once, the final canvas is written once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from dcap import kernels
from dcap.augment.chain import apply_color
from dcap.augment.pasting import paste_all
from dcap.augment.patches import PatchType, to_patches
from dcap.augment.plan import Plan
from dcap.augment.warp import Image, warp
from dcap.core.errors import GeometryError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

FILL = 128
"""Mid grey: what shows where no source pixel is."""


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
    if plan.interpolation == "model":
        return resize_for_model(image, plan.canvas)
    affine = plan.affine @ Affine.scaling(shrink) if shrink > 1 else plan.affine
    pixels = warp(image, affine, plan.canvas, plan.interpolation)
    pixels = paste_all(pixels, image, plan, shrink, plan.interpolation)
    pixels = apply_color(pixels, plan.color, in_place=True)
    # A colour step may return whatever view it likes.
    pixels = np.require(pixels, np.uint8, ["C_CONTIGUOUS", "WRITEABLE"])
    kernels.fill_outside(np.ascontiguousarray(plan.region, np.float64), FILL, pixels)
    return pixels


def render_patches(
    image: Image, plan: Plan, dtype: PatchType = "float32", out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Apply `plan` to pixels and return what the vision tower takes.

    Args:
        image: As for `render`.
        plan: From `Pipeline.plan`; the sides of its final canvas are multiples of 32.
        dtype: ``float32``, ``bfloat16`` (as uint16 bits) or ``uint8``; see `dcap.augment.patches.to_patches`.
        out: Where to write, see there.

    Returns:
        One row per patch: (N, 1536), or (N, 768) for ``uint8``.

    Raises:
        GeometryError: The image has another extent than the plan's source, or a side of the final canvas is not a
            multiple of 32, or `out` has another length.
        TypeError: `out` has another type.
        ConfigError: There is no such dtype.
    """
    return to_patches(render(image, plan), dtype, out)


def _decode_shrink(image: Image, plan: Plan) -> int:
    height, width = plan.source.height, plan.source.width
    for k in (1, 2, 4, 8):
        if k <= plan.decode_shrink and image.shape == (-(-height // k), -(-width // k), 3):
            return k
    raise GeometryError(f"image must be {height}x{width}x3, not {image.shape}")


def resize_for_model(image: Image, canvas: Canvas) -> Image:
    """Resize as Hugging Face's Qwen image processor does: PIL bicubic, antialiased, bit-equal."""
    if image.shape[:2] == (canvas.height, canvas.width):
        return image
    resized = PillowImage.fromarray(image).resize((canvas.width, canvas.height), PillowImage.Resampling.BICUBIC)
    return np.asarray(resized)
