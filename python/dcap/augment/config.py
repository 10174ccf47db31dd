"""The ``augmentation:`` section of a config."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

from dcap.core.errors import ConfigError


@dataclass(frozen=True)
class OpConfig:
    """One op of the pipeline, in the order in which it acts."""

    name: str
    """Registered name, such as ``hflip`` or ``random_crop``."""
    prob: float = 1.0
    """Chance that the op acts on a sample, 0..1."""
    params: dict[str, Any] = field(default_factory=dict)
    """Parameters of the op, see ``dcap schema --ops``; an unknown one is an error."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.prob <= 1.0:
            raise ConfigError(f"prob must be within 0..1, not {self.prob}")


@dataclass(frozen=True)
class Completeness:
    """How the text of an object says whether all of it is visible."""

    complete: str
    """Words of an object that is wholly visible, such as ``显示完整``."""
    partial: str
    """Words that take their place once a crop leaves too little of it, such as ``只显示部分``."""

    def __post_init__(self) -> None:
        if not self.complete or not self.partial:
            raise ConfigError("complete and partial must be texts of at least one character")
        if self.complete == self.partial:
            raise ConfigError(f"complete and partial must differ, not both be {self.partial!r}")

    def rewrite(self, caption: str) -> str:
        """Return the caption with `partial` for every `complete`; one that says `partial` already is left as it is."""
        # Cut at `partial` first: it may contain `complete`, as "incomplete" does.
        parts = caption.split(self.partial)
        return self.partial.join(part.replace(self.complete, self.partial) for part in parts)


@dataclass(frozen=True)
class PhaseConfig:
    """A part of the training, from the end of the phase before: numbers move in a line to what is given here.

    What a phase does not name stays as it is; after the last phase nothing changes any more.
    """

    until_percent: float | None = None
    """End of the phase, percent of all optimiser steps, above 0 and at most 100."""
    until_step: int | None = None
    """End of the phase, optimiser steps; all phases have the one or the other."""
    bypass_prob: float | None = None
    """``augmentation.bypass_prob`` at the end of the phase."""
    ops: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By op, numbers at the end of the phase: its ``prob`` and its numeric parameters."""

    def __post_init__(self) -> None:
        if (self.until_percent is None) == (self.until_step is None):
            raise ConfigError("until_percent or until_step must be given, and not both")
        if self.until_percent is not None and not 0.0 < self.until_percent <= 100.0:
            raise ConfigError(f"until_percent must be above 0 and at most 100, not {self.until_percent}")
        if self.until_step is not None and self.until_step < 1:
            raise ConfigError(f"until_step must be at least 1, not {self.until_step}")
        if self.bypass_prob is not None and not 0.0 <= self.bypass_prob <= 1.0:
            raise ConfigError(f"bypass_prob must be within 0..1, not {self.bypass_prob}")

    @property
    def until(self) -> float:
        """End of the phase, in whichever unit it is given."""
        return self.until_step or self.until_percent or 0.0


@dataclass(frozen=True)
class AugmentConfig:
    """What training samples undergo; validation and prediction never use it."""

    ops: tuple[OpConfig, ...] = ()
    """Ops in order; colour ones act after all geometry. ``dcap schema --ops`` lists them with their parameters."""
    bypass_prob: float = 0.0
    """Chance that a sample is left exactly as it is, 0..1."""
    interpolation: Literal["linear", "cubic"] = "linear"
    """Resampling of the one warp. Linear is faster and has the same bits on every CPU; cubic keeps more fine detail,
    and may differ by a level between kinds of CPU."""
    box_policy: Literal["polygon", "aabb"] = "polygon"
    """What a box becomes under a rotation: its exact four corners, or their bounding box."""
    split_policy: Literal["largest", "all"] = "largest"
    """What happens to a shape that a border cuts into parts: keep the largest, or all as objects of their own."""
    completeness: Completeness | None = None
    """Texts ``complete`` and ``partial``: what a crop's ``completeness_threshold`` writes, and in place of what."""
    curriculum: tuple[PhaseConfig, ...] = ()
    """Phases of the training, in order; numbers move from those above to those at each phase's end."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.bypass_prob <= 1.0:
            raise ConfigError(f"bypass_prob must be within 0..1, not {self.bypass_prob}")
        for i, (before, phase) in enumerate(itertools.pairwise(self.curriculum), 1):
            if (before.until_step is None) != (phase.until_step is None):
                raise ConfigError("curriculum must have phases by until_percent or by until_step, not by both")
            if phase.until <= before.until:
                raise ConfigError(f"curriculum[{i}] must end after {before.until:g}, the end of the phase before")
