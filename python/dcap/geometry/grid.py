"""The integer grid of answer texts: the only place where coordinates are rounded."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from dcap.geometry.canvas import Canvas

Norm = Literal["norm1000", "norm100", "none"]

SPANS: dict[Norm, int] = {"norm1000": 1000, "norm100": 100}
"""Largest coordinate of each grid that does not depend on the canvas."""


def grid_span(canvas: Canvas, norm: Norm) -> tuple[int, int]:
    """Return the largest x and y on the grid: 1000, 100 or the canvas's own pixels."""
    if norm == "none":
        return canvas.width, canvas.height
    return SPANS[norm], SPANS[norm]


def to_grid(xy: npt.NDArray[np.float64], canvas: Canvas, norm: Norm) -> npt.NDArray[np.int64]:
    """Round canvas pixels to the grid, half to even.

    Args:
        xy: Points, float64 (P, 2), pixel-edge frame of `canvas`.
        canvas: The canvas that the model sees.
        norm: ``norm1000``: x / width * 1000; ``norm100``: the same to 100; ``none``: whole pixels.

    Returns:
        int64 (P, 2), within 0..span.
    """
    span = np.array(grid_span(canvas, norm), np.float64)
    grid = xy / np.array([canvas.width, canvas.height], np.float64)
    grid *= span
    np.rint(grid, out=grid)
    np.maximum(grid, 0.0, out=grid)
    np.minimum(grid, span, out=grid)
    return grid.astype(np.int64)


def from_grid(grid: npt.NDArray[np.int64], canvas: Canvas, norm: Norm) -> npt.NDArray[np.float64]:
    """Map grid integers (P, 2) back to canvas pixels, float64 (P, 2)."""
    sx, sy = grid_span(canvas, norm)
    pixels: npt.NDArray[np.float64] = np.asarray(grid, np.float64) * np.array([canvas.width / sx, canvas.height / sy])
    return pixels
