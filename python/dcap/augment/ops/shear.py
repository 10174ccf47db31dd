"""shear: slant about the canvas's centre."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from dcap.augment.policy import OPS, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine

_MOST_DEG = 60.0


@OPS.register("shear")
@dataclass(frozen=True)
class Shear:
    """Slant along x, then along y, about the canvas's centre; the canvas and all areas keep their size."""

    max_deg_x: float
    """Largest angle by which upright edges lean to either side, drawn evenly, degrees, 0..60."""
    max_deg_y: float
    """Largest angle by which level edges rise or fall, drawn evenly, degrees, 0..60."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0.0 <= value <= _MOST_DEG:
                raise ConfigError(f"{item.name} must be within 0..{_MOST_DEG:.0f}, not {value}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw both angles."""
        deg_x = float(rng.uniform(-self.max_deg_x, self.max_deg_x))
        deg_y = float(rng.uniform(-self.max_deg_y, self.max_deg_y))
        affine = _shear(math.tan(math.radians(deg_x)), math.tan(math.radians(deg_y)), view)
        return Warp(affine, view.canvas, f"{deg_x:+.1f} degrees along x, {deg_y:+.1f} along y")


def _shear(kx: float, ky: float, view: View) -> Affine:
    """Return x' = x + kx y, then y' = y + ky x', with the canvas's centre in place; the determinant is 1."""
    cx, cy = view.canvas.width / 2, view.canvas.height / 2
    slant = Affine(1.0, kx, 0.0, ky, 1.0 + kx * ky, 0.0)
    return Affine.translation(cx, cy) @ slant @ Affine.translation(-cx, -cy)
