"""Shapes and captions as SVG over an image, for browsers, which have fonts for every script.

All text that comes from records or models is escaped here; nothing of it is markup.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.view.draw import DROPPED_COLOR, Color, Pixels, color_of, outline, painting_order, tint_strength

JPEG_QUALITY = 88


def escape(text: str) -> str:
    """Return text for HTML and SVG, in element content and quoted attributes alike.

    Control characters and lone surrogates, which no document may hold, become U+FFFD.
    """
    legal = "".join(char if char in "\n\t" or char >= " " else "\ufffd" for char in text)
    return html.escape(legal.encode("utf-8", "replace").decode("utf-8"), quote=True)


def data_uri(image: Pixels) -> str:
    """Return an RGB image, uint8 (H, W, 3), as a JPEG that stands inside the document."""
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(coded).tobytes()).decode("ascii")


def svg_overlay(
    image: Pixels,
    shapes: ShapeArray,
    captions: Sequence[str],
    dropped: Mapping[int, str] | None = None,
    numbers: Sequence[int] | None = None,
) -> str:
    """Return an ``<svg>`` element with the image inside and the shapes over it.

    Shape `i` is a group ``<g data-i="i">`` with its number, and its caption as the tooltip.

    Args:
        image: uint8 (H, W, 3) RGB.
        shapes: N shapes, pixel-edge frame of the image, which is SVG's own frame.
        captions: One per shape.
        dropped: Index to reason, for shapes that are crossed out.
        numbers: What the labels count with; none counts from 1.
    """
    dropped = dropped or {}
    numbers = range(1, len(shapes) + 1) if numbers is None else numbers
    height, width = image.shape[:2]
    unit = max(max(height, width) / 150, 1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" class="picture">',
        f'<image href="{data_uri(image)}" width="{width}" height="{height}"/>',
    ]
    order = painting_order(shapes)
    for i in order:
        look = (unit, 0.2 * tint_strength(outline(shapes, i), height * width))
        label = f"{numbers[i]} {captions[i]}"
        parts.append(_group(shapes, i, label, css_color(captions[i]), look, dropped.get(i)))
    # Numbers come after all shapes, so that none is covered.
    for i in reversed(order):
        color = DROPPED_COLOR if i in dropped else color_of(captions[i])
        parts.append(_number(i, str(numbers[i]), color, shapes.bounds()[i], unit, (width, height)))
    return "\n".join([*parts, "</svg>"])


def css_color(caption: str, *, dropped: bool = False) -> str:
    """Return the caption's colour as ``#rrggbb``; `dropped` gives that of crossed-out objects."""
    return _hex(DROPPED_COLOR if dropped else color_of(caption))


def _group(shapes: ShapeArray, i: int, label: str, color: str, look: tuple[float, float], reason: str | None) -> str:
    unit, opacity = look
    color = color if reason is None else _hex(DROPPED_COLOR)
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in outline(shapes, i))
    name = "polyline" if shapes.kinds[i] == GeometryKind.LINE else "polygon"
    tint = "none" if name == "polyline" else color
    tip = escape(label + (f" (dropped: {reason})" if reason is not None else ""))
    shape = (
        f'<{name} points="{points}" fill="{tint}" fill-rule="evenodd" fill-opacity="{opacity:.2f}" '
        f'stroke="{color}" stroke-width="{0.6 * unit:.2f}" stroke-linejoin="round"/>'
    )
    return f'<g data-i="{i}"><title>{tip}</title>{shape}{_cross(shapes, i, unit) if reason is not None else ""}</g>'


def _cross(shapes: ShapeArray, i: int, unit: float) -> str:
    x1, y1, x2, y2 = (f"{v:.2f}" for v in shapes.bounds()[i])
    return (
        f'<path d="M{x1} {y1}L{x2} {y2}M{x1} {y2}L{x2} {y1}" stroke="{_hex(DROPPED_COLOR)}" '
        f'stroke-width="{0.4 * unit:.2f}" fill="none"/>'
    )


def _number(
    i: int, text: str, color: Color, bounds: npt.NDArray[np.float64], unit: float, size: tuple[int, int]
) -> str:
    font = 3.4 * unit
    wide, high = font * (0.62 * len(text) + 0.5), 1.2 * font
    x = min(max(float(bounds[0]), 0.0), max(0.0, size[0] - wide))
    y = min(max(float(bounds[1]), 0.0), max(0.0, size[1] - high))
    ink = "#000" if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else "#fff"
    return (
        f'<g data-i="{i}"><rect x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}" '
        f'fill="{_hex(color)}"/><text x="{x + wide / 2:.2f}" y="{y + 0.95 * font:.2f}" font-size="{font:.2f}" '
        f'font-family="sans-serif" text-anchor="middle" fill="{ink}">{text}</text></g>'
    )


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
