"""Plan: what one sample undergoes, without pixels; and the result that carries it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dcap.augment.color import ColorStep
from dcap.augment.scene import Scene
from dcap.augment.telemetry import Telemetry
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas

Interpolation = Literal["linear", "cubic", "model"]


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """One map, one visible region, one list of colours.

    Args:
        source: Canvas of the decoded image.
        canvas: Canvas that the model sees.
        affine: Source frame to final frame; every geometric op and the model's own resize in one.
        region: Convex outline of the source pixels that are still there, float64 (K, 2), final frame. Outside it
            the image is mid grey.
        color: Colour steps, after all geometry.
        interpolation: ``linear`` or ``cubic`` for the one warp; ``model`` for a sample without augmentation, which
            is resized exactly as Hugging Face's processor does it.
        steps: What was done, in words.
    """

    source: Canvas
    canvas: Canvas
    affine: Affine
    region: npt.NDArray[np.float64]
    color: tuple[ColorStep, ...]
    interpolation: Interpolation
    steps: tuple[str, ...]

    @property
    def decode_shrink(self) -> int:
        """How many times smaller a decoder may deliver the source: 1, 2, 4 or 8, at most what the map shrinks by."""
        if self.interpolation == "model":
            return 1
        a = self.affine
        growth = max(math.hypot(a.a, a.d), math.hypot(a.b, a.e))
        return next(k for k in (8, 4, 2, 1) if k == 1 or growth * k <= 1.0)

    def describe(self) -> str:
        """Return the plan in words, one line per step."""
        head = f"{self.source.width}x{self.source.height} -> {self.canvas.width}x{self.canvas.height}"
        return "\n".join([head, *(self.steps or ("no augmentation",))])


@dataclass(frozen=True, eq=False, slots=True)
class AugmentResult:
    """What became of a scene.

    Args:
        scene: M shapes and captions in the final frame; with pixels when the scene came with some.
        source_index: int64 (M,): the input object from which each output object came.
        visible_fraction: float64 (M,): share of that object's area (length for lines) that is still visible.
        plan: What was done.
        telemetry: What it cost.
    """

    scene: Scene
    source_index: npt.NDArray[np.int64]
    visible_fraction: npt.NDArray[np.float64]
    plan: Plan
    telemetry: Telemetry
