"""The ``augmentation:`` section of a config."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dcap.augment.word_tables import WORD_TABLES, Language
from dcap.core.config import check_fields
from dcap.core.errors import ConfigError


@dataclass(frozen=True)
class OpConfig:
    """One op of the pipeline."""

    name: str
    """Registered name, such as ``hflip`` or ``random_crop``."""
    prob: float = 1.0
    """Chance that the op acts on a sample, 0..1."""
    params: dict[str, Any] = field(default_factory=dict)
    """Parameters of the op; ``dcap schema --ops`` lists them. An unknown one is an error."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.prob <= 1.0:
            raise ConfigError(f"prob must be within 0..1, not {self.prob}")


@dataclass(frozen=True)
class Completeness:
    """Words in the text of an object that say whether all of it is visible."""

    complete: str
    """Words in the text of an object that is wholly visible, such as ``显示完整``."""
    partial: str
    """Words that replace them when a crop leaves too little of the object, such as ``只显示部分``."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.complete or not self.partial:
            raise ConfigError("complete and partial must be texts of at least one character")
        if self.complete == self.partial:
            raise ConfigError(f"complete and partial must differ, not both be {self.partial!r}")

    def rewrite(self, caption: str) -> str:
        """Return the caption with every `complete` replaced by `partial`. A `partial` that is there already stays."""
        # Cut at `partial` first: it may contain `complete`, as "incomplete" does.
        parts = caption.split(self.partial)
        return self.partial.join(part.replace(self.complete, self.partial) for part in parts)


@dataclass(frozen=True)
class WordsConfig:
    """How the words of a sample stay true when its image is turned, mirrored, recoloured or cropped.

    The words are those of captions, attributes and the summary. ``dcap guide words`` lists them.
    """

    languages: tuple[Language, ...] = ("en", "zh")
    """Languages whose words are known. Empty: only the own words below."""
    mirror: Literal["swap", "skip", "keep"] = "swap"
    """What happens when an op would make words of direction false, such as "left" in a mirrored image. ``swap``: the
    text says the opposite. ``skip``: the op does not act. ``keep``: nothing; the text is false."""
    colour: Literal["skip", "keep"] = "skip"
    """What happens when an op would make names of colours false. ``skip``: the op does not act. ``keep``: nothing."""
    readable_text: Literal["auto", "always", "never"] = "auto"
    """Which images are never mirrored, because their writing could not be read. ``auto``: those of samples whose texts
    quote what is written; ``always``: all; ``never``: no image is held back."""
    summary_crop: Literal["skip", "allow"] = "skip"
    """What happens when an op would drop or copy objects in summary mode. ``skip``: the op does not act, because the
    summary may speak of them. ``allow``: it acts."""
    left_right: tuple[tuple[str, str], ...] = ()
    """Own pairs of words that a mirror image swaps, such as ``[port, starboard]``. Quarter turns skip samples that have
    them."""
    top_bottom: tuple[tuple[str, str], ...] = ()
    """Own pairs of words that an image upside down swaps, such as ``[ceiling, floor]``."""
    colours: tuple[str, ...] = ()
    """Own names of colours."""
    exceptions: tuple[str, ...] = ()
    """Own texts in which such words mean something else and stay, such as ``Left Bank``. A word alone is kept wherever
    it is."""
    text_keys: tuple[str, ...] = ()
    """Own keys before what can be read in the image: ``sign`` for ``sign: STOP``, ``sign=STOP``, or an attribute."""

    def with_all_rules(self) -> WordsConfig:
        """Return the same words with every rule switched on."""
        return replace(
            self,
            mirror="swap" if self.mirror == "keep" else self.mirror,
            colour="skip",
            readable_text="auto" if self.readable_text == "never" else self.readable_text,
            summary_crop="skip",
        )

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("colours", "exceptions", "text_keys"):
            if not all(text.strip() for text in getattr(self, name)):
                raise ConfigError(f"{name} must be texts of at least one letter")
        known = {w for each in self.languages for row in WORD_TABLES[each].sides for w in row if w is not None}
        for name in ("left_right", "top_bottom"):
            for i, pair in enumerate(getattr(self, name)):
                for word in map(str.lower, pair):
                    taken = sorted(known & {word, *word.replace("-", " ").replace("_", " ").split(), *word})
                    if not word.strip() or taken:
                        why = f"hold {taken[0]!r}, which has a pair already" if taken else "be empty"
                        raise ConfigError(f"{name}[{i}] must be two words of their own, and {word!r} must not {why}")
                    known.add(word)


@dataclass(frozen=True)
class PhaseConfig:
    """A part of the training. It begins where the phase before it ends.

    The numbers named here move linearly to the values given here. Other numbers do not change. Nothing changes after
    the last phase.
    """

    until_percent: float | None = None
    """End of the phase in percent of all optimiser steps, above 0 and at most 100. `null`: `until_step` is given."""
    until_step: int | None = None
    """End of the phase in optimiser steps. `null`: `until_percent` is given. All phases use the same one of the two."""
    bypass_prob: float | None = None
    """``augmentation.bypass_prob`` at the end of the phase. `null`: it does not change."""
    ops: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each op, its numbers at the end of the phase: ``prob`` and numeric parameters."""

    def __post_init__(self) -> None:
        check_fields(self)
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
        """End of the phase, in percent or in steps."""
        return self.until_step or self.until_percent or 0.0


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training samples. Validation and prediction never use it."""

    ops: tuple[OpConfig, ...] = ()
    """Ops in the order in which they act. Colour ops act after all geometric ops. ``dcap schema --ops`` lists all ops
    with their parameters."""
    bypass_prob: float = 0.0
    """Chance that a sample is not augmented at all, 0..1."""
    interpolation: Literal["linear", "cubic"] = "linear"
    """How pixels are resampled. ``linear`` is faster and gives the same bits on every CPU; ``cubic`` keeps more fine
    detail and may differ by one grey level between kinds of CPU."""
    box_policy: Literal["polygon", "aabb"] = "polygon"
    """What a rotated box becomes. ``polygon``: its exact four corners; ``aabb``: the upright box around them."""
    split_policy: Literal["largest", "all"] = "largest"
    """What remains of a shape that a border cuts into parts. ``largest``: the largest visible part after the
    last op; ``all``: every part, each as an object of its own. The same holds for shapes that the border of the image
    cuts already in the file."""
    completeness: Completeness | None = None
    """Words that say whether an object is wholly visible. A crop with a ``completeness_threshold`` replaces
    ``complete`` by ``partial``. `null`: texts are not rewritten."""
    words: WordsConfig = field(default_factory=WordsConfig)
    """How captions, attributes and summaries stay true: "left" in a mirrored image becomes "right"."""
    curriculum: tuple[PhaseConfig, ...] = ()
    """Phases of the training, in order. Each moves numbers of the ops to new values."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.bypass_prob <= 1.0:
            raise ConfigError(f"bypass_prob must be within 0..1, not {self.bypass_prob}")
        for i, (before, phase) in enumerate(itertools.pairwise(self.curriculum), 1):
            if (before.until_step is None) != (phase.until_step is None):
                raise ConfigError("curriculum must have phases by until_percent or by until_step, not by both")
            if phase.until <= before.until:
                raise ConfigError(f"curriculum[{i}] must end after {before.until:g}, the end of the phase before")
