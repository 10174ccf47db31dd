"""gamma, solarize, posterize: change each value on its own; ops next to each other share one pass over the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcap.augment.color import FewerBits, Inversion, PowerCurve
from dcap.augment.policy import OPS, Recolor, View
from dcap.core.errors import ConfigError


@OPS.register("gamma")
@dataclass(frozen=True)
class Gamma:
    """Raise each value, divided by 255, to an exponent drawn from [lo, hi] evenly on a log scale."""

    lo: float
    """Smallest exponent, above 0; below 1 brightens."""
    hi: float
    """Largest exponent; above 1 darkens."""

    def __post_init__(self) -> None:
        if not 0.0 < self.lo <= self.hi:
            raise ConfigError(f"lo and hi must fulfil 0 < lo <= hi, not {self.lo} and {self.hi}")

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Draw the exponent."""
        exponent = math.exp(float(rng.uniform(math.log(self.lo), math.log(self.hi))))
        return Recolor((PowerCurve(exponent),), f"exponent {exponent:.2f}")


@OPS.register("solarize")
@dataclass(frozen=True)
class Solarize:
    """Invert all values at or above a threshold."""

    threshold: int = 128
    """Smallest value to invert, 0..256. 256: invert no value."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 256:
            raise ConfigError(f"threshold must be within 0..256, not {self.threshold}")

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Return the inversion; nothing is drawn."""
        return Recolor((Inversion(self.threshold),), f"from {self.threshold} on")


@OPS.register("posterize")
@dataclass(frozen=True)
class Posterize:
    """Keep only the highest bits of each value."""

    bits: int = 4
    """Number of bits to keep, 1..8."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ConfigError(f"bits must be within 1..8, not {self.bits}")

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Return the shortening; nothing is drawn."""
        return Recolor((FewerBits(self.bits),), f"to {self.bits} bits")
