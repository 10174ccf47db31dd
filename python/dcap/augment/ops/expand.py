"""expand_to_fit_affine: grow the canvas so that turned or moved content is not cut."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcap.augment.policy import OPS, Skip, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

_SLACK = 1e-6
"""Pixels over a border that count as float noise and do not grow the canvas."""


@OPS.register("expand_to_fit_affine")
@dataclass(frozen=True)
class ExpandToFitAffine:
    """Give the content the smallest aligned canvas that holds all of it, centred on mid grey.

    The affine ops before this op cut nothing, because this op follows them. Content that would need
    more than `max_pixels` is scaled down until the aligned canvas fits.
    """

    multiple: int = 32
    """Sides are multiples of this."""
    max_pixels: int = 1_048_576
    """Largest area of the aligned canvas."""

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise ConfigError(f"multiple must be at least 1, not {self.multiple}")
        if self.max_pixels < self.multiple**2:
            raise ConfigError(f"max_pixels must hold one block of {self.multiple} squared, not {self.max_pixels}")

    @property
    def canvas_multiple(self) -> int:
        """The sides of the new canvas are multiples of this number."""
        return self.multiple

    def sample(self, view: View, rng: np.random.Generator) -> Warp | Skip:
        """Return the expansion; nothing is drawn."""
        low, high = view.region.min(axis=0), view.region.max(axis=0)
        width, height = (high - low).tolist()
        factor = 1.0
        canvas = self._aligned(height, width)
        while canvas.num_pixels > self.max_pixels:
            factor *= min(0.999, math.sqrt(self.max_pixels / canvas.num_pixels))
            canvas = self._aligned(height * factor, width * factor)
        if (
            canvas == view.canvas
            and factor == 1.0
            and (low > -_SLACK).all()
            and (high < [canvas.width + _SLACK, canvas.height + _SLACK]).all()
        ):
            return Skip("everything is inside and aligned already")
        # Whole pixels of padding: half a pixel would blur what is merely shifted.
        dx = (canvas.width - width * factor) // 2 - low[0] * factor
        dy = (canvas.height - height * factor) // 2 - low[1] * factor
        affine = Affine(factor, 0.0, float(dx), 0.0, factor, float(dy))
        shrunk = f", shrunk by {factor:.3f}" if factor < 1.0 else ""
        return Warp(affine, canvas, f"to {canvas.width}x{canvas.height}{shrunk}", cuts=True)

    def _aligned(self, height: float, width: float) -> Canvas:
        rows, columns = (max(1, math.ceil((side - _SLACK) / self.multiple)) for side in (height, width))
        return Canvas(rows * self.multiple, columns * self.multiple)
