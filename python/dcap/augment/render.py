"""Rendering: the source is read once, the final canvas is written once."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from dcap.augment.chain import apply_table, apply_up_to_table
from dcap.augment.patches import PatchType, to_patches
from dcap.augment.plan import Plan
from dcap.core.errors import GeometryError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

Image = npt.NDArray[np.uint8]

FILL = 128
"""Mid grey: what shows where no source pixel is."""

_SCANLINES = 8
"""Per pixel; they measure which share of a pixel on the edge of the visible region lies inside."""
_FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


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
    pixels, table = apply_up_to_table(_warp(image, affine, plan), plan.color)
    if _covers_canvas(plan):
        return pixels, table
    return _fill_outside(apply_table(pixels, table), plan), None


def resize_for_model(image: Image, canvas: Canvas) -> Image:
    """Resize as Hugging Face's Qwen image processor does: PIL bicubic, antialiased, bit-equal."""
    if image.shape[:2] == (canvas.height, canvas.width):
        return image
    resized = PillowImage.fromarray(image).resize((canvas.width, canvas.height), PillowImage.Resampling.BICUBIC)
    return np.asarray(resized)


def _warp(image: Image, affine: Affine, plan: Plan) -> Image:
    image, affine = _shrunk(image, affine)
    out = cv2.warpAffine(
        image,
        affine.opencv_matrix(),
        (plan.canvas.width, plan.canvas.height),
        flags=_FLAGS[plan.interpolation],
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


def _covers_canvas(plan: Plan) -> bool:
    canvas, region = plan.canvas, plan.region
    corners = np.array([[0, 0], [canvas.width, 0], [canvas.width, canvas.height], [0, canvas.height]], float)
    return len(region) == 4 and all((np.abs(region - c).sum(axis=1) < 1e-6).any() for c in corners)


def _fill_outside(image: Image, plan: Plan) -> Image:
    left, right = _scanlines(plan.region, plan.canvas)
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


def _scanlines(
    region: npt.NDArray[np.float64], canvas: Canvas
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return where a convex region begins and ends on each scanline, x as (H, 8); width and 0 where it is absent."""
    count = canvas.height * _SCANLINES
    y = (np.arange(count) + 0.5) / _SCANLINES
    left, right = np.full(count, float(canvas.width)), np.zeros(count)
    for (x1, y1), (x2, y2) in zip(region.tolist(), np.roll(region, -1, axis=0).tolist(), strict=True):
        part = slice(*np.searchsorted(y, [min(y1, y2), max(y1, y2)]))
        if part.start == part.stop:
            continue
        x = x1 + (y[part] - y1) * ((x2 - x1) / (y2 - y1))
        left[part], right[part] = np.minimum(left[part], x), np.maximum(right[part], x)
    np.maximum(left, 0.0, out=left)
    np.minimum(right, canvas.width, out=right)
    return left.reshape(-1, _SCANLINES), right.reshape(-1, _SCANLINES)


def _ragged(starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the index of each range and its members, all ranges in a row."""
    lengths = np.maximum(stops - starts, 0)
    which = np.repeat(np.arange(len(starts)), lengths)
    return which, np.arange(len(which)) + (starts - (np.cumsum(lengths) - lengths))[which]
