"""auto_contrast, clahe: contrast that depends on the image; each makes its own passes over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcap.augment.filters import MAX_TILES, LocalContrast, Stretch
from dcap.augment.policy import OPS, Recolor, View
from dcap.core.errors import ConfigError


@OPS.register("auto_contrast")
@dataclass(frozen=True)
class AutoContrast:
    """Stretch each channel until its darkest value is 0 and its brightest 255."""

    cutoff: float = 0.0
    """Share of pixels to ignore at the dark end of each channel, and as many at the bright end, 0..0.49."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.cutoff <= 0.49:
            raise ConfigError(f"cutoff must be within 0..0.49, not {self.cutoff}")

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Return the stretch; nothing is drawn."""
        return Recolor((Stretch(self.cutoff),), f"{self.cutoff:.1%} left out at each end")


@OPS.register("clahe")
@dataclass(frozen=True)
class Clahe:
    """Equalise the lightness tile by tile, with a limit on the gain (CLAHE)."""

    clip_limit: float = 4.0
    """Largest limit on the gain, as a multiple of the mean bin of a tile's histogram, at least 1. Each sample draws its
    limit evenly from [1, clip_limit]."""
    tile_grid: tuple[int, int] = (8, 8)
    """Rows and columns of tiles, 1..256."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.clip_limit <= 1e6:
            raise ConfigError(f"clip_limit must be within 1..1e6, not {self.clip_limit}")
        if not 1 <= min(self.tile_grid) <= max(self.tile_grid) <= MAX_TILES:
            raise ConfigError(f"tile_grid must have 1 to {MAX_TILES} rows and columns, not {self.tile_grid}")

    def sample(self, view: View, rng: np.random.Generator) -> Recolor:
        """Draw the limit."""
        limit = float(rng.uniform(1.0, self.clip_limit))
        rows, columns = self.tile_grid
        return Recolor((LocalContrast(limit, self.tile_grid),), f"limit {limit:.2f} on {rows}x{columns} tiles")
