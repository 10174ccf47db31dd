"""sharpness: smooth or sharpen; makes its own pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.filters import SharpnessBlend
from dcap.augment.policy import OPS, Recolor, View
from dcap.core.errors import ConfigError


@OPS.register("sharpness")
@dataclass(frozen=True)
class Sharpness:
    """Blend with the smoothed image by a factor drawn evenly from [lo, hi]."""

    lo: float
    """Smallest factor, at least 0; 0 is smooth, 1 changes nothing."""
    hi: float
    """Largest factor; above 1 sharpens."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.lo <= self.hi:
            raise ConfigError(f"lo and hi must fulfil 0 <= lo <= hi, not {self.lo} and {self.hi}")

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Draw the factor."""
        factor = float(rng.uniform(self.lo, self.hi))
        return Recolor((SharpnessBlend(factor),), f"by {factor:.2f}")
