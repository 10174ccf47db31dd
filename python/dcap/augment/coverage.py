"""Coverage: which share of each pixel lies in a convex region."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcap.geometry.canvas import Canvas

_SCANLINES = 8
"""Per pixel; a pixel on the edge of a region is measured along each."""


def scanlines(
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


def coverage(region: npt.NDArray[np.float64], canvas: Canvas) -> npt.NDArray[np.float64]:
    """Return the share of each pixel of a canvas inside a convex region, float64 (H, W), 0..1."""
    left, right = (edge[..., None] for edge in scanlines(region, canvas))
    columns = np.arange(canvas.width)
    inside = np.maximum(np.minimum(right, columns + 1) - np.maximum(left, columns), 0.0)
    share: npt.NDArray[np.float64] = inside.mean(axis=1)
    return share
