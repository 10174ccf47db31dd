"""Labels as other trainers make them, on the very pixels that dcap makes: what the ablation compares exact labels with.

dcap itself has no such option. A pipeline here plans as dcap does, and then writes other labels over the exact ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dcap.augment.pipeline import Fit, Pipeline
from dcap.augment.plan import AugmentResult
from dcap.geometry import Affine, Canvas, GeometryKind, ShapeArray, clip, min_area_rect, transform

Relabel = Callable[[ShapeArray, AugmentResult], ShapeArray]
"""From the shapes of a record, and what its pixels undergo, to as many labels on the final canvas."""


def as_by_hand(shapes: ShapeArray, result: AugmentResult) -> ShapeArray:
    """Labels as the public Python pipeline makes them.

    - A mirrored point is at W - 1 - x, one pixel off.
    - A cut polygon becomes the smallest rectangle around what is left of it.
    - The points of lines, and of what is wholly outside, are moved to the border; nothing leaves the answer.
    """
    affine, canvas = result.plan.affine, result.scene.canvas
    if affine.determinant < 0:  # mirrored first: W - 1 - x is where the point one pixel to its right belongs
        affine = affine @ Affine.translation(1.0, 0.0)
    mapped = transform(shapes, affine)
    left = clip(mapped, canvas, "largest")
    part_of = {int(i): k for k, i in enumerate(left.source_index)}
    points = []
    for i, (kind, own) in enumerate(mapped):
        part = left.shapes.take([part_of[i]]) if i in part_of else None
        is_cut_region = part is not None and kind is not GeometryKind.LINE and left.visible_fraction[part_of[i]] < 1.0
        if is_cut_region:
            own = part.points(0) if kind is GeometryKind.BOX else min_area_rect(part)[0]
        points.append(np.clip(own, 0.0, [canvas.width, canvas.height]))
    return ShapeArray.from_points(points, mapped.kinds)


def as_in_the_file(shapes: ShapeArray, result: AugmentResult) -> ShapeArray:
    """Labels of the file, whatever becomes of the pixels: trainers whose image transforms know no labels."""
    source, canvas = result.plan.source, result.scene.canvas
    return transform(shapes, Affine.scaling(canvas.width / source.width, canvas.height / source.height))


@dataclass(frozen=True)
class OtherLabels(Pipeline):
    """A pipeline with other labels; it draws the same, and its pixels are the same."""

    relabel: Relabel = as_in_the_file

    def plan(
        self,
        canvas: Canvas,
        shapes: ShapeArray,
        rng: np.random.Generator | int,
        captions: Sequence[str] | None = None,
        fit: Fit | None = None,
        **rest: Any,
    ) -> AugmentResult:
        result = super().plan(canvas, shapes, rng, captions, fit, **rest)
        labels, texts = self.relabel(shapes, result), tuple(captions or [""] * len(shapes))
        return replace(
            result,
            scene=replace(result.scene, shapes=labels, captions=texts),
            source_index=np.arange(len(labels)),
            visible_fraction=np.ones(len(labels)),
            is_copy=np.zeros(len(labels), np.bool_),
        )
