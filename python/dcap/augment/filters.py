"""Colour steps that look at more than one pixel; each makes its own pass.

The first two see the image with its border pixels repeated in the area that becomes grey later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from dcap.augment.color import COLOR_STEPS, VALUES, Image, Table, check_range, rounded

MAX_TILES = 256
"""Most rows, and most columns, of tiles."""


@COLOR_STEPS.register("stretch")
@dataclass(frozen=True, slots=True)
class Stretch:
    """Stretch each channel to 0..255; as `PIL.ImageOps.autocontrast`, but rounded instead of cut off.

    Args:
        cutoff: Share of pixels to ignore at the dark end of each channel, and as many at the bright end, 0..0.5.
    """

    cutoff: float

    def __post_init__(self) -> None:
        check_range("cutoff", self.cutoff, 0.0, 0.5)

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        tables = [self._table(image[..., channel]) for channel in range(3)]
        return np.asarray(cv2.LUT(image, np.stack(tables, axis=-1)[None]), np.uint8)

    def _table(self, channel: Image) -> Table:
        counts = np.bincount(channel.ravel(), minlength=256)
        cut = int(channel.size * self.cutoff)
        low = int(np.argmax(counts.cumsum() > cut))
        high = 255 - int(np.argmax(counts[::-1].cumsum() > cut))
        return rounded(VALUES if high <= low else (VALUES - low) * (255.0 / (high - low)))


@COLOR_STEPS.register("local_contrast")
@dataclass(frozen=True, slots=True)
class LocalContrast:
    """Equalise the lightness of each tile, with a limit on the contrast it may gain (CLAHE), in the Lab space.

    Args:
        clip_limit: Largest bin of a tile's histogram, as a multiple of the mean bin.
        tile_grid: Rows and columns of tiles, 1 to `MAX_TILES` each.
    """

    keeps_colors: ClassVar[bool] = True
    clip_limit: float
    tile_grid: tuple[int, int]

    def __post_init__(self) -> None:
        check_range("clip_limit", self.clip_limit, 0.0, 1e6)
        for side in self.tile_grid:
            check_range("tile_grid", side, 1, MAX_TILES)

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(self.clip_limit, self.tile_grid[::-1]).apply(lab[..., 0])
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


@COLOR_STEPS.register("sharpness_blend")
@dataclass(frozen=True, slots=True)
class SharpnessBlend:
    """Blend with the smoothed image; as `PIL.ImageEnhance.Sharpness`, which leaves the outermost pixels alone.

    Values may differ by a level between kinds of CPU.

    Args:
        factor: 0 is smooth, 1 leaves the image as it is, above 1 sharpens.
    """

    keeps_colors: ClassVar[bool] = True
    factor: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        kernel = np.ones((3, 3))
        kernel[1, 1] = 5.0
        kernel *= (1.0 - self.factor) / kernel.sum()
        kernel[1, 1] += self.factor
        return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)
