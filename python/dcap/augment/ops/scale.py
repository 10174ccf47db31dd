"""scale: enlarge or shrink the content about the canvas's centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine


@OPS.register("scale")
@dataclass(frozen=True)
class Scale:
    """Scale by a factor drawn evenly from [lo, hi]; the canvas keeps its size."""

    lo: float
    """Smallest factor, above 0."""
    hi: float
    """Largest factor."""

    def __post_init__(self) -> None:
        if not 0.0 < self.lo <= self.hi:
            raise ConfigError(f"lo and hi must fulfil 0 < lo <= hi, not {self.lo} and {self.hi}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw the factor."""
        factor = float(rng.uniform(self.lo, self.hi))
        center = (view.canvas.width / 2, view.canvas.height / 2)
        return Warp(Affine.scaling(factor, center=center), view.canvas, f"by {factor:.3f}")
