"""Findings: problems and notes about annotation files, with their places and the number of each kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_NUMBER = re.compile(r"(?<!\w)-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_VALUE = re.compile(r', not (?:"|\[|\{).*|"[^"]*"|(?<!\w)\'[^\']*\'')
# From the beginning of a word only: a long one without a slash is else tried from each of its characters.
_PATH = re.compile(r"(?<=size of ).*?(?= as displayed)|(?:lead to |the record at |(?<!\S))\S*/\S+")


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
        head, must, rest = self.text.partition(" must ")
        # The text before it is the image's path. It may hold anything, and has a slash only if there is a folder.
        text = f"… must {rest}" if must and (self.field == "images[0]" or "/" in head) else self.text
        text = _PATH.sub("…", _VALUE.sub(_without_value, text))
        return f"{_NUMBER.sub('#', self.field)} {_NUMBER.sub('#', text)}"


def _without_value(found: re.Match[str]) -> str:
    return ", not …" if found[0].startswith(",") else "…"


@dataclass
class Findings:
    """Findings by kind. All are counted; the first of each kind are kept."""

    keep: int | None = None
    """Number of findings to keep of each kind. `None`: all."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Number of findings of each kind."""
    kept: list[tuple[str, Finding]] = field(default_factory=list)
    """Kind and finding, in the order in which they came."""
    _held: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Count a finding. Keep it if it is one of the first of its kind."""
        kind = finding.kind
        self.kinds[kind] += 1
        self._keep(kind, finding)

    def update(self, other: Findings) -> None:
        """Add what was found later."""
        self.kinds.update(other.kinds)
        for kind, finding in other.kept:
            self._keep(kind, finding)

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
