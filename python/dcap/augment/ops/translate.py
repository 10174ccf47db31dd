"""translate: shift the content."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dcap.augment.policy import OPS, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine


@OPS.register("translate")
@dataclass(frozen=True)
class Translate:
    """Shift by whole pixels, drawn evenly in both directions; the canvas keeps its size."""

    max_dx: float
    """Largest shift to the left or right, share of the canvas's width, 0..1."""
    max_dy: float
    """Largest shift up or down, share of the canvas's height, 0..1."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{item.name} must be within 0..1, not {value}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw the shift."""
        dx = round(float(rng.uniform(-1.0, 1.0)) * self.max_dx * view.canvas.width)
        dy = round(float(rng.uniform(-1.0, 1.0)) * self.max_dy * view.canvas.height)
        return Warp(Affine.translation(dx, dy), view.canvas, f"by ({dx}, {dy})")
