"""Findings: problems and notes about annotation files, with their places and the number of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcap.core.words import NUMBER, without_values

PLACES_KEPT = 3
"""Places of each kind that are kept for an overview."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem or a note, and its place."""

    file: str
    line: int
    field: str
    text: str

    @property
    def kind(self) -> str:
        """Kind of the finding: field and text without numbers, values and paths."""
        return NUMBER.sub("#", self.without_values)

    @property
    def without_values(self) -> str:
        """Field and text without values and paths."""
        head, must, rest = self.text.partition(" must ")
        # The text before it is the image's path. It may hold anything, and has a slash only if there is a folder.
        text = f"… must {rest}" if must and (self.field == "images[0]" or "/" in head) else self.text
        return f"{self.field} {without_values(text)}"


@dataclass
class Kind:
    """What the findings of a kind have in common."""

    text: str
    """Of the first one, without values and paths."""
    numbers: list[str | None]
    """Numbers in the text. `None`: they differ."""
    places: list[str]
    """``FILE:LINE`` of the first ones."""

    @property
    def shown(self) -> str:
        """The text, with ``#`` for each number that differs."""
        numbers = iter(self.numbers)
        return NUMBER.sub(lambda _: next(numbers) or "#", self.text)

    def update(self, later: Kind) -> None:
        """Add findings of this kind that come later."""
        pairs = zip(self.numbers, later.numbers, strict=True)
        self.numbers = [mine if mine == its else None for mine, its in pairs]
        self.places += [place for place in later.places if place not in self.places]
        del self.places[PLACES_KEPT:]


@dataclass
class Findings:
    """Findings by kind. All are counted; the first of each kind are kept."""

    keep: int | None = None
    """Number of findings to keep of each kind. `None`: all."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Number of findings of each kind."""
    kept: list[tuple[str, Finding]] = field(default_factory=list)
    """Kind and finding, in the order in which they came."""
    known: dict[str, Kind] = field(default_factory=dict)
    """What the findings of each kind have in common."""
    _held: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Count a finding. Keep it if it is one of the first of its kind."""
        kind, text = finding.kind, finding.without_values
        self.kinds[kind] += 1
        place = f"{Path(finding.file).name}:{finding.line}"
        self._join(kind, Kind(text, list(NUMBER.findall(text)), [place]))
        self._keep(kind, finding)

    def update(self, other: Findings) -> None:
        """Add what was found later."""
        self.kinds.update(other.kinds)
        for kind, later in other.known.items():
            self._join(kind, later)
        for kind, finding in other.kept:
            self._keep(kind, finding)

    def shown(self) -> dict[str, int]:
        """Return the number of findings of each kind, by its words with what all of them have in common."""
        return {self.known[kind].shown: count for kind, count in self.kinds.most_common()}

    def places(self) -> dict[str, list[str]]:
        """Return the first places of each kind, by its words."""
        return {self.known[kind].shown: self.known[kind].places for kind in self.kinds}

    def _join(self, kind: str, later: Kind) -> None:
        if kind in self.known:
            self.known[kind].update(later)
        else:
            self.known[kind] = later

    def _keep(self, kind: str, finding: Finding) -> None:
        if self.keep is None or self._held[kind] < self.keep:
            self._held[kind] += 1
            self.kept.append((kind, finding))

    def __len__(self) -> int:
        return self.kinds.total()

    def in_order(self, files: Sequence[str]) -> tuple[Finding, ...]:
        """Return what was kept in the order of `files` and lines."""
        rank = {file: i for i, file in enumerate(files)}
        return tuple(sorted((found for _, found in self.kept), key=lambda found: (rank[found.file], found.line)))
