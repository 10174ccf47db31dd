"""Painting scenes: grounds, and shapes whose edges have the exact share that they cover of each pixel."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from dcap.demo.scene_look import SceneGround
from dcap.demo.scene_shapes import Points, SceneShape
from dcap.geometry.canvas import Canvas

_Paint = npt.NDArray[np.float32]


def paint(
    canvas: Canvas, shapes: Iterable[SceneShape], ground: SceneGround, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return a scene as pixels: the ground, then the shapes one over the other.

    Args:
        canvas: Size of the scene; the shapes are inside it.
        shapes: From the lowest to the topmost.
        ground: Kind of the ground.
        rng: Source of chance of the ground.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    image = _ground(canvas, ground, rng)
    for shape in shapes:
        left, top, share = coverage(shape.ring)
        height, width = share.shape
        part = image[top : top + height, left : left + width]
        part += share[..., None] * (np.array(shape.rgb, np.float32) - part)
    return np.rint(image).astype(np.uint8)


def coverage(ring: Points) -> tuple[int, int, npt.NDArray[np.float32]]:
    """Return the share of each pixel that a ring covers.

    The ring is cut at the borders of pixels. Each piece is inside one pixel and adds the area between itself and the
    right end of its row. So the shares are exact, and their sum is the area of the ring.

    Args:
        ring: Vertices, float64 (n, 2), pixel-edge coordinates, not negative. It must not cross itself.

    Returns:
        Column and row of the first pixel, and float32 (h, w) within 0..1.

    Source: R. Levien, "font-rs", 2016, which accumulates signed areas in the same way.
    """
    left, top = np.floor(ring.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(ring.max(axis=0)).astype(int).tolist()
    width, height = right - left, bottom - top
    edge, points = _cut_at_pixels(ring - (left, top))
    same = edge[1:] == edge[:-1]
    (x1, y1), (x2, y2) = points[:-1][same].T, points[1:][same].T
    x, drop = (x1 + x2) / 2, y2 - y1
    column = np.clip(x.astype(np.int64), 0, width - 1)
    row = np.clip(((y1 + y2) / 2).astype(np.int64), 0, height - 1)
    place = row * (width + 1) + column
    inside = column + 1 - x
    size = height * (width + 1)
    area = np.bincount(place, drop * inside, size) + np.bincount(place + 1, drop * (1 - inside), size)
    share = np.abs(area.reshape(height, width + 1).cumsum(axis=1)[:, :-1])
    return left, top, np.minimum(share, 1.0).astype(np.float32)


def _cut_at_pixels(ring: Points) -> tuple[npt.NDArray[np.int64], Points]:
    """Return the points where each edge begins, ends or crosses a border of pixels, in order, and their edges."""
    step = np.roll(ring, -1, axis=0) - ring
    ends = ring + step
    numbers = np.arange(len(ring))
    edges, shares = [numbers, numbers], [np.zeros(len(ring)), np.ones(len(ring))]
    first = np.floor(np.minimum(ring, ends)) + 1
    counts = np.maximum(np.ceil(np.maximum(ring, ends)) - first, 0).astype(np.int64)
    for axis in (0, 1):
        count = counts[:, axis]
        edge = np.repeat(numbers, count)
        before = np.repeat(np.cumsum(count) - count, count)
        border = first[edge, axis] + (np.arange(len(edge)) - before)
        edges.append(edge)
        shares.append((border - ring[edge, axis]) / step[edge, axis])
    edge, share = np.concatenate(edges), np.concatenate(shares)
    order = np.lexsort((share, edge))
    edge, share = edge[order], share[order, None]
    return edge, ring[edge] + share * step[edge]


def _ground(canvas: Canvas, ground: SceneGround, rng: np.random.Generator) -> _Paint:
    """Return a ground, float32 (H, W, 3), 0..255: pale or dark, so that bright shapes stand out."""
    light = bool(rng.random() < 0.5) and ground != "dark"
    first = _pale(rng, rng.uniform(0.84, 0.93)) if light else _pale(rng, rng.uniform(0.2, 0.32))
    height, width = canvas.height, canvas.width
    image = np.empty((height, width, 3), np.float32)
    image[:] = first
    if ground in ("plain", "dark"):
        return image
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slope = (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)).astype(np.float32)[..., None]
    last = _pale(rng, rng.uniform(0.7, 0.8)) if light else _pale(rng, rng.uniform(0.34, 0.44))
    image += (slope + 0.7) / 1.4 * (last - first)
    if ground == "texture":
        image += _clouds(height, width, rng)[..., None]
    return np.clip(image, 0, 255, out=image)


def _pale(rng: np.random.Generator, light: float) -> npt.NDArray[np.float32]:
    """Return a colour of little saturation, float32 (3,), 0..255."""
    red, green, blue = colorsys.hls_to_rgb(rng.random(), light, rng.uniform(0.04, 0.16))
    return np.array([red, green, blue], np.float32) * 255


def _clouds(height: int, width: int, rng: np.random.Generator) -> _Paint:
    """Return noise of three sizes, float32 (H, W), mostly within -25..25."""
    out = np.zeros((height, width), np.float32)
    for cells, strength in ((5, 12.0), (17, 6.0)):
        noise = rng.standard_normal((cells, cells), np.float32) * np.float32(strength)
        out += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return out + rng.standard_normal((height, width), np.float32) * np.float32(2.5)
