"""Rendering: the source is read once, the final canvas is written once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from dcap.augment.chain import apply_table, apply_up_to_table
from dcap.augment.coverage import scanlines
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
            `Plan.decode_shrink` allows and `dcap.data.images.decode_image` delivers.
        plan: From `Pipeline.plan`.

    Returns:
        uint8 (H', W', 3) RGB, of the plan's final canvas.

    Raises:
        GeometryError: The image has another extent than the plan's source.
    """
    return apply_table(*_up_to_table(image, plan))


def render_patches(image: Image, plan: Plan, dtype: PatchType = "float32") -> npt.NDArray[Any]:
    """Apply `plan` to pixels and return what the vision tower takes.

    The same as `to_patches` of `render`, without writing the image once more where the colours end in a table.

    Args:
        image: As for `render`.
        plan: From `Pipeline.plan`; the sides of its final canvas are multiples of 32.
        dtype: ``float32``, ``bfloat16`` (as uint16 bits) or ``uint8``; see `dcap.augment.patches.to_patches`.

    Returns:
        One row per patch: (N, 1536), or (N, 768) for ``uint8``.

    Raises:
        GeometryError: The image has another extent than the plan's source, or a side of the final canvas is not a
            multiple of 32.
        ConfigError: There is no such dtype.
    """
    pixels, table = _up_to_table(image, plan)
    return to_patches(pixels, dtype, table)


def _decode_shrink(image: Image, plan: Plan) -> int:
    height, width = plan.source.height, plan.source.width
    for k in (1, 2, 4, 8):
        if k <= plan.decode_shrink and image.shape == (-(-height // k), -(-width // k), 3):
            return k
    raise GeometryError(f"image must be {height}x{width}x3, not {image.shape}")


def _up_to_table(image: Image, plan: Plan) -> tuple[Image, npt.NDArray[np.uint8] | None]:
    """Render, and return the table of the last colours where it is all that is left to do."""
    shrink = _decode_shrink(image, plan)
    if plan.interpolation == "model":
        return resize_for_model(image, plan.canvas), None
    affine = plan.affine @ Affine.scaling(shrink) if shrink > 1 else plan.affine
    pixels = warp(image, affine, plan.canvas, plan.interpolation)
    pixels = paste_all(pixels, image, plan, shrink, plan.interpolation)
    pixels, table = apply_up_to_table(pixels, plan.color)
    if _covers_canvas(plan):
        return pixels, table
    return _fill_outside(apply_table(pixels, table), plan), None


def resize_for_model(image: Image, canvas: Canvas) -> Image:
    """Resize as Hugging Face's Qwen image processor does: PIL bicubic, antialiased, bit-equal."""
    if image.shape[:2] == (canvas.height, canvas.width):
        return image
    resized = PillowImage.fromarray(image).resize((canvas.width, canvas.height), PillowImage.Resampling.BICUBIC)
    return np.asarray(resized)


def _covers_canvas(plan: Plan) -> bool:
    canvas, region = plan.canvas, plan.region
    corners = np.array([[0, 0], [canvas.width, 0], [canvas.width, canvas.height], [0, canvas.height]], float)
    return len(region) == 4 and all((np.abs(region - c).sum(axis=1) < 1e-6).any() for c in corners)


def _fill_outside(image: Image, plan: Plan) -> Image:
    left, right = scanlines(plan.region, plan.canvas)
    first, end = np.floor(left.min(axis=1)).astype(int), np.ceil(right.max(axis=1)).astype(int)
    for row, start, stop in zip(image, first.tolist(), end.tolist(), strict=True):
        row[:start] = FILL
        row[stop:] = FILL
    # Pixels from `inner` to `outer` lie wholly inside; those between them and the grey are blended with it.
    inner = np.ceil(left.max(axis=1)).astype(int)
    outer = np.maximum(np.floor(right.min(axis=1)).astype(int), inner)
    rows, columns = _ragged(np.concatenate([first, outer]), np.concatenate([np.minimum(inner, end), end]))
    rows %= plan.canvas.height
    width = np.minimum(right[rows], columns[:, None] + 1) - np.maximum(left[rows], columns[:, None])
    share = np.maximum(width, 0.0).mean(axis=1)[:, None]
    image[rows, columns] = np.rint(FILL + share * (image[rows, columns] - float(FILL))).astype(np.uint8)
    return image


def _ragged(starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the index of each range and its members, all ranges in a row."""
    lengths = np.maximum(stops - starts, 0)
    which = np.repeat(np.arange(len(starts)), lengths)
    return which, np.arange(len(which)) + (starts - (np.cumsum(lengths) - lengths))[which]
