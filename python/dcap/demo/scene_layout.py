"""The layout of a scene: which shapes there are, where, and what shows of each.

With occlusion a shape may hide parts of those below it. The label of a hidden shape is then what shows of it: for a
line the visible stretch of its middle, else exactly the shape less all that is painted over it
(`dcap.geometry.clipping.difference`). A place is taken only if every shape below goes on to show in one part without
holes, and enough of it; so there is no part without a label, and no label without a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dcap.demo.scene_look import RGB, SceneColor, SceneKind, SceneLook
from dcap.demo.scene_shapes import Bounds, SceneShape, draw_shape
from dcap.geometry.clipping import difference
from dcap.geometry.shapes import GeometryKind, ShapeArray

LEAST_SHOWN = 0.4
"""Smallest share of a shape that shows."""
_MOST_BURIED = 0.1
"""Largest difference between the visible shares of a stroke and of its middle."""
_TRIES = 40
_SHRINK = 0.97
_MARGIN = 0.02
_LEAST_COLUMN = 0.15
"""With left and right only: least width of a shape's column, as a share of the canvas's shorter side."""
_LEVEL = 0.5
"""With left and right only: how far two neighbours may be above each other, as a share of their distance."""


@dataclass(slots=True)
class SceneLayout:
    """The shapes of a scene, from the lowest to the topmost, with what shows of them."""

    shapes: list[SceneShape] = field(default_factory=list)
    bounds: list[Bounds] = field(default_factory=list)
    """Bounds of what is painted of each, whether or not it shows."""
    visible: list[ShapeArray] = field(default_factory=list)
    """What shows of each: one shape."""
    visible_fraction: list[float] = field(default_factory=list)
    """Share of each shape that shows; of a line, of its length."""

    def add(self, shape: SceneShape) -> bool:
        """Put a shape on top if the others go on to show enough; return whether it was put there.

        It may hide parts of shapes of other colours only: else nobody could see where it ends.
        """
        bounds = shape.bounds
        hidden: dict[int, tuple[ShapeArray, float]] = {}
        for i, below in enumerate(self.shapes):
            if not _meet(bounds, self.bounds[i]):
                continue
            covers = [other.painted() for other in (*self.shapes[i + 1 :], shape)]
            seen = None if below.color == shape.color else _seen(below, ShapeArray.concatenate(covers))
            if seen is None:
                return False
            hidden[i] = seen
        for i, (part, share) in hidden.items():
            self.visible[i], self.visible_fraction[i] = part, share
        self.shapes.append(shape)
        self.bounds.append(bounds)
        self.visible.append(shape.label())
        self.visible_fraction.append(1.0)
        return True


def lay_out(look: SceneLook, rng: np.random.Generator) -> SceneLayout:
    """Return the shapes of a new scene.

    Args:
        look: How scenes look.
        rng: Source of chance.
    """
    layout, unit = SceneLayout(), min(look.width, look.height)
    names = _names(look, rng)
    for (color, kind), region in zip(names, _regions(look, len(names), rng), strict=True):
        radius = unit * rng.uniform(look.least_radius, look.largest_radius)
        spread = rng.integers(-look.color_spread, look.color_spread, 3, endpoint=True)
        red, green, blue = np.clip(RGB[color] + spread, 0, 255).tolist()
        shape = draw_shape(kind, color, (red, green, blue), radius, rng)
        near = [] if look.occlusion else layout.bounds
        for placed in _places(shape, region, near, unit * look.gap, rng):
            if layout.add(placed):
                break
    return layout


def _names(look: SceneLook, rng: np.random.Generator) -> list[tuple[SceneColor, SceneKind]]:
    """Return colour and kind of each shape; all different where captions must tell the shapes apart."""
    names = [(color, kind) for color in look.colors for kind in look.kinds]
    is_related = look.relations != "none"
    least, most = look.min_objects, look.max_objects
    if is_related:
        most = min(most, len(names))
        if look.relations == "left_right":
            most = min(most, int(look.width / (_LEAST_COLUMN * min(look.width, look.height))))
        least = min(max(least, 2), most)
    count = int(rng.integers(least, most, endpoint=True))
    return [names[k] for k in rng.choice(len(names), count, replace=not is_related).tolist()]


def _regions(look: SceneLook, count: int, rng: np.random.Generator) -> list[Bounds]:
    """Return where each shape may be: on the whole canvas, or in a column of its own, level with the others."""
    unit = min(look.width, look.height)
    margin = _MARGIN * unit
    x1, y1, x2, y2 = margin, margin, look.width - margin, look.height - margin
    if look.relations != "left_right":
        return [(x1, y1, x2, y2)] * count
    width, gap = look.width / count, look.gap * unit
    reach = max(_LEVEL * width, look.largest_radius * unit) / 2
    middle = rng.uniform(0.3, 0.7) * look.height
    y1, y2 = max(y1, middle - reach), min(y2, middle + reach)
    columns = [(max(x1, k * width + gap / 2), y1, min(x2, (k + 1) * width - gap / 2), y2) for k in range(count)]
    return [columns[k] for k in rng.permutation(count).tolist()]


def _places(
    shape: SceneShape, region: Bounds, others: Sequence[Bounds], gap: float, rng: np.random.Generator
) -> Iterator[SceneShape]:
    """Yield the shape at random places inside a region and away from others, smaller from one to the next."""
    x1, y1, x2, y2 = shape.bounds
    for k, (share_x, share_y) in enumerate(rng.random((_TRIES, 2)).tolist()):
        scale = _SHRINK**k
        room_x, room_y = region[2] - region[0] - (x2 - x1) * scale, region[3] - region[1] - (y2 - y1) * scale
        if room_x < 0 or room_y < 0:
            continue
        x, y = region[0] + share_x * room_x - x1 * scale, region[1] + share_y * room_y - y1 * scale
        grown = (x1 * scale + x - gap, y1 * scale + y - gap, x2 * scale + x + gap, y2 * scale + y + gap)
        if not any(_meet(grown, other) for other in others):
            yield shape.placed(scale, (x, y))


def _meet(a: Bounds, b: Bounds) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _seen(shape: SceneShape, covers: ShapeArray) -> tuple[ShapeArray, float] | None:
    """Return what shows of a shape below others, and its share. `None`: too little, or not in one part."""
    label = _one_part(shape.label(), covers)
    if label is None or label[1] < LEAST_SHOWN:
        return None
    if shape.geometry is GeometryKind.LINE:
        stroke = _one_part(shape.painted(), covers)
        if stroke is None or abs(stroke[1] - label[1]) > _MOST_BURIED:
            return None
    return label


def _one_part(shape: ShapeArray, covers: ShapeArray) -> tuple[ShapeArray, float] | None:
    parts = difference(shape, covers)
    # The seam between a hole and the outline passes its ends twice.
    if len(parts.shapes) != 1 or len(np.unique(parts.shapes.xy, axis=0)) < len(parts.shapes.xy):
        return None
    return parts.shapes, float(parts.visible_fraction[0])
