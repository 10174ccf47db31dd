"""RecordSource: the common interface of all readers of annotation files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from dcap.core.errors import RecordError
from dcap.core.words import counted
from dcap.records.embedded_image import EmbeddedImage
from dcap.records.json_line import Problem
from dcap.records.record import Origin, Record, read_or_explain


def row_of(i: int, count: int, name: str | Path) -> int:
    """Return the row, from 0, that an index means; a negative index counts from the end.

    Args:
        i: The index.
        count: Number of records.
        name: What holds them, for the message.

    Raises:
        IndexError: There is no such record.
    """
    if not -count <= i < count:
        raise IndexError(f"{name}: index must be from -{count} to below {count}, the number of records, not {i}")
    return i % count


def names_of(files: Sequence[RecordSource]) -> str:
    """Return the name of the first file, and how many more there are."""
    if not files:
        return "no files"
    return f"{files[0].path}" + (f" and {counted(len(files) - 1, 'more file')}" if len(files) > 1 else "")


class RecordSource(Protocol):
    """The records of one file, by index.

    A reader defines `line`, `origin` and, if it holds images, `embedded`. The rest follows from them, so every kind of
    file obeys one record contract. A reader keeps no record in memory. It is cheap to pickle and fork; each process
    opens the file for itself.
    """

    path: Path
    """File, as the user named it."""

    def __len__(self) -> int: ...

    def line(self, i: int) -> bytes:
        """Return record `i` (from 0) as JSON text.

        Raises:
            RecordError: The file has changed since it was opened.
            IndexError: There is no such record.
        """
        ...

    def origin(self, i: int) -> Origin:
        """Return file and place of record `i`."""
        ...

    def embedded(self, i: int) -> EmbeddedImage | None:
        """Return the image of record `i` if the file holds it. `None`: the record names an image file."""
        return None

    def _row(self, i: int) -> int:
        return row_of(i, len(self), self.path)

    def explain(
        self, i: int, line: bytes | None = None, *, text: bool = False
    ) -> tuple[Record | None, tuple[Problem, ...]]:
        """Return record `i`, or `None` and all its problems.

        Args:
            i: Which record.
            line: Its `line`, where that is known.
            text: Read a conversation, and nothing else.

        Raises:
            RecordError: The file has changed since it was opened.
            IndexError: There is no such record.
        """
        line = self.line(i) if line is None else line
        return read_or_explain(line, self.origin(i), self.embedded(i), text=text)

    def record(self, i: int, *, text: bool = False) -> Record:
        """Return record `i`.

        Args:
            i: Which record.
            text: Read a conversation, and nothing else.

        Raises:
            RecordError: The record breaks the contract, or the file has changed since it was opened.
            IndexError: There is no such record.
        """
        record, problems = self.explain(i, text=text)
        if record is None:
            raise RecordError(f"{self.origin(i)}: {problems[0]}")
        return record

    def __getitem__(self, i: int) -> Record:
        """Return record `i`, which has an image.

        Raises:
            RecordError: As `record`.
            IndexError: There is no such record.
        """
        return self.record(i)

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))
