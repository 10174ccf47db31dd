"""Colour steps: deterministic effects on 8-bit RGB.

A step that maps each value on its own is a table of 256 entries; neighbouring tables are merged into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from dcap.core.registry import Registry

Image = npt.NDArray[np.uint8]

_VALUES = np.arange(256, dtype=np.float64)


class ColorStep(Protocol):
    """One deterministic colour effect."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        ...


COLOR_STEPS: Registry[type[ColorStep]] = Registry("colour step", "dcap.color_steps")
"""Colour steps by the name under which a plan is written down. A step is a frozen dataclass of plain values."""


@COLOR_STEPS.register("levels")
@dataclass(frozen=True, slots=True)
class Levels:
    """The line v -> gain * (v - pivot) + pivot + offset on every value: brightness and contrast.

    Args:
        gain: Slope.
        pivot: Value that the gain leaves in place.
        offset: Added afterwards, in levels.
    """

    gain: float
    pivot: float = 0.0
    offset: float = 0.0

    def table(self) -> npt.NDArray[np.uint8]:
        """Return the uint8 (256,) table, rounded half to even and clipped."""
        line = self.gain * (_VALUES - self.pivot) + self.pivot + self.offset
        return np.clip(np.rint(line), 0, 255).astype(np.uint8)

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        return np.asarray(cv2.LUT(image, self.table()), np.uint8)


@COLOR_STEPS.register("saturation")
@dataclass(frozen=True, slots=True)
class Saturation:
    """Blend with the grey image: 0 is grey, 1 leaves the image as it is.

    Args:
        factor: Share of colour, at least 0.
    """

    factor: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        grey = np.array([0.299, 0.587, 0.114]) * (1.0 - self.factor)
        mix = np.tile(grey, (3, 1)) + np.eye(3) * self.factor
        return np.asarray(cv2.transform(image, mix), np.uint8)


@COLOR_STEPS.register("hue")
@dataclass(frozen=True, slots=True)
class Hue:
    """Turn the hue.

    Args:
        shift_deg: Degrees on the colour circle.
    """

    shift_deg: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(self.shift_deg / 360.0 * 256.0) % 256)
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def apply_color(image: Image, steps: Sequence[ColorStep]) -> Image:
    """Apply `steps` in order; runs of `Levels` cost one pass."""
    return apply_table(*apply_up_to_table(image, steps))


def apply_table(image: Image, table: npt.NDArray[np.uint8] | None) -> Image:
    """Replace every value by its entry in `table`, uint8 (256,); None leaves the image as it is."""
    return image if table is None else np.asarray(cv2.LUT(image, table), np.uint8)


def apply_up_to_table(image: Image, steps: Sequence[ColorStep]) -> tuple[Image, npt.NDArray[np.uint8] | None]:
    """Apply `steps` but the `Levels` at their end; return the image and their table, or None when there are none."""
    table: npt.NDArray[np.uint8] | None = None
    for step in steps:
        if isinstance(step, Levels):
            table = step.table() if table is None else step.table()[table]
            continue
        image, table = step.apply(apply_table(image, table)), None
    return image, table
