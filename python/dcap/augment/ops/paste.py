"""small_object_zoom_paste: show small objects a second time, enlarged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.augment.ops.window import Window
from dcap.augment.policy import OPS, Copy, DropRules, Patch, Skip, View
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import Rect, clip, transform, visible_fraction
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray


@OPS.register("small_object_zoom_paste")
@dataclass(frozen=True, kw_only=True)
class SmallObjectZoomPaste(Window):
    """Paste enlarged copies of small objects, with their surroundings, where they hide little.

    A copy keeps the caption of its object. Other objects in the window are copied with their captions too, if at least
    `min_coverage` of them is visible; the rest have no label, as in a crop. Copies are read from the source image at
    their final size, so a copy costs only its own area.
    """

    max_targets: int = 1
    """Largest number of objects to copy."""
    scale: tuple[float, float] = (1.5, 3.0)
    """Smallest and largest factor of enlargement, at least 0.1, drawn evenly. A copy that does not fit the canvas is
    enlarged less."""
    max_size: float = 64.0
    """A box or polygon is small if the longest side of its bounding box is at most this, pixels of the canvas at this
    op."""
    max_line_length: float = 64.0
    """A line is small if its length is at most this, same pixels. 0: copy no lines."""
    overlap_threshold: float = 0.1
    """Largest share of any object that all copies together may hide, 0 to below 1."""
    max_attempts: int = 20
    """Number of places to try for each copy."""
    context: float = 0.25
    """Margin around the object, as a share of the longest side of its bounding box."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.scale[0] <= self.scale[1]:
            raise ConfigError(f"scale must fulfil 0.1 <= lo <= hi, not {self.scale}")
        if not 0.0 <= self.overlap_threshold < 1.0:
            raise ConfigError(f"overlap_threshold must be from 0 to below 1, not {self.overlap_threshold}")
        for name, least in (("max_targets", 1), ("max_attempts", 1), ("max_size", 0), ("max_line_length", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.context < 0.0:
            raise ConfigError(f"context must be at least 0, not {self.context}")

    def sample(self, view: View, rng: np.random.Generator) -> Copy | Skip:
        """Draw the objects, their enlargement and their places."""
        shapes = view.shapes
        small = self._small(shapes, view.canvas)
        if not len(small):
            return Skip("no object is small enough")
        patches: list[Patch] = []
        words: list[str] = []
        seen, hidden = shapes, np.zeros(len(shapes))
        for i in rng.permutation(small)[: self.max_targets].tolist():
            window = self._window(shapes.points(i), view.canvas)
            patch = self._patch(view, window, seen, self.overlap_threshold - hidden, rng)
            if patch is None:
                continue
            patches.append(patch)
            # The next copies must not hide this one, nor hide more of an object that is partly hidden already.
            copies = transform(clip(shapes, window).shapes, patch.affine)
            hidden = np.concatenate([hidden + visible_fraction(seen, patch.target), np.zeros(len(copies))])
            seen = ShapeArray.concatenate([seen, copies])
            x, y = patch.target[:2]
            words.append(f"{view.captions[i]!r} x{patch.affine.a:.2f} at ({x:.0f}, {y:.0f})")
        if not patches:
            return Skip("no place was found where a copy hides little enough")
        rules = DropRules(self.min_coverage, self.completeness_threshold)
        return Copy(tuple(patches), ", ".join(words), rules)

    def _small(self, shapes: ShapeArray, canvas: Canvas) -> npt.NDArray[np.int64]:
        low, high = np.split(shapes.bounds(), 2, axis=1)
        inside = ((low >= 0.0) & (high <= [canvas.width, canvas.height])).all(axis=1)
        size = (high - low).max(axis=1)
        is_line = shapes.kinds == GeometryKind.LINE
        fits = size <= self.max_size
        if is_line.any():
            fits = np.where(is_line, area_or_length(shapes) <= self.max_line_length, fits)
        return np.flatnonzero(inside & fits & (size > 0.0))

    def _patch(
        self,
        view: View,
        window: Rect,
        seen: ShapeArray,
        may_hide: npt.NDArray[np.float64],
        rng: np.random.Generator,
    ) -> Patch | None:
        """Draw the enlargement of a window and a place for it. `None`: no place is free.

        Args:
            view: The scene before the op.
            window: The window to copy.
            seen: N shapes, including those of earlier copies.
            may_hide: Share of each that this copy may hide, float64 (N,).
            rng: Source of chance.
        """
        x1, y1, x2, y2 = window
        canvas = view.canvas
        factor = min(float(rng.uniform(*self.scale)), canvas.width / (x2 - x1), canvas.height / (y2 - y1))
        # Where the canvas bounds the factor, rounding may leave a little less than nothing.
        room = np.maximum([canvas.width - factor * (x2 - x1), canvas.height - factor * (y2 - y1)], 0.0)
        for _ in range(self.max_attempts):
            x, y = np.floor(rng.uniform(size=2) * room).tolist()
            patch = Patch(window, Affine(factor, 0.0, x - factor * x1, 0.0, factor, y - factor * y1))
            if (visible_fraction(seen, patch.target) <= may_hide).all() and _holds(view.region, patch.target):
                return patch
        return None

    def _window(self, points: npt.NDArray[np.float64], canvas: Canvas) -> Rect:
        """Return the whole pixels around points, with the margin, within the canvas."""
        low, high = points.min(axis=0), points.max(axis=0)
        margin = self.context * float((high - low).max())
        x1, y1 = (math.floor(max(v - margin, 0.0)) for v in low.tolist())
        x2, y2 = (
            math.ceil(min(max(v + margin, w + 1.0), side))
            for v, w, side in zip(high.tolist(), (x1, y1), (canvas.width, canvas.height), strict=True)
        )
        return float(x1), float(y1), float(x2), float(y2)


def _holds(region: npt.NDArray[np.float64], rect: Rect) -> bool:
    """Whether a convex region holds all of a rectangle."""
    if len(region) < 3:
        return False
    x1, y1, x2, y2 = rect
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    edges = np.roll(region, -1, axis=0) - region
    offsets = corners[:, None] - region
    side = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    return bool((side >= -1e-6).all() or (side <= 1e-6).all())
