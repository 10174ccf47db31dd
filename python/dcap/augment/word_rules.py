"""Word rules: which effects would make a text of a sample false, so that the op must not act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dcap.augment.color import ColorStep, why_colors_alter
from dcap.augment.config import WordsConfig
from dcap.augment.lexicon import NOTHING_FOUND, WordsFound, lexicon_of
from dcap.augment.policy import Copy, Recolor, Transform, Warp
from dcap.augment.texts import Texts
from dcap.augment.turn import NO_TURN, Turn, is_clear
from dcap.core.words import counted, show
from dcap.geometry.affine import Affine

QUOTED: Final = "quoted text"
SUMMARY: Final = "summary"
"""Names in the telemetry for reasons that are no word of a table."""


class Ban(NamedTuple):
    """Why an effect must not act, and the words that it would make false."""

    reason: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WordRules:
    """The rules of a config for one sample.

    Args:
        config: The ``augmentation.words`` section.
        found: What the texts of the sample say.
        has_summary: Whether one of them is a summary, which may speak of any object.
    """

    config: WordsConfig
    found: WordsFound
    has_summary: bool

    @classmethod
    def of(cls, texts: Texts, config: WordsConfig) -> WordRules:
        """Return the rules for a sample with these texts."""
        needed = config.mirror != "keep" or config.colour != "keep" or config.readable_text == "auto"
        found = texts.find(lexicon_of(config)) if needed else NOTHING_FOUND
        return cls(config, found, texts.summary is not None)

    @property
    def swaps(self) -> bool:
        """Whether a turn changes texts of the sample."""
        return self.config.mirror == "swap" and bool(self.found.directions)

    def ban(self, effect: Transform, affine: Affine, colors: Sequence[ColorStep]) -> Ban | None:
        """Return why an effect must not act on the sample. `None`: it may.

        Args:
            effect: What the op drew.
            affine: Source to the frame before the effect.
            colors: All colour steps before it.
        """
        if isinstance(effect, Warp):
            return self._ban_of_warp(effect.affine, affine)
        if isinstance(effect, Copy):
            return self._ban_of_copy()
        names = self.found.colours if self.config.colour == "skip" else ()
        why = why_colors_alter([*colors, *effect.steps]) if isinstance(effect, Recolor) and names else None
        return None if why is None else Ban(f"the text says {show(names[0])}, and {why}", names)

    def ban_of_drops(self, num_dropped: int) -> Ban | None:
        """Return why an effect that drops so many objects must not act. `None`: it may."""
        if not num_dropped or not self.keeps_objects:
            return None
        return Ban(f"the summary may speak of the {counted(num_dropped, 'object')} that would be dropped", (SUMMARY,))

    @property
    def keeps_objects(self) -> bool:
        """Whether no op may drop or copy an object."""
        return self.has_summary and self.config.summary_crop == "skip"

    def _ban_of_warp(self, warp: Affine, before: Affine) -> Ban | None:
        turn = Turn.of(warp)
        if turn.is_mirror and self.config.readable_text != "never":
            if self.config.readable_text == "always":
                return Ban("words.readable_text is always, so no image is mirrored", (QUOTED,))
            if self.found.quoted:
                return Ban(f"the text quotes {show(self.found.quoted[0])}", (QUOTED,))
        words, mirror = self.found.directions, self.config.mirror
        if not words or mirror == "keep":
            return None
        if not is_clear(warp):
            return Ban(f"the text says {show(words[0])}, and the turn is by more than 45 degrees", words)
        if Turn.of(warp @ before) != turn @ Turn.of(before):
            return Ban(f"the text says {show(words[0])}, and the turns together are by more than 45 degrees", words)
        unsayable = self.found.flips_only if turn.is_quarter else ()
        words = self._changed_by(turn) if mirror == "skip" else unsayable
        return Ban(f"the text says {show(words[0])}", words) if words else None

    def _changed_by(self, turn: Turn) -> tuple[str, ...]:
        """Return the words of direction that a turn makes false."""
        if turn.is_quarter:
            return self.found.directions
        across = self.found.across if turn.right != NO_TURN.right else ()
        return across + (self.found.upright if turn.bottom != NO_TURN.bottom else ())

    def _ban_of_copy(self) -> Ban | None:
        if self.keeps_objects:
            return Ban("the summary may count the objects that would be copied", (SUMMARY,))
        words = self.found.directions
        if not words or self.config.mirror == "keep":
            return None
        return Ban(f"the text says {show(words[0])}, and a copy may be on another side", words)


NO_WORDS: Final = WordRules(WordsConfig(), NOTHING_FOUND, False)
"""Rules that forbid nothing."""
