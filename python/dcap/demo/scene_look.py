"""The look of scenes: canvas, number, kinds, colours and sizes of shapes, and the grounds; one for each level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

SceneKind = Literal["box", "triangle", "polygon", "star", "arrow", "line"]
"""Kinds of shapes; captions name them so. A polygon is convex here; star and arrow are concave."""
SceneColor = Literal["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"]
"""Names of colours, as captions have them."""
SceneGround = Literal["plain", "gradient", "texture", "dark"]
"""What is behind the shapes: one colour, two that flow into each other, these with clouds; or one that is always dark,
where the others may be pale as well."""
SceneRelations = Literal["none", "left_right", "all"]
"""Which sides captions speak of: none, left and right only, or above and below too."""
SceneLevel = Literal["single", "easy", "medium", "hard"]
"""Names of the looks in `LEVELS`."""

RGB: Mapping[str, tuple[int, int, int]] = {
    "red": (222, 45, 48),
    "orange": (245, 132, 31),
    "yellow": (250, 208, 44),
    "green": (48, 160, 76),
    "cyan": (38, 190, 205),
    "blue": (42, 96, 214),
    "purple": (132, 70, 190),
    "pink": (242, 120, 178),
}
"""Each colour of `SceneColor`, 0..255."""


@dataclass(frozen=True)
class SceneLook:
    """How the scenes of a data set look. Lengths are shares of the canvas's shorter side."""

    width: int
    """Columns of the canvas."""
    height: int
    """Rows of the canvas."""
    min_objects: int
    """Fewest shapes of a scene; where the canvas has no room for them, there are fewer."""
    max_objects: int
    """Most shapes of a scene."""
    kinds: tuple[SceneKind, ...]
    """Kinds of shapes."""
    colors: tuple[SceneColor, ...]
    """Colours of shapes."""
    grounds: tuple[SceneGround, ...]
    """Grounds, one of them behind each scene."""
    occlusion: bool
    """Whether shapes may hide parts of others."""
    relations: SceneRelations = "none"
    """Which relations captions name."""
    least_radius: float = 0.12
    """Smallest half extent of a shape."""
    largest_radius: float = 0.24
    """Largest half extent of a shape."""
    gap: float = 0.03
    """Least distance between the bounds of two shapes that may not overlap."""
    color_spread: int = 0
    """Most that each channel of a colour differs from `RGB`."""


LEVELS: Mapping[SceneLevel, SceneLook] = {
    "single": SceneLook(
        128, 128, 1, 1, ("box", "triangle", "line"), ("red", "yellow", "green", "blue"), ("dark",), occlusion=False,
        least_radius=0.14, largest_radius=0.38, gap=0.05, color_spread=6,
    ),
    "easy": SceneLook(
        128, 128, 1, 3, ("box", "triangle", "line"), ("red", "yellow", "green", "blue"), ("plain",), occlusion=False,
        gap=0.05, color_spread=6,
    ),
    "medium": SceneLook(
        192, 192, 2, 5, ("box", "triangle", "polygon", "star", "line"),
        ("red", "orange", "yellow", "green", "blue", "purple"), ("plain", "gradient"), occlusion=False,
        least_radius=0.08, largest_radius=0.2, color_spread=10,
    ),
    "hard": SceneLook(
        320, 256, 4, 9, get_args(SceneKind), get_args(SceneColor), ("plain", "gradient", "texture"), occlusion=True,
        least_radius=0.07, largest_radius=0.24, color_spread=14,
    ),
}  # fmt: skip
