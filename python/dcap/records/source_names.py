"""Short names of the files that records come from, for tables and pictures, where there is no room for long ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dcap.core.words import printable
from dcap.records.record import Record


@dataclass(frozen=True)
class SourceNames:
    """The files of some records: a place names the file only where there are several.

    ::

        sources                                    places              legend
        builtin:scenes?num=9                       line 7              all of builtin:scenes?num=9
        a/train.jsonl, b/train.jsonl               train.jsonl:7       train.jsonl is a/train.jsonl, ...
                                                   train.jsonl (2):7

    Args:
        short: Short name of each file, by its full one.
    """

    short: dict[str, str]

    @classmethod
    def of(cls, records: Iterable[Record]) -> SourceNames:
        """Return the names of the files of some records."""
        counts: Counter[str] = Counter()
        short: dict[str, str] = {}
        for file in dict.fromkeys(record.origin.file for record in records):
            # The options of records that are made follow a question mark.
            name = Path(file.partition("?")[0] if file.startswith("builtin:") else file).name
            counts[name] += 1
            short[file] = printable(name if counts[name] == 1 else f"{name} ({counts[name]})")
        return cls(short)

    def place(self, record: Record) -> str:
        """Return where a record is, and of a tile its window."""
        origin = record.origin
        place = f"line {origin.line}" if len(self.short) == 1 else f"{self.short[origin.file]}:{origin.line}"
        return place if record.window is None else f"{place} {record.window}"

    @property
    def legend(self) -> str:
        """The full names; empty where there is no record."""
        if len(self.short) == 1:
            return "all of " + printable(next(iter(self.short)))
        return ", ".join(f"{short} is {printable(file)}" for file, short in self.short.items())
