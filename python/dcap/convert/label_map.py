"""A map of labels: a YAML file that renames, merges and drops the texts of objects.

::

    car: vehicle        two labels of one new name are merged
    truck: vehicle
    shadow: null        objects of this label are dropped
    person: person
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dcap.convert.foreign_files import show_short
from dcap.convert.foreign_yaml import given, parse_texts
from dcap.convert.yolo_data import read_text
from dcap.core.errors import RecordError, nearest_hint
from dcap.records.objects import check_text

Unmapped = Literal["error", "keep", "drop"]
"""What happens to an object whose label the map does not name."""

_FEW = 20
"""An error lists the names of the map if there are at most this many."""


@dataclass(frozen=True)
class LabelMap:
    """New names of labels."""

    names: Mapping[str, str | None]
    """New name of each label. `None`: objects of it are dropped."""
    unmapped: Unmapped = "error"
    """What happens to an object whose label is not in it."""
    _met: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def read(cls, path: Path, unmapped: Unmapped = "error") -> LabelMap:
        """Read a map. Labels are text as written: ``no`` and ``010`` stay what they are.

        Args:
            path: The YAML file.
            unmapped: As the attribute.

        Raises:
            RecordError: The file is missing, is no YAML, or maps a label to something other than a text or null.
        """
        data = parse_texts(read_text(path), path)
        if not isinstance(data, dict) or not data:
            raise RecordError(f"{path}: file must map labels to new names, such as car: vehicle")
        names: dict[str, str | None] = {}
        for label, value in data.items():
            name = given(value)
            if not isinstance(label, str) or not isinstance(name, str | None):
                text = f"{show_short(label)} must be mapped to a text, or to null to drop it"
                raise RecordError(f"{path}: {text}, not to {show_short(value)}")
            if name is not None and (problem := check_text(name, f"new name of {show_short(label)}")):
                raise RecordError(f"{path}: {problem}")
            names[label] = name
        return cls(names, unmapped)

    def new_name(self, label: str) -> str | None:
        """Return the new name of a label. `None`: its object is dropped.

        Raises:
            RecordError: The map does not name it, and `unmapped` is ``error``.
        """
        if label in self.names:
            self._met.add(label)
            return self.names[label]
        if self.unmapped == "error":
            hint = nearest_hint(label, self.names)
            hint = hint if hint.startswith("; did") or len(self.names) <= _FEW else ""
            way_out = "Add it to the map, or give --unmapped keep or --unmapped drop."
            shown = hint if hint.endswith("?") else f"{hint}."
            raise RecordError(f"label must be in the map, not {show_short(label)}{shown} {way_out}")
        return label if self.unmapped == "keep" else None

    def take_met(self) -> tuple[str, ...]:
        """Return the labels of the map that objects had since this was last asked, in the order of the alphabet."""
        met = tuple(sorted(self._met))
        self._met.clear()
        return met

    def unused(self, met: Collection[str]) -> list[str]:
        """Return the labels of the map that are not among those that objects had."""
        return [label for label in self.names if label not in met]
