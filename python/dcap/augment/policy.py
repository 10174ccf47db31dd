"""Policies and effects: a policy draws; the effect that it returns is deterministic.

Owns the protocol that every op follows and the registry of ops. An op is a frozen dataclass; its fields are its
parameters. `sample` looks at the scene so far and returns an effect.
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
    """The scene that a policy sees: as it is before the op, without pixels."""

    @property
    def canvas(self) -> Canvas:
        """Current canvas."""
        ...

    @property
    def shapes(self) -> ShapeArray:
        """Current shapes, pixel-edge frame of `canvas`. Each access maps them anew, so read them once."""
        ...

    @property
    def captions(self) -> tuple[str, ...]:
        """One text per shape, true of the scene as it is now. Each access makes them anew, so read them once."""
        ...

    @property
    def region(self) -> npt.NDArray[np.float64]:
        """Convex outline of the pixels that are still visible, float64 (K, 2), same frame.

        It reaches over the canvas only between affine ops that an `expand_to_fit_affine` follows.
        """
        ...


@dataclass(frozen=True, slots=True)
class DropRules:
    """When a warp may drop objects, and when it must not act at all.

    The visible fraction counts the labelled parts, as in `dcap.augment.AugmentResult`. If a cut splits an object, that
    is its largest part; where ``split_policy`` keeps all parts, all of them together.

    Args:
        min_coverage: Drop an object whose visible fraction would be below this.
        completeness_threshold: Rewrite the text of an object whose visible fraction would be below this.
        min_objects: Skip the warp when fewer objects would remain. In an image with fewer objects, skip it when any
            would be lost.
        skip_if_line: Skip the warp when it would cut or drop a line.
        large_by_canvas: Compare what is visible of an object that is larger than the canvas with the canvas, not with
            the object: its area with that of the canvas, the length of a line with the shorter side.
    """

    min_coverage: float = 0.0
    completeness_threshold: float = 0.0
    min_objects: int = 0
    skip_if_line: bool = False
    large_by_canvas: bool = False


NO_RULES = DropRules()
"""Drop an object only when nothing of it is visible."""


@dataclass(frozen=True, slots=True)
class Warp:
    """A geometric effect: `affine` maps the current frame to the one of `canvas`.

    Args:
        affine: Current frame to next frame.
        canvas: Next canvas. Content outside is cut off.
        words: The effect in words, with its numbers.
        rules: Which objects the warp may drop or rewrite.
        cuts: Whether the new canvas is a window. A window cuts even if an `expand_to_fit_affine` follows.
    """

    affine: Affine
    canvas: Canvas
    words: str
    rules: DropRules = NO_RULES
    cuts: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A window of the scene, pasted a second time elsewhere on the canvas.

    Args:
        window: The window to copy, current frame, within the canvas.
        affine: Map from window to copy, current frame to current frame. Boxes stay boxes.
    """

    window: Rect
    affine: Affine

    @property
    def target(self) -> Rect:
        """The area that the copy covers, current frame."""
        x1, y1, x2, y2 = self.window
        corners = self.affine.apply([[x1, y1], [x2, y2]])
        return (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())


@dataclass(frozen=True, slots=True)
class Copy:
    """Pasted patches with the objects that they show. Later patches cover earlier ones.

    Args:
        patches: At least one; all are copied from the scene before the op.
        words: The effect in words.
        rules: Which objects to copy, and which texts to rewrite.
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
    """The op does not act. The reason goes into the telemetry."""

    reason: str


Transform = Warp | Copy | Recolor | Skip


class Op(Protocol):
    """One augmentation op. Register the class with ``@OPS.register("my_op")`` or the ``dcap.ops`` entry points."""

    def sample(self, view: View, rng: np.random.Generator) -> Transform:
        """Draw the effect on the scene that `view` shows. `rng` is the only source of chance."""
        ...


@runtime_checkable
class SizesCanvas(Protocol):
    """An op that changes the size of the canvas and knows the new size without pixels."""

    @property
    def canvas_multiple(self) -> int:
        """The sides of the new canvas are multiples of this number. 1: any size."""
        ...


OPS: Registry[type[Op]] = Registry("op", "dcap.ops")
"""Ops by name."""
