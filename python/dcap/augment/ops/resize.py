"""resize_by_scale: scale the canvas and all that is on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas


@OPS.register("resize_by_scale")
@dataclass(frozen=True)
class ResizeByScale:
    """Scale the canvas by a factor drawn evenly from [lo, hi], its sides rounded to a multiple.

    The content fills the new canvas exactly. So the factors of width and height differ a little, by the rounding.
    """

    lo: float
    """Smallest factor, above 0."""
    hi: float
    """Largest factor."""
    align_multiple: int = 32
    """Sides of the new canvas are the nearest multiple of this, at least one."""

    def __post_init__(self) -> None:
        if not 0.0 < self.lo <= self.hi:
            raise ConfigError(f"lo and hi must fulfil 0 < lo <= hi, not {self.lo} and {self.hi}")
        if self.align_multiple < 1:
            raise ConfigError(f"align_multiple must be at least 1, not {self.align_multiple}")

    @property
    def canvas_multiple(self) -> int:
        """The sides of the new canvas are multiples of this number."""
        return self.align_multiple

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw the factor."""
        factor = float(rng.uniform(self.lo, self.hi))
        old = view.canvas
        new = Canvas(self._aligned(old.height * factor), self._aligned(old.width * factor))
        affine = Affine.scaling(new.width / old.width, new.height / old.height)
        return Warp(affine, new, f"by {factor:.3f} to {new.width}x{new.height}")

    def _aligned(self, side: float) -> int:
        return max(1, round(side / self.align_multiple)) * self.align_multiple
