"""random_crop: keep a random window."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, DropRules, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas


@OPS.register("random_crop")
@dataclass(frozen=True)
class RandomCrop:
    """Keep a window of a random share of the area and a random shape, at whole pixels; nothing is resized."""

    scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest share of the canvas's area, 0..1."""
    aspect_ratio: tuple[float, float] = (0.75, 4 / 3)
    """Smallest and largest width / height of the window, relative to the canvas's own."""
    min_coverage: float = 0.3
    """Drop objects of which less than this share would be visible, 0..1."""
    min_objects: int = 1
    """Skip the crop when fewer objects would remain."""
    skip_if_line: bool = False
    """Skip the crop when it would cut or drop a line."""

    def __post_init__(self) -> None:
        if not 0.0 < self.scale[0] <= self.scale[1] <= 1.0:
            raise ConfigError(f"scale must fulfil 0 < lo <= hi <= 1, not {self.scale}")
        if not 0.0 < self.aspect_ratio[0] <= self.aspect_ratio[1]:
            raise ConfigError(f"aspect_ratio must fulfil 0 < lo <= hi, not {self.aspect_ratio}")
        if not 0.0 <= self.min_coverage <= 1.0:
            raise ConfigError(f"min_coverage must be within 0..1, not {self.min_coverage}")
        if self.min_objects < 0:
            raise ConfigError(f"min_objects must be at least 0, not {self.min_objects}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw the window; shape evenly on a log scale, so that 1/2 is as likely as 2."""
        share = float(rng.uniform(*self.scale))
        ratio = math.exp(float(rng.uniform(*np.log(self.aspect_ratio))))
        width = _side(view.canvas.width, math.sqrt(share * ratio))
        height = _side(view.canvas.height, math.sqrt(share / ratio))
        x = int(rng.integers(view.canvas.width - width + 1))
        y = int(rng.integers(view.canvas.height - height + 1))
        rules = DropRules(self.min_coverage, min(self.min_objects, len(view.shapes)), self.skip_if_line)
        words = f"{width}x{height} window at ({x}, {y})"
        return Warp(Affine.translation(-x, -y), Canvas(height, width), words, rules, cuts=True)


def _side(full: int, share: float) -> int:
    return min(full, max(1, round(full * share)))
