"""Policies and transforms: a policy samples, a transform is the deterministic effect.

Owns the protocol that every op follows and the registry of ops. An op is a frozen dataclass whose fields are its
parameters; `sample` looks at the scene so far and returns what shall happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dcap.augment.color import ColorStep
from dcap.core.registry import Registry
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import Rect
from dcap.geometry.shapes import ShapeArray


class View(Protocol):
    """What a policy may look at: the scene as it is when the op's turn comes, without pixels."""

    @property
    def canvas(self) -> Canvas:
        """Current canvas."""
        ...

    @property
    def shapes(self) -> ShapeArray:
        """Current shapes, pixel-edge frame of `canvas`; mapped anew each time, so look once."""
        ...

    @property
    def captions(self) -> tuple[str, ...]:
        """One text per shape."""
        ...

    @property
    def region(self) -> npt.NDArray[np.float64]:
        """Convex outline of the pixels that are still there, float64 (K, 2), same frame.

        It reaches over the canvas only between affine ops that an `expand_to_fit_affine` follows.
        """
        ...


@dataclass(frozen=True, slots=True)
class DropRules:
    """When a warp may cost objects, and when it must not happen at all.

    Visible is what the labels show, as in `dcap.augment.AugmentResult`: of an object that a cut splits the largest
    part, or all its parts together where ``split_policy`` keeps them all.

    Args:
        min_coverage: Drop an object whose visible fraction would be below this.
        completeness_threshold: Rewrite the text of an object whose visible fraction would be below this.
        min_objects: Skip the warp when fewer objects would remain; where there are fewer, when any would go.
        skip_if_line: Skip the warp when it would cut or drop a line.
    """

    min_coverage: float = 0.0
    completeness_threshold: float = 0.0
    min_objects: int = 0
    skip_if_line: bool = False


NO_RULES = DropRules()
"""An object goes only when nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Warp:
    """A geometric effect: `affine` maps the current frame to the one of `canvas`.

    Args:
        affine: Current frame to next frame.
        canvas: Next canvas; what is outside it is cut off.
        words: The effect in words, with its numbers.
        rules: What the warp may cost.
        cuts: Whether the new canvas is a window that cuts even where an `expand_to_fit_affine` follows.
    """

    affine: Affine
    canvas: Canvas
    words: str
    rules: DropRules = NO_RULES
    cuts: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A window of the scene that appears a second time, elsewhere on the canvas.

    Args:
        window: What is copied, current frame, within the canvas.
        affine: Where the copy goes, current frame to current frame; it keeps boxes boxes.
    """

    window: Rect
    affine: Affine

    @property
    def target(self) -> Rect:
        """What the copy covers, current frame."""
        x1, y1, x2, y2 = self.window
        corners = self.affine.apply([[x1, y1], [x2, y2]])
        return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())


@dataclass(frozen=True, slots=True)
class Copy:
    """Patches that are pasted one over the other, with the objects that they show; all copied from the scene before.

    Args:
        patches: At least one.
        words: The effect in words.
        rules: Which objects come along; those whose text must change are rewritten.
    """

    patches: tuple[Patch, ...]
    words: str
    rules: DropRules = NO_RULES


@dataclass(frozen=True, slots=True)
class Recolor:
    """A colour effect, applied after all geometry."""

    steps: tuple[ColorStep, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing happens; the reason goes into the telemetry."""

    reason: str


Transform = Warp | Copy | Recolor | Skip


class Op(Protocol):
    """One augmentation op. Register the class with ``@OPS.register("my_op")`` or the ``dcap.ops`` entry points."""

    def sample(self, view: View, rng: np.random.Generator) -> Transform:
        """Draw what shall happen to the scene that `view` shows, from `rng` alone."""
        ...


@runtime_checkable
class SizesCanvas(Protocol):
    """An op that changes the canvas's size, and knows without pixels what to."""

    @property
    def canvas_multiple(self) -> int:
        """What the sides of the canvas are multiples of afterwards; 1 for a size of any kind."""
        ...


OPS: Registry[type[Op]] = Registry("op", "dcap.ops")
"""Ops by name."""
