"""pad_to_multiple: add grey until the sides are aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, Skip, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas


@OPS.register("pad_to_multiple")
@dataclass(frozen=True)
class PadToMultiple:
    """Add mid grey on the right and at the bottom until both sides are multiples; nothing moves."""

    multiple: int = 32
    """Sides of the new canvas are multiples of this, pixels."""

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise ConfigError(f"multiple must be at least 1, not {self.multiple}")

    @property
    def canvas_multiple(self) -> int:
        """The sides of the new canvas are multiples of this number."""
        return self.multiple

    def sample(self, view: View, rng: np.random.Generator) -> Warp | Skip:
        """Return the padding; nothing is drawn."""
        old = view.canvas
        new = Canvas(*(-(-side // self.multiple) * self.multiple for side in (old.height, old.width)))
        if new == old:
            return Skip("aligned already")
        return Warp(Affine.identity(), new, f"to {new.width}x{new.height}")
