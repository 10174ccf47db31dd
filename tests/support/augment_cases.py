"""One small scene, and the plan of some ops for it."""

from __future__ import annotations

from typing import Any

from dcap.augment import AugmentResult, Pipeline
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray

CANVAS = Canvas(96, 160)
SHAPES = ShapeArray.from_objects(
    [
        {"bbox_2d": [10, 8, 60, 40]},
        {"poly": [80, 10, 150, 20, 140, 80, 100, 50]},
        {"line": [5, 90, 70, 60, 155, 91]},
    ]
)
CAPTIONS = ("box", "poly", "line")


def plan(ops: list[dict[str, Any]], seed: int = 0, **config: Any) -> AugmentResult:
    pipeline = Pipeline.from_config({"ops": ops, **config})
    return pipeline.plan(CANVAS, SHAPES, generator(seed), CAPTIONS)


def plan_one(name: str, seed: int = 0, **params: Any) -> AugmentResult:
    return plan([{"name": name, "params": params}], seed)
