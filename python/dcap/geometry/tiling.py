"""Tiling: the windows that cover a large image, known from its canvas alone.

::

    image     0 ............................... 2600     size 1024, overlap 0.2
    windows   0 ........ 1024
                     788 ........ 1812
                              1576 ............ 2600
    cells     0 ..... 906.25 ... 1694.25 ...... 2600     the part of the image that each window shows best
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcap.core.errors import GeometryError
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import Rect

MIN_TILE = 64
"""Smallest side of a tile, pixels: two vision tokens."""
MAX_OVERLAP = 0.9
MAX_TILES = 4096
"""Most tiles of one image."""

_OFF_GRID = 0.25
"""Cells end off whole and half pixels, so that no side of a drawn shape runs along their border."""


@dataclass(frozen=True, slots=True)
class TileWindow:
    """A window of whole pixels of an image.

    Args:
        x: Left column.
        y: Top row.
        height: Rows.
        width: Columns.
    """

    x: int
    y: int
    height: int
    width: int

    @property
    def canvas(self) -> Canvas:
        """The extent of the window."""
        return Canvas(self.height, self.width)

    @property
    def rect(self) -> Rect:
        """The window as x1, y1, x2, y2 in the pixel-edge frame of the image."""
        return (float(self.x), float(self.y), float(self.x + self.width), float(self.y + self.height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at ({self.x}, {self.y})"


@dataclass(frozen=True, slots=True)
class TilePlan:
    """The windows of one image, row by row; they cover it exactly.

    Args:
        canvas: Extent of the image.
        columns: First and last x of each column of windows.
        rows: First and last y of each row of windows.
    """

    canvas: Canvas
    columns: tuple[tuple[int, int], ...]
    rows: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    @property
    def windows(self) -> tuple[TileWindow, ...]:
        """All windows, row by row."""
        return tuple(self.window(k) for k in range(len(self)))

    def window(self, k: int) -> TileWindow:
        """Return window `k`, from 0."""
        row, column = divmod(k, len(self.columns))
        (x1, x2), (y1, y2) = self.columns[column], self.rows[row]
        return TileWindow(x=x1, y=y1, height=y2 - y1, width=x2 - x1)

    def cell(self, k: int) -> Rect:
        """Return the part of the image that window `k` shows best. The cells of all windows cover the image once.

        A border of cells is in the middle of the overlap of two windows, a quarter of a pixel off.
        """
        row, column = divmod(k, len(self.columns))
        (x1, x2), (y1, y2) = _cell(self.columns, column), _cell(self.rows, row)
        return (x1, y1, x2, y2)

    def inner_sides(self, k: int) -> tuple[bool, bool, bool, bool]:
        """Return which sides of window `k` (x1, y1, x2, y2) are inside the image, so that objects go on beyond them."""
        row, column = divmod(k, len(self.columns))
        return (column > 0, row > 0, column < len(self.columns) - 1, row < len(self.rows) - 1)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How images are cut into tiles: windows of one size that share a part with the next.

    Args:
        size: Side of a tile in pixels of the image file, at least `MIN_TILE`. A smaller image is one tile.
        overlap: Least share of its side that a tile has in common with the next, 0 to `MAX_OVERLAP`. Objects smaller
            than that are whole in some tile.

    Raises:
        GeometryError: A number is out of its range.
    """

    size: int
    overlap: float = 0.2

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int | np.integer) or self.size < MIN_TILE:
            raise GeometryError(
                f"size must be a whole number of at least {MIN_TILE} pixels, not {self.size}. Smaller tiles would show "
                "less than two vision tokens a side"
            )
        if isinstance(self.overlap, bool) or not 0.0 <= self.overlap <= MAX_OVERLAP:
            raise GeometryError(f"overlap must be a share within 0..{MAX_OVERLAP}, not {self.overlap}")

    def plan(self, canvas: Canvas) -> TilePlan:
        """Return the fewest windows that cover an image, evenly spread.

        A side that is longer than `size` has windows of exactly `size` pixels; a shorter one has one window.

        Raises:
            GeometryError: There would be more than `MAX_TILES`.
        """
        counts = [self._count(side) for side in (canvas.width, canvas.height)]
        if math.prod(counts) > MAX_TILES:
            raise GeometryError(
                f"width, height must need at most {MAX_TILES} tiles, not {math.prod(counts)} for {canvas.width} x "
                f"{canvas.height}. Make the tiles larger, or their overlap smaller"
            )
        columns, rows = (
            self._spans(side, count) for side, count in zip((canvas.width, canvas.height), counts, strict=True)
        )
        return TilePlan(canvas, columns, rows)

    def _count(self, side: int) -> int:
        # 1e-9: 0.2 of 1000 is 200 and not 201 where float noise is above it.
        stride = self.size - math.ceil(self.size * self.overlap - 1e-9)
        return 1 + max(0, -(-(side - self.size) // stride))

    def _spans(self, side: int, count: int) -> tuple[tuple[int, int], ...]:
        if count == 1:
            return ((0, side),)
        starts = [k * (side - self.size) // (count - 1) for k in range(count)]
        return tuple((start, start + self.size) for start in starts)


def _cell(spans: tuple[tuple[int, int], ...], k: int) -> tuple[float, float]:
    low = (spans[k - 1][1] + spans[k][0]) / 2 + _OFF_GRID if k else float(spans[0][0])
    high = (spans[k][1] + spans[k + 1][0]) / 2 + _OFF_GRID if k + 1 < len(spans) else float(spans[-1][1])
    return low, high
