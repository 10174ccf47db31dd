"""Shapes and captions as SVG over an image, for browsers, which have fonts for every script.

Owns places and colours. The markup is in ``templates/overlay.svg``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.view.draw import (
    DROPPED_COLOR,
    TINT,
    Color,
    Pixels,
    color_of,
    drawn_points,
    ink_on,
    painting_order,
    tint_strength,
)

JPEG_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Mark:
    """One shape of an overlay."""

    index: int
    """Index of the object. List items with the same index light up with it."""
    tip: str
    """Text that is shown when the pointer is over it."""
    points: str
    """``x,y`` of each point, in pixels of the image."""
    closed: bool
    """False for a line."""
    color: str
    """``#rrggbb``."""
    opacity: float
    """How strongly its inside is tinted, 0..1."""
    cross: str
    """Path that crosses it out, or nothing."""


@dataclass(frozen=True, slots=True)
class Label:
    """The number of a shape; lengths in pixels of the image."""

    index: int
    text: str
    x: float
    y: float
    width: float
    font: float
    color: str
    ink: str


@dataclass(frozen=True, slots=True)
class Overlay:
    """An image with shapes over it, ready for the template."""

    image: str
    """The image inside a ``data:`` address."""
    width: int
    height: int
    unit: float
    """Pixels of the image that lines and labels are measured in."""
    marks: tuple[Mark, ...]
    """Shapes in the order in which they are painted."""
    labels: tuple[Label, ...]
    """Painted after all shapes, so that none is covered."""

    @classmethod
    def of(
        cls,
        image: Pixels,
        shapes: ShapeArray,
        captions: Sequence[str],
        dropped: Mapping[int, str] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Overlay:
        """Lay shapes over an image.

        Args:
            image: uint8 (H, W, 3) RGB.
            shapes: N shapes, pixel-edge frame of the image, which is also that of SVG.
            captions: One per shape. They pick the colours.
            dropped: Index to reason, for shapes that are crossed out.
            numbers: Number of each shape. `None`: 1, 2, ...
        """
        dropped = dropped or {}
        numbers = range(1, len(shapes) + 1) if numbers is None else numbers
        height, width = image.shape[:2]
        order = painting_order(shapes)
        colors = [css_color(caption, dropped=i in dropped) for i, caption in enumerate(captions)]
        bounds = shapes.bounds()
        marks = []
        for i in order:
            points, reason = drawn_points(shapes, i), dropped.get(i)
            mark = Mark(
                index=i,
                tip=f"{numbers[i]} {captions[i]}" + ("" if reason is None else f" (dropped: {reason})"),
                points=" ".join(f"{x:.2f},{y:.2f}" for x, y in points),
                closed=shapes.kinds[i] != GeometryKind.LINE,
                color=colors[i],
                opacity=TINT * tint_strength(points, height * width),
                cross="" if reason is None else _cross(bounds[i]),
            )
            marks.append(mark)
        labels = tuple(
            _label(i, str(numbers[i]), DROPPED_COLOR if i in dropped else color_of(captions[i]), bounds[i], image)
            for i in reversed(order)
        )
        return cls(data_uri(image), width=width, height=height, unit=_unit(image), marks=tuple(marks), labels=labels)


def data_uri(image: Pixels) -> str:
    """Return an RGB image, uint8 (H, W, 3), as an address that holds it as JPEG."""
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(coded).tobytes()).decode("ascii")


def css_color(caption: str, *, dropped: bool = False) -> str:
    """Return the caption's colour as ``#rrggbb``, or with `dropped` that of objects that are crossed out."""
    return _hex(DROPPED_COLOR if dropped else color_of(caption))


def _unit(image: Pixels) -> float:
    height, width = image.shape[:2]
    return max(int(height) / 150, int(width) / 150, 1.0)


def _label(index: int, text: str, color: Color, bounds: npt.NDArray[np.float64], image: Pixels) -> Label:
    """Put a number at the upper left of a shape, inside the image."""
    height, width = image.shape[:2]
    font = 3.4 * _unit(image)
    wide, high = font * (0.62 * len(text) + 0.5), 1.2 * font
    x = min(max(float(bounds[0]), 0.0), max(0.0, width - wide))
    y = min(max(float(bounds[1]), 0.0), max(0.0, height - high))
    return Label(index=index, text=text, x=x, y=y, width=wide, font=font, color=_hex(color), ink=_hex(ink_on(color)))


def _cross(bounds: npt.NDArray[np.float64]) -> str:
    x1, y1, x2, y2 = (f"{v:.2f}" for v in bounds)
    return f"M{x1} {y1}L{x2} {y2}M{x1} {y2}L{x2} {y1}"


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
