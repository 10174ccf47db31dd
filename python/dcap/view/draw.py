"""Shapes and captions drawn on images, for people to look at.

Owns colours, outlines and the places of labels. `dcap.view.sheet` puts several pictures on one, `dcap.view.overlay`
draws for browsers.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dcap.geometry.affine import Affine
from dcap.geometry.clipping import transform
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.view.fonts import Font, font_for, load_font

Pixels = npt.NDArray[np.uint8]
Color = tuple[int, int, int]
Rect = tuple[int, int, int, int]

DROPPED_COLOR: Color = (190, 30, 45)
_SHADOW: Color = (20, 20, 20)
_SUBPIXEL_BITS = 4
TINT = 0.06
"""How strongly regions are tinted, 0..1: so little that a red object stays red."""


@dataclass(frozen=True, slots=True)
class DrawStyle:
    """How shapes look. Lengths are pixels of the image that is drawn on; `None`: in proportion to its shorter side."""

    labels: Literal["full", "number", "none"] = "full"
    """``full``: number and caption. ``number``: the number alone, for pictures with a list. ``none``: nothing."""
    fill_opacity: float = TINT
    """How strongly regions are tinted, 0..1."""
    line_width_px: int | None = None
    """Width of outlines."""
    font_px: int | None = None
    """Height of the label font."""
    max_label_chars: int = 24
    """Longer captions are cut with an ellipsis."""


def color_of(caption: str) -> Color:
    """Return the colour of a caption: bright, and the same in every picture and run."""
    code = zlib.crc32(caption.strip().casefold().encode("utf-8", "surrogatepass"))
    hue, light = (code % 360) / 360.0, (0.52, 0.62)[(code >> 16) % 2]
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)


def ink_on(color: Color) -> Color:
    """Return black or white, whichever can be read on a colour."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def draw_shapes(
    image: Pixels,
    shapes: ShapeArray,
    captions: Sequence[str],
    style: DrawStyle | None = None,
    dropped: Mapping[int, str] | None = None,
    numbers: Sequence[int] | None = None,
) -> Pixels:
    """Return a copy of the image with shapes outlined, tinted and labelled.

    Regions are painted from large to small, so that small ones stay visible; labels dodge each other, and where
    there is no room for the caption, its number alone is drawn.

    Args:
        image: uint8 (H, W, 3) RGB.
        shapes: N shapes, pixel-edge frame of the image. Parts outside the image are not drawn.
        captions: One per shape. They pick the colours.
        style: How shapes look. `None`: the defaults.
        dropped: Index to reason, for shapes that are crossed out.
        numbers: Number of each shape. `None`: 1, 2, ...

    Returns:
        uint8 (H, W, 3) RGB.
    """
    numbers = range(1, len(shapes) + 1) if numbers is None else numbers
    style, dropped = style or DrawStyle(), dropped or {}
    short = min(image.shape[:2])
    width = style.line_width_px or max(2, round(short / 260))
    canvas = np.ascontiguousarray(image).copy()
    colors = [DROPPED_COLOR if i in dropped else color_of(captions[i]) for i in range(len(shapes))]
    for i in painting_order(shapes):
        points, kind = drawn_points(shapes, i), GeometryKind(int(shapes.kinds[i]))
        if kind is not GeometryKind.LINE:
            _tint(canvas, points, colors[i], style.fill_opacity)
        _stroke(canvas, points, colors[i], width, closed=kind is not GeometryKind.LINE)
        if i in dropped:
            _cross_out(canvas, shapes.bounds()[i], width)
    if style.labels == "none":
        return canvas
    texts = [_label(numbers[i], captions[i], style, dropped.get(i)) for i in range(len(shapes))]
    return _draw_labels(canvas, shapes, texts, colors, style.font_px or max(11, round(short / 34)))


def drawn_points(shapes: ShapeArray, i: int) -> npt.NDArray[np.float64]:
    """Return the points that draw shape `i`, float64 (n, 2): a box gives its four corners."""
    points = shapes.points(i)
    if shapes.kinds[i] != GeometryKind.BOX:
        return points
    (x1, y1), (x2, y2) = points
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def painting_order(shapes: ShapeArray) -> list[int]:
    """Return the order in which shapes are painted: by falling extent, lines last."""
    bounds = shapes.bounds()
    extent = np.prod(bounds[:, 2:] - bounds[:, :2], axis=1)
    return [int(i) for i in np.lexsort((-extent, shapes.kinds == GeometryKind.LINE))]


def scaled_to(image: Pixels, shapes: ShapeArray, side: int) -> tuple[Pixels, ShapeArray]:
    """Return image and shapes, scaled to a longer side of `side` pixels. Draw afterwards: labels can be read."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (new_width, new_height), interpolation=how)
    affine = Affine.scaling(new_width / width, new_height / height)
    return np.asarray(scaled, np.uint8), transform(shapes, affine)


def _fixed_point(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Pixel edges to OpenCV's pixel centres, in its fixed-point units."""
    limited = np.clip(points - 0.5, -1e5, 1e5)
    return np.rint(limited * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _tint(canvas: Pixels, points: npt.NDArray[np.float64], color: Color, opacity: float) -> None:
    height, width = canvas.shape[:2]
    opacity *= tint_strength(points, width * height)
    x1, y1 = np.clip(np.floor(points.min(axis=0)), 0, (width, height)).astype(int)
    x2, y2 = np.clip(np.ceil(points.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if x1 >= x2 or y1 >= y2 or opacity <= 0.0:
        return
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(points - (x1, y1))], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    share = (mask.astype(np.float32) * (opacity / 255.0))[..., None]
    part = canvas[y1:y2, x1:x2]
    part[:] = np.rint(part * (1.0 - share) + np.array(color, np.float32) * share).astype(np.uint8)


def tint_strength(points: npt.NDArray[np.float64], num_pixels: int) -> float:
    """Return 1 for a small region, less for one whose bounds take much of the image, which a tint would drown."""
    share = float(np.prod(np.ptp(points, axis=0))) / num_pixels
    return 1.0 - 0.75 * min(max(share - 0.05, 0.0) / 0.45, 1.0)


def _stroke(canvas: Pixels, points: npt.NDArray[np.float64], color: Color, width: int, *, closed: bool) -> None:
    # A dark rim keeps the outline visible on a background of its own colour.
    for paint, thickness in ((_SHADOW, width + 2), (color, width)):
        cv2.polylines(canvas, [_fixed_point(points)], closed, paint, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    if not closed:
        for paint, radius in ((_SHADOW, width + 2), (color, width + 1)):
            x, y = _fixed_point(points[0])
            size = radius << _SUBPIXEL_BITS
            cv2.circle(canvas, (int(x), int(y)), size, paint, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _cross_out(canvas: Pixels, bounds: npt.NDArray[np.float64], width: int) -> None:
    x1, y1, x2, y2 = bounds
    for a, b in (((x1, y1), (x2, y2)), ((x1, y2), (x2, y1))):
        ends = _fixed_point(np.array([a, b]))
        cv2.polylines(canvas, [ends], False, DROPPED_COLOR, max(1, width - 1), cv2.LINE_AA, _SUBPIXEL_BITS)


def shorten(text: str, max_chars: int) -> str:
    """Return the text on one line, cut with an ellipsis when it is longer than `max_chars`."""
    line = " ".join(text.split())
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"


def _label(number: int, caption: str, style: DrawStyle, reason: str | None) -> tuple[str, str]:
    """Return the label and what stays of it where there is no room."""
    alone = str(number)
    if style.labels == "number":
        return alone, alone
    text = shorten(caption, style.max_label_chars)
    return f"{alone} {text}" + (f" ({shorten(reason, style.max_label_chars)})" if reason else ""), alone


def _draw_labels(
    canvas: Pixels, shapes: ShapeArray, texts: Sequence[tuple[str, str]], colors: Sequence[Color], font_px: int
) -> Pixels:
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    room = _Room(picture.size, font_px, shapes.bounds())
    # Small shapes choose first: they have the fewest places.
    for i in reversed(painting_order(shapes)):
        text, font, rect = room.place(i, texts[i])
        draw.rectangle((rect[0], rect[1], rect[2] - 1, rect[3] - 1), fill=colors[i])
        middle = ((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2)
        draw.text(middle, text, ink_on(colors[i]), font, anchor="mm")
    return np.array(picture)


class _Room:
    """Where labels may still go: not on another label, and not on the middle of another shape."""

    def __init__(self, size: tuple[int, int], font_px: int, bounds: npt.NDArray[np.float64]) -> None:
        self.size = size
        self.font_px = font_px
        self.bounds = bounds
        self.middles = (bounds[:, :2] + bounds[:, 2:]) / 2
        self.taken: list[Rect] = []

    def place(self, i: int, texts: tuple[str, str]) -> tuple[str, Font, Rect]:
        """Return text, font and rectangle for shape `i`: the number alone where the caption finds no place."""
        for text in texts:
            font = font_for(text, self.font_px)
            if font is None:
                continue
            for rect in self._places(i, font, text):
                if self._is_free(i, rect):
                    self.taken.append(rect)
                    return text, font, rect
        font = load_font(self.font_px)
        rect = next(self._places(i, font, texts[1]))
        self.taken.append(rect)
        return texts[1], font, rect

    def _is_free(self, i: int, rect: Rect) -> bool:
        left, top, right, bottom = rect
        if any(left < x2 and x1 < right and top < y2 and y1 < bottom for x1, y1, x2, y2 in self.taken):
            return False
        covered = ((self.middles > (left, top)) & (self.middles < (right, bottom))).all(axis=1)
        return set(np.flatnonzero(covered).tolist()) <= {i}

    def _places(self, i: int, font: Font, text: str) -> Iterator[Rect]:
        wide, high = round(font.getbbox(text)[2]) + 6, self.font_px + 5
        x1, y1, x2, y2 = self.bounds[i].tolist()
        middle = (y1 + y2 - high) / 2
        corners = (
            (x1, y1 - high), (x1, y1), (x2 - wide, y1 - high), (x1, y2), (x2 - wide, y2), (x1, y2 - high),
            ((x1 + x2 - wide) / 2, middle), (x2, middle), (x1 - wide, middle),
        )  # fmt: skip
        for x, y in corners:
            left = int(min(max(x, 0), max(0, self.size[0] - wide)))
            top = int(min(max(y, 0), max(0, self.size[1] - high)))
            yield left, top, left + wide, top + high
