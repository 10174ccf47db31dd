"""random_crop, roi_crop: keep a window of whole pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcap.augment.ops.window import Window
from dcap.augment.policy import OPS, DropRules, Skip, View, Warp
from dcap.core.errors import ConfigError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas


@dataclass(frozen=True, kw_only=True)
class Crop(Window):
    """Rules that all crops share. A crop resizes nothing."""

    min_objects: int = 1
    """Skip the crop when fewer objects would remain. In an image with fewer objects, skip it when any would be lost."""
    skip_if_line: bool = False
    """Skip the crop when it would cut or drop a line."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_objects < 0:
            raise ConfigError(f"min_objects must be at least 0, not {self.min_objects}")

    @property
    def canvas_multiple(self) -> int:
        """The sides of the new canvas are multiples of this number."""
        return 1

    def _window(self, x: int, y: int, height: int, width: int, of: str = "") -> Warp:
        rules = DropRules(self.min_coverage, self.completeness_threshold, self.min_objects, self.skip_if_line)
        words = f"{width}x{height} window at ({x}, {y}){of}"
        return Warp(Affine.translation(-x, -y), Canvas(height, width), words, rules, cuts=True)


@OPS.register("random_crop")
@dataclass(frozen=True, kw_only=True)
class RandomCrop(Crop):
    """Keep a window of random size and shape."""

    scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest share of the canvas's area, drawn evenly, 0..1."""
    aspect_ratio: tuple[float, float] = (0.75, 4 / 3)
    """Smallest and largest width / height of the window, relative to the canvas's own; drawn evenly on a log scale,
    so that 1/2 is as likely as 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.scale[0] <= self.scale[1] <= 1.0:
            raise ConfigError(f"scale must fulfil 0 < lo <= hi <= 1, not {self.scale}")
        if not 0.0 < self.aspect_ratio[0] <= self.aspect_ratio[1]:
            raise ConfigError(f"aspect_ratio must fulfil 0 < lo <= hi, not {self.aspect_ratio}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        """Draw the window."""
        share = float(rng.uniform(*self.scale))
        ratio = math.exp(float(rng.uniform(*np.log(self.aspect_ratio))))
        width = _side(view.canvas.width, math.sqrt(share * ratio))
        height = _side(view.canvas.height, math.sqrt(share / ratio))
        x = int(rng.integers(view.canvas.width - width + 1))
        y = int(rng.integers(view.canvas.height - height + 1))
        return self._window(x, y, height, width)


@OPS.register("roi_crop")
@dataclass(frozen=True, kw_only=True)
class RoiCrop(Crop):
    """Keep a window around one random object. The whole object stays visible."""

    anchors: tuple[str, ...] = ()
    """The text of the object must contain at least one of these texts. Empty: any object can be chosen."""
    scale_range: tuple[float, float] = (1.2, 3.0)
    """Smallest and largest side of the window, as a multiple of the side of the object's bounding box, drawn evenly, at
    least 1."""
    min_crop_size: int = 64
    """Smallest side of the window, pixels. On a smaller canvas, the side of the canvas."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(self.anchors):
            raise ConfigError("anchors must be texts of at least one character. Leave anchors out for any object.")
        if not 1.0 <= self.scale_range[0] <= self.scale_range[1]:
            raise ConfigError(f"scale_range must fulfil 1 <= lo <= hi, not {self.scale_range}")
        if self.min_crop_size < 1:
            raise ConfigError(f"min_crop_size must be at least 1, not {self.min_crop_size}")

    def sample(self, view: View, rng: np.random.Generator) -> Warp | Skip:
        """Draw the object, the factor, and the object's place in the window."""
        low, high = np.split(view.shapes.bounds(), 2, axis=1)
        size = np.array([view.canvas.width, view.canvas.height])
        on_canvas = ((low <= size) & (high >= 0)).all(axis=1)
        captions = view.captions
        found = [i for i in np.flatnonzero(on_canvas).tolist() if self._is_anchor(captions[i])]
        if not found:
            return Skip("no object has an anchor in its text" if self.anchors else "there is no object")
        chosen = found[int(rng.integers(len(found)))]
        factor = float(rng.uniform(*self.scale_range))
        spans = zip(np.clip(low[chosen], 0, size).tolist(), np.clip(high[chosen], 0, size).tolist(), strict=True)
        (x, width), (y, height) = (
            self._span(math.floor(a), math.ceil(b), factor * (b - a), full, rng)
            for (a, b), full in zip(spans, size.tolist(), strict=True)
        )
        return self._window(x, y, height, width, f" around {captions[chosen]!r}")

    def _is_anchor(self, caption: str) -> bool:
        return not self.anchors or any(anchor in caption for anchor in self.anchors)

    def _span(self, start: int, end: int, side: float, full: int, rng: np.random.Generator) -> tuple[int, int]:
        """Draw the window of about `side` pixels that holds start..end, within 0..full; return start and length."""
        length = min(full, max(round(side), end - start, self.min_crop_size))
        first, last = max(0, end - length), min(start, full - length)
        return int(rng.integers(first, last + 1)), length


def _side(full: int, share: float) -> int:
    return min(full, max(1, round(full * share)))
