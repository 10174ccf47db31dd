"""Turn: what a map does to left, right, top and bottom."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dcap.geometry.affine import Affine

_NOISE: Final = 1e-9
"""Share of a coefficient that is float noise."""


class Direction(IntEnum):
    """A direction on screen."""

    LEFT = 0
    RIGHT = 1
    TOP = 2
    BOTTOM = 3

    @property
    def opposite(self) -> Direction:
        """The other side of the same axis."""
        return Direction(self ^ 1)

    @property
    def is_vertical(self) -> bool:
        """Whether it is top or bottom."""
        return self >= Direction.TOP


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways to lay a square on itself.

    ::

        hflip   right=LEFT, bottom=BOTTOM       a quarter clockwise   right=BOTTOM, bottom=LEFT

    Args:
        right: Where the right side of the source is in the end.
        bottom: Where its bottom is; on the other axis.
    """

    right: Direction
    bottom: Direction

    @classmethod
    def of(cls, affine: Affine) -> Turn:
        """Return the turn that is nearest to a map, read off the signs of its columns.

        A turn by up to 45 degrees is none. Scaling along the axes, before or after, does not matter.
        """
        if abs(affine.b * affine.d) > abs(affine.a * affine.e) * (1.0 + _NOISE):
            right = Direction.BOTTOM if affine.d > 0.0 else Direction.TOP
            bottom = Direction.RIGHT if affine.b > 0.0 else Direction.LEFT
        else:
            right = Direction.RIGHT if affine.a > 0.0 else Direction.LEFT
            bottom = Direction.BOTTOM if affine.e > 0.0 else Direction.TOP
        return cls(right, bottom)

    def __getitem__(self, side: Direction) -> Direction:
        """Where a side of the source is in the end."""
        of = self.bottom if side.is_vertical else self.right
        return of if side in (Direction.RIGHT, Direction.BOTTOM) else of.opposite

    def __matmul__(self, first: Turn) -> Turn:
        """Return "first `first`, then this", as with maps."""
        return Turn(self[first.right], self[first.bottom])

    @property
    def is_quarter(self) -> bool:
        """Whether left and right become top and bottom."""
        return self.right.is_vertical

    @property
    def is_mirror(self) -> bool:
        """Whether it shows writing mirrored."""
        if self.is_quarter:
            return (self.right is Direction.BOTTOM) == (self.bottom is Direction.RIGHT)
        return (self.right is Direction.RIGHT) != (self.bottom is Direction.BOTTOM)


NO_TURN: Final = Turn(Direction.RIGHT, Direction.BOTTOM)


def is_clear(affine: Affine) -> bool:
    """Whether words of direction stay true under a map: a mirror image, a quarter turn, or less than 45 degrees.

    A turn by more than 45 degrees that is no quarter turn leaves no word that is true.
    """
    turn = Turn.of(affine)
    if not turn.is_quarter and (turn == NO_TURN or turn.is_mirror):
        return True
    a, b, d, e = (abs(v) for v in (affine.a, affine.b, affine.d, affine.e))
    kept, lost = (max(b, d), max(a, e)) if turn.is_quarter else (max(a, e), max(b, d))
    return lost <= _NOISE * kept
