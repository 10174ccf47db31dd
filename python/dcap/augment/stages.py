"""Stages: the ops of a config, built and ready to draw."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from dcap.augment.config import AugmentConfig
from dcap.augment.ops.expand import ExpandToFitAffine
from dcap.augment.ops.window import Window
from dcap.augment.policy import OPS, Op
from dcap.core.config import build
from dcap.core.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """One op of a pipeline, ready to draw."""

    name: str
    prob: float
    op: Op
    keeps_outside: bool
    """Whether content outside the canvas may stay until the expansion that follows."""
    is_last_expansion: bool = False


def build_stages(config: AugmentConfig) -> tuple[Stage, ...]:
    """Return the ops of a config.

    Raises:
        ConfigError: An op or parameter is unknown (the message names the nearest), or an op refuses a value.
    """
    stages: list[Stage] = []
    for i, item in enumerate(config.ops):
        where = f"augmentation.ops[{i}]"
        op: Any = OPS.get(item.name, f"{where}.name")
        if not (isinstance(op, type) and is_dataclass(op)):
            raise ConfigError(f"{where}.name: op {item.name} must be a dataclass, its fields being its parameters")
        made: Any = build(op, item.params, f"{where}.params")
        check_rule(made, config, f"{where}.params")
        stages.append(Stage(item.name, item.prob, made, keeps_outside=False))
    last = max((i for i, s in enumerate(stages) if isinstance(s.op, ExpandToFitAffine)), default=-1)
    return tuple(replace(s, keeps_outside=i < last, is_last_expansion=i == last) for i, s in enumerate(stages))


def check_rule(op: Op, config: AugmentConfig, where: str) -> None:
    """Check that the texts that an op writes exist.

    Raises:
        ConfigError: They do not.
    """
    if isinstance(op, Window) and op.completeness_threshold and config.completeness is None:
        raise ConfigError(
            f"{where}.completeness_threshold must have a rule that it applies, not none. Add "
            "augmentation.completeness with the texts complete and partial, or leave the threshold out."
        )
