"""The canvas that Qwen3-VL sees: sides that are multiples of 32, an area within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dcap.geometry.canvas import Canvas, check_aspect

MULTIPLE = 32
"""Patch size 16 times merge size 2."""


def fit_canvas(canvas: Canvas, min_pixels: int, max_pixels: int) -> Canvas:
    """Return the canvas to which the published image processor resizes an image of this extent.

    Args:
        canvas: Extent before the resize.
        min_pixels: Smallest area of the result.
        max_pixels: Largest area of the result.

    Raises:
        GeometryError: One side is more than 200 times the other.

    Source: ``smart_resize`` of Qwen2-VL's image processor; checked against it in the tests.
    """
    check_aspect(canvas)
    height, width = canvas.height, canvas.width
    fit_h, fit_w = round(height / MULTIPLE) * MULTIPLE, round(width / MULTIPLE) * MULTIPLE
    if fit_h * fit_w > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        fit_h, fit_w = (max(MULTIPLE, math.floor(side / shrink / MULTIPLE) * MULTIPLE) for side in (height, width))
    elif fit_h * fit_w < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        fit_h, fit_w = (math.ceil(side * grow / MULTIPLE) * MULTIPLE for side in (height, width))
    return Canvas(fit_h, fit_w)


def smaller_fits(canvas: Canvas, min_pixels: int, max_pixels: int) -> Iterator[Canvas]:
    """Yield the canvases that `fit_canvas` returns as its `max_pixels` falls: each once, largest first.

    Args:
        canvas: Extent before the resize.
        min_pixels: Smallest area of a yielded canvas; also the `min_pixels` of `fit_canvas`.
        max_pixels: Area to begin below. The canvas that `fit_canvas` returns for it is not yielded.

    Raises:
        GeometryError: As `fit_canvas`.
    """
    last = fit_canvas(canvas, min_pixels, max_pixels)
    least = fit_canvas(canvas, min_pixels, min_pixels)
    low, high = min_pixels, max_pixels
    while last != least:
        # No side grows as the bound falls, so a search finds the largest bound with another result.
        low, end = min_pixels, high
        while end - low > 1:
            middle = (low + end) // 2
            low, end = (low, middle) if fit_canvas(canvas, min_pixels, middle) == last else (middle, end)
        high, last = low, fit_canvas(canvas, min_pixels, low)
        if last.num_pixels < min_pixels:
            return
        yield last
