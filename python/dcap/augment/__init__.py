"""Geometry-aware augmentation: plan without pixels, render once. Usable without any model.

Example:
    pipeline = Pipeline.from_config([{"name": "hflip", "prob": 0.5}, {"name": "rotate", "params": {"max_deg": 10}}])
    result = pipeline(Scene(canvas, shapes, captions, image), generator(seed, epoch, index))
"""

from dcap.augment import ops as _ops  # noqa: F401 - registers the ops that dcap ships
from dcap.augment.config import AugmentConfig, OpConfig
from dcap.augment.pipeline import Pipeline
from dcap.augment.plan import AugmentResult, Plan
from dcap.augment.policy import OPS
from dcap.augment.rendering import render, render_patches
from dcap.augment.scene import Scene
from dcap.augment.telemetry import Telemetry

register = OPS.register
"""Decorator that adds an op: ``@register("my_op")``."""

__all__ = [
    "OPS",
    "AugmentConfig",
    "AugmentResult",
    "OpConfig",
    "Pipeline",
    "Plan",
    "Scene",
    "Telemetry",
    "register",
    "render",
    "render_patches",
]
