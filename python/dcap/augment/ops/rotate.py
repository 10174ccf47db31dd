"""rotate: turn about the canvas's centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine


@OPS.register("rotate")
@dataclass(frozen=True)
class Rotate:
    """Turn by an angle drawn evenly from [-max_deg, max_deg]; the canvas keeps its size."""

    max_deg: float
    """Largest angle, degrees, 0..180."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_deg <= 180.0:
            raise ConfigError(f"max_deg must be within 0..180, not {self.max_deg}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw the angle."""
        angle = float(rng.uniform(-self.max_deg, self.max_deg))
        center = (view.canvas.width / 2, view.canvas.height / 2)
        turn = "clockwise" if angle >= 0 else "counter-clockwise"
        return Warp(Affine.rotation(angle, center), view.canvas, f"{abs(angle):.1f} degrees {turn}")
