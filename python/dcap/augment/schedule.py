"""Curriculum: augmentation as a pure function of the training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dcap.augment.config import AugmentConfig, PhaseConfig
from dcap.augment.stages import Stage, check_rule
from dcap.core.config import build, to_tree
from dcap.core.errors import ConfigError, nearest_hint
from dcap.core.words import show

_TRIED = (1e-9, *(k / 16 for k in range(1, 16)), 1.0 - 1e-9)
"""Shares of a phase at which the config check tries its numbers. The legal values of a parameter have few gaps, and the
gaps are at the ends, such as between 0 for off and the least value."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """When a sample is trained on.

    Args:
        step: Optimiser steps made before, from 0.
        total: Steps of the whole run. Only phases in percent need it.

    Raises:
        ConfigError: The step is negative.
    """

    step: int
    total: int | None = None

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ConfigError(f"step must be at least 0, not {self.step}")


@dataclass(frozen=True, slots=True)
class Setting:
    """The numbers that a curriculum may change, at one moment."""

    bypass_prob: float = 0.0
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the training.

    Args:
        config: The end of the phase.
        setting: The values at its end.
    """

    config: PhaseConfig
    setting: Setting

    def end(self, total: int | None) -> float:
        """Return the step at which the phase ends.

        Raises:
            ConfigError: The end is in percent, and the total steps are unknown.
        """
        if self.config.until_step is not None:
            return self.config.until_step
        if total is None:
            raise ConfigError("augmentation.curriculum must have until_step where the number of steps is not known")
        return total * self.config.until / 100.0


@dataclass(frozen=True)
class Curriculum:
    """The phases of a training, built and checked.

    ::

        20 |                 ______     ops: [{name: rotate, params: {max_deg: 5}}]
        10 |        ________/           curriculum:
           |   ____/                      - {until_step: 400, ops: {rotate: {max_deg: 10}}}
         5 |__/                           - {until_step: 800, ops: {rotate: {max_deg: 20}}}
           0        400     800

    Args:
        start: The setting at the first step.
        phases: In order; without phases nothing changes.
        names: Position of the stage and name of the field, for all numbers that phases name. The position of
            ``bypass_prob`` is -1.
    """

    start: Setting = field(default_factory=Setting)
    phases: tuple[Phase, ...] = ()
    names: tuple[tuple[int, str], ...] = ()

    @classmethod
    def from_config(cls, config: AugmentConfig, stages: tuple[Stage, ...]) -> Curriculum:
        """Build from the ``augmentation:`` section.

        Args:
            config: The section.
            stages: Its ops.

        Raises:
            ConfigError: A phase names an op that is not in the config exactly once, a parameter that the op does not
                have or that is no number, or a value that the op refuses.
        """
        start = setting = Setting(config.bypass_prob, stages)
        phases: list[Phase] = []
        names: dict[tuple[int, str], None] = {}
        for k, phase in enumerate(config.curriculum):
            where = f"augmentation.curriculum[{k}]"
            before = setting
            if phase.bypass_prob is not None:
                setting = replace(setting, bypass_prob=phase.bypass_prob)
                names[-1, "bypass_prob"] = None
            for name, numbers in phase.ops.items():
                at = _position(stages, name, f"{where}.ops")
                changed = list(setting.stages)
                changed[at] = _changed(changed[at], numbers, config, f"{where}.ops.{name}")
                setting = replace(setting, stages=tuple(changed))
                names.update({(at, number): None for number in numbers})
            _check_between(before, setting, where)
            phases.append(Phase(phase, setting))
        return cls(start, tuple(phases), tuple(names))

    def at(self, when: TrainingStep) -> Setting:
        """Return the setting at a step.

        Raises:
            ConfigError: As `Phase.end`.
        """
        begin, setting = 0.0, self.start
        for phase in self.phases:
            end = phase.end(when.total)
            if when.step < end:
                return _mixed(setting, phase.setting, (when.step - begin) / (end - begin))
            begin, setting = end, phase.setting
        return setting

    def values(self, setting: Setting) -> Mapping[str, float]:
        """Return each number that some phase names, such as ``rotate.max_deg`` or ``random_crop.scale.0``."""
        out: dict[str, float] = {}
        for at, name in self.names:
            if at < 0:
                out[name] = setting.bypass_prob
                continue
            stage = setting.stages[at]
            value = stage.prob if name == "prob" else getattr(stage.op, name)
            if isinstance(value, tuple):
                out |= {f"{stage.name}.{name}.{i}": float(item) for i, item in enumerate(value)}
            else:
                out[f"{stage.name}.{name}"] = float(value)
        return out


def _position(stages: tuple[Stage, ...], name: str, where: str) -> int:
    found = [i for i, stage in enumerate(stages) if stage.name == name]
    if not found:
        hint = nearest_hint(name, {stage.name for stage in stages})
        raise ConfigError(f"{where}.{name} must be one of augmentation.ops{hint}")
    if len(found) > 1:
        raise ConfigError(f"{where}.{name} must be once in augmentation.ops, not {len(found)} times")
    return found[0]


def _changed(stage: Stage, numbers: Mapping[str, Any], config: AugmentConfig, where: str) -> Stage:
    prob = numbers.get("prob", stage.prob)
    if _count(prob) != 1 or not 0.0 <= prob <= 1.0:
        raise ConfigError(f"{where}.prob must be a number within 0..1, not {show(prob)}")
    given = {name: value for name, value in numbers.items() if name != "prob"}
    op: Any = stage.op
    changed = build(type(op), {**to_tree(op), **given}, where)
    check_rule(changed, config, where)
    for name in given:
        before, after = getattr(op, name), getattr(changed, name)
        if not _count(before) or _count(before) != _count(after):
            raise ConfigError(f"{where}.{name} must be made of numbers, to move from {show(before)} to {show(after)}")
    return replace(stage, prob=float(prob), op=changed)


def _count(value: Any) -> int:
    """The count of numbers in a value; 0 if it holds anything else."""
    items = value if isinstance(value, tuple) else (value,)
    return len(items) if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in items) else 0


def _check_between(start: Setting, end: Setting, where: str) -> None:
    for share in _TRIED:
        try:
            _mixed(start, end, share)
        except ConfigError as error:
            raise ConfigError(f"{where} must have legal values on the way to its end as well ({error})") from None


def _mixed(start: Setting, end: Setting, share: float) -> Setting:
    stages = zip(start.stages, end.stages, strict=True)
    return Setting(
        _between(start.bypass_prob, end.bypass_prob, share),
        tuple(a if a is b else _mixed_stage(a, b, share) for a, b in stages),
    )


def _mixed_stage(start: Stage, end: Stage, share: float) -> Stage:
    op: Any = start.op
    pairs = {each.name: (getattr(op, each.name), getattr(end.op, each.name)) for each in fields(op)}
    moved = {name: _between(x, y, share) for name, (x, y) in pairs.items() if x != y}
    return replace(start, prob=_between(start.prob, end.prob, share), op=replace(op, **moved))


def _between(start: Any, end: Any, share: float) -> Any:
    """The value on the line from `start` to `end`. Whole numbers stay whole; lists move number by number."""
    if isinstance(start, tuple):
        return tuple(_between(a, b, share) for a, b in zip(start, end, strict=True))
    value = start + share * (end - start)
    # A default may be a whole number where the parameter is not; the type that was read counts.
    return round(value) if isinstance(start, int) and isinstance(end, int) else value
