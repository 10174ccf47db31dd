"""hflip, vflip: mirror the canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, View, Warp
from dcap.geometry.affine import Affine


@OPS.register("hflip")
@dataclass(frozen=True)
class HFlip:
    """Mirror left and right: x' = W - x."""

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Return the flip; nothing is drawn."""
        return Warp(Affine.hflip(view.canvas), view.canvas, "mirrored left to right")


@OPS.register("vflip")
@dataclass(frozen=True)
class VFlip:
    """Mirror top and bottom: y' = H - y."""

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Return the flip; nothing is drawn."""
        return Warp(Affine.vflip(view.canvas), view.canvas, "mirrored top to bottom")
