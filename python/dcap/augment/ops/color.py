"""color_jitter and hsv: brightness, contrast, saturation and hue."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dcap.augment.color import ColorStep, HsvScale, Hue, Levels, Saturation
from dcap.augment.policy import OPS, Recolor, View
from dcap.core.errors import ConfigError


@OPS.register("color_jitter")
@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, each by an amount drawn evenly.

    The first three are factors from [1 - x, 1 + x], where x is the spread. The hue turns by a share from [-hue, hue].
    Contrast grows and shrinks about mid grey instead of the image's mean, so that planning needs no pixels. The op
    shares one pass over the pixels with the colour ops next to it.
    """

    brightness: float = 0.0
    """Spread of the brightness factor, 0..1."""
    contrast: float = 0.0
    """Spread of the contrast factor, 0..1."""
    saturation: float = 0.0
    """Spread of the saturation factor, 0..1."""
    hue: float = 0.0
    """Largest turn of the hue to either side, share of the colour circle, 0..0.5."""

    def __post_init__(self) -> None:
        _check_spreads(self)

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Draw the four amounts. A spread of 0 costs nothing."""
        b, c, s, h = (float(v) for v in rng.uniform(-1.0, 1.0, 4))
        steps: list[ColorStep] = []
        if self.brightness:
            steps.append(Levels(1.0 + b * self.brightness))
        if self.contrast:
            steps.append(Levels(1.0 + c * self.contrast, pivot=128.0))
        if self.saturation:
            steps.append(Saturation(1.0 + s * self.saturation))
        if self.hue:
            steps.append(Hue(360.0 * h * self.hue))
        parts = {"brightness": b * self.brightness, "contrast": c * self.contrast, "saturation": s * self.saturation}
        words = [f"{name} {value:+.2f}" for name, value in parts.items() if getattr(self, name)]
        words += [f"hue {360 * h * self.hue:+.0f} degrees"] if self.hue else []
        return Recolor(tuple(steps), ", ".join(words) or "nothing")


@OPS.register("hsv")
@dataclass(frozen=True)
class Hsv:
    """Change hue, saturation and value in the HSV space; the result is exact to the grey level.

    Unlike the grey blend of color_jitter, saturation here leaves the largest of red, green and blue in place.
    """

    hue: float = 0.0
    """Largest turn of the hue to either side, drawn evenly, share of the colour circle, 0..0.5."""
    saturation: float = 0.0
    """Spread x of the saturation factor, drawn evenly from [1 - x, 1 + x], 0..1."""
    value: float = 0.0
    """Spread x of the value factor, drawn evenly from [1 - x, 1 + x], 0..1."""

    def __post_init__(self) -> None:
        _check_spreads(self)

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Draw the three."""
        h, s, v = (float(x) for x in rng.uniform(-1.0, 1.0, 3) * [360.0 * self.hue, self.saturation, self.value])
        words = f"hue {h:+.0f} degrees, saturation {s:+.2f}, value {v:+.2f}"
        return Recolor((HsvScale(h, 1.0 + s, 1.0 + v),), words)


def _check_spreads(op: ColorJitter | Hsv) -> None:
    for item in fields(op):
        value, most = getattr(op, item.name), 0.5 if item.name == "hue" else 1.0
        if not 0.0 <= value <= most:
            raise ConfigError(f"{item.name} must be within 0..{most}, not {value}")
