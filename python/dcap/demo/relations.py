"""What captions of scenes say beyond colour and kind: on which side of another shape one is, and how many there are.

Sides are those of the centres of the shapes' bounds. `relation_captions` gives them anew for shapes that have moved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dcap.geometry.shapes import ShapeArray

_SIDES = (("left of", "right of"), ("above", "below"))
"""For x and y, the side with the smaller and the one with the larger coordinate."""
_WITH_SIDE = re.compile(rf"(.+?) ({'|'.join(side for pair in _SIDES for side in pair)}) the (.+)", re.DOTALL)


def relation_captions(shapes: ShapeArray, captions: Sequence[str]) -> tuple[str, ...]:
    """Return captions whose sides are those of the shapes as they are now.

    ``red box left of the blue line`` becomes ``red box right of the blue line`` where the centre of the box's bounds
    is right of that of the line's. A caption stays as it is if it names no side, if both centres are level, or if not
    exactly one other shape has the name behind ``the``. Left and right stay a matter of x, above and below of y.

    Args:
        shapes: N shapes.
        captions: One per shape.
    """
    bounds, names = shapes.bounds(), [name_of(caption) for caption in captions]
    out = []
    for i, caption in enumerate(captions):
        match = _WITH_SIDE.fullmatch(caption)
        others = [] if match is None else [j for j, name in enumerate(names) if name == match[3] and j != i]
        if match is None or len(others) != 1:
            out.append(caption)
            continue
        axis = 0 if match[2] in _SIDES[0] else 1
        between = float(np.diff(_centers(bounds[[i, others[0]]]), axis=0)[0, axis])
        side = match[2] if between == 0 else _SIDES[axis][between < 0]
        out.append(f"{match[1]} {side} the {match[3]}")
    return tuple(out)


def name_of(caption: str) -> str:
    """Return a caption without a side: ``red box`` of ``red box left of the blue line``."""
    match = _WITH_SIDE.fullmatch(caption)
    return caption if match is None else match[1]


def related(names: Sequence[str], bounds: npt.NDArray[np.float64], only_x: bool) -> tuple[str, ...]:
    """Return captions with a side each; with fewer than two names, the names.

    Each shape refers to the one whose name comes next in the alphabet, and the last to the first. The side is that of
    the wider gap between their bounds.

    Args:
        names: N different names.
        bounds: Bounds of the shapes, float64 (N, 4). They do not overlap.
        only_x: Whether only left and right are named.
    """
    if len(names) < 2:
        return tuple(names)
    order = sorted(range(len(names)), key=names.__getitem__)
    following = {i: order[(k + 1) % len(order)] for k, i in enumerate(order)}
    out = []
    for i, name in enumerate(names):
        a, b = bounds[i], bounds[following[i]]
        gaps = np.maximum(b[:2] - a[2:], a[:2] - b[2:])
        axis = 0 if only_x else int(gaps.argmax())
        side = _SIDES[axis][bool(a[axis] > b[axis])]
        out.append(f"{name} {side} the {names[following[i]]}")
    return tuple(out)


def count_summary(captions: Sequence[str]) -> str:
    """Return how many shapes there are of each name, the most frequent first: ``2 red boxes, 1 blue line``."""
    counts = Counter(map(name_of, captions))
    parts = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name if count == 1 else _plural(name)}" for name, count in parts)


def _plural(name: str) -> str:
    return name + ("es" if name.endswith("x") else "s")


def _centers(bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (bounds[:, :2] + bounds[:, 2:]) / 2
