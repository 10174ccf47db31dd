"""The losses of a conversion, counted by reason: dropped, changed or approximated data, and broken input.

Owns the switch between stopping at bad input and going on; printing is in the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from dcap.core.errors import RecordError
from dcap.core.words import NUMBER, printable, without_values

Action = Literal["dropped", "changed", "approximated", "skipped", "note"]
"""Kind of a loss. ``skipped``: bad input. ``note``: no image lost anything, such as a licence table that records have
no place for."""
OnBad = Literal["error", "skip"]
"""What to do at bad input: stop, or leave out its image and go on."""

EXAMPLES = 5
"""Places kept of each loss."""
_WAY_OUT = "leave out all images with broken input (--on-bad skip), which --report FILE.json lists."
_ORDER = ("skipped", "dropped", "changed", "approximated", "note")


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """A place in the input; ``str(place)`` is ``"instances.json: image 7: annotation 12"``."""

    file: str
    """File, as the user named it."""
    image: str = ""
    """Image in the words of the format, such as its id or its file."""
    object: str = ""
    """Object, or field, in the words of the format."""

    def of(self, name: str) -> SourcePlace:
        """Return the place of an object of this image."""
        return SourcePlace(self.file, self.image, name)

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self.file, self.image, self.object) if part))


@dataclass(slots=True)
class Loss:
    """One kind of loss."""

    action: Action
    reason: str
    """What was lost and why, in words."""
    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)
    """The first places, ``{"file", "image", "object", "detail"}``; empty keys are left out."""


class ConversionReport:
    """The losses of a conversion, counted by kind.

    Args:
        on_bad: What `refuse` does.
    """

    def __init__(self, on_bad: OnBad = "error") -> None:
        self.on_bad = on_bad
        self.files: dict[str, int] = {}
        """Number of records in each file that was written."""
        self._found: dict[tuple[Action, str], Loss] = {}

    def add(self, action: Action, reason: str, place: SourcePlace, detail: str = "", count: int = 1) -> None:
        """Count a loss at `place`, or several. `detail` holds the part that differs from case to case."""
        loss = self._found.setdefault((action, reason), Loss(action, reason))
        loss.count += count
        if len(loss.examples) < EXAMPLES:
            named = {"file": place.file, "image": place.image, "object": place.object, "detail": detail}
            loss.examples.append({key: text for key, text in named.items() if text})

    def refuse(self, error: RecordError | str, place: SourcePlace) -> None:
        """Stop at bad input, or count it where `on_bad` is ``skip``.

        Raises:
            RecordError: `on_bad` is ``error``; the message names the place.
        """
        # What the library checks later names the place in its own words.
        text = str(error).removeprefix(f"{place}: ")
        if self.on_bad == "error":
            has_way_out = text.endswith((".", "?", "!"))
            raise RecordError(f"{place}: {text}{' Or' if has_way_out else '. Correct it, or'} {_WAY_OUT}") from None
        self.add("skipped", f"broken input: {NUMBER.sub('#', without_values(text))}", place, text)

    def take(self) -> tuple[Loss, ...]:
        """Return what was lost since this was last asked, in order, and forget it."""
        losses = tuple(self._found.values())
        self._found = {}
        return losses

    def update(self, losses: Iterable[Loss]) -> None:
        """Add what was lost later."""
        for new in losses:
            loss = self._found.setdefault((new.action, new.reason), Loss(new.action, new.reason))
            loss.count += new.count
            loss.examples += new.examples[: EXAMPLES - len(loss.examples)]

    @property
    def found(self) -> tuple[Loss, ...]:
        """All losses, the graver kinds first, then by count."""
        return tuple(sorted(self._found.values(), key=lambda loss: (_ORDER.index(loss.action), -loss.count)))

    @property
    def total(self) -> int:
        """Number of losses; notes are none."""
        return sum(loss.count for loss in self._found.values() if loss.action != "note")

    @property
    def skipped(self) -> int:
        """Number of broken inputs that were left out."""
        return sum(loss.count for loss in self._found.values() if loss.action == "skipped")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        losses = [
            {"action": loss.action, "reason": loss.reason, "count": loss.count, "examples": list(loss.examples)}
            for loss in self.found
        ]
        return {"total": self.total, "skipped": self.skipped, "files": self.files, "losses": losses}
