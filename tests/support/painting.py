"""A painter of its own: polygons to the exact share that they cover of each pixel, and back to where they lie."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dcap.geometry import Canvas

Points = npt.NDArray[np.float64]
Cover = npt.NDArray[np.float64]


def disc(x: float, y: float, radius: float, num_points: int = 48) -> Points:
    turn = np.arange(num_points) * (2 * np.pi / num_points)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def cover(canvas: Canvas, ring: Points, scanlines: int = 8) -> Cover:
    """Share of each pixel inside a ring (even-odd), (H, W); exact along each of the scanlines that a row has."""
    y = (np.arange(canvas.height * scanlines) + 0.5) / scanlines
    (x1, y1), (x2, y2) = ring.T[:, :, None], np.roll(ring, -1, axis=0).T[:, :, None]
    crosses = (np.minimum(y1, y2) <= y) & (y < np.maximum(y1, y2))
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(crosses, x1 + (y - y1) * (x2 - x1) / (y2 - y1), np.inf)
    x = np.sort(x, axis=0)[: crosses.sum(axis=0).max(initial=0)]
    x = np.where(np.isinf(x), canvas.width, x)
    out = np.zeros((len(y), canvas.width))
    columns = np.arange(canvas.width)
    for left, right in zip(x[::2, :, None], x[1::2, :, None], strict=True):
        out += np.clip(right - columns, 0, 1) - np.clip(left - columns, 0, 1)
    return out.reshape(canvas.height, scanlines, canvas.width).mean(axis=1)


def center(share: Cover) -> Points:
    """Centre of mass as x, y."""
    rows, columns = np.indices(share.shape) + 0.5
    return np.array([(share * columns).sum(), (share * rows).sum()]) / share.sum()


def finer(share: Cover, zoom: int) -> Cover:
    """The same picture with `zoom` pixels for each one, in a straight line between their centres."""
    return cv2.resize(share, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)


def iou(first: Cover, second: Cover) -> float:
    """IoU of what each covers by half and more."""
    a, b = first >= 0.5, second >= 0.5
    return float((a & b).sum() / max((a | b).sum(), 1))
