"""Bad records: what is wrong with them, and the list of a run that leaves them out.

Owns ``bad_records.jsonl``. Which records are bad is found in `dcap.records.checking`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.core.log import get_logger
from dcap.records.json_line import Problem
from dcap.records.record import Origin

if TYPE_CHECKING:
    from dcap.records.checking import CheckedRecords

logger = get_logger(__name__)

BAD_RECORDS_FILE = "bad_records.jsonl"


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used."""

    origin: Origin
    problems: tuple[Problem, ...]
    text: str
    """Beginning of the line."""


@dataclass(frozen=True, slots=True)
class BadRecordList:
    """``bad_records.jsonl`` of a run: what ``on_bad_record: skip`` left out, one JSON object per line.

    Args:
        folder: Run folder.
    """

    folder: Path

    @property
    def path(self) -> Path:
        """The file; absent while nothing was left out."""
        return self.folder / BAD_RECORDS_FILE

    def start(self, *checked: CheckedRecords) -> None:
        """Begin the list with the bad records of some files, and keep what was added to it later, before a resume."""
        added = [line for line in self._lines() if "file" not in json.loads(line)]
        self.path.unlink(missing_ok=True)
        for bad in (bad for records in checked for bad in records.bad):
            errors = [str(problem) for problem in bad.problems]
            self._append({"file": bad.origin.file, "line": bad.origin.line, "errors": errors, "text": bad.text})
        for line in added:
            self._append(json.loads(line))

    def _lines(self) -> list[bytes]:
        """Return the whole lines; a crash may have cut the last one."""
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []
        return [line for line in lines if line.endswith(b"\n")]

    def add(self, message: str) -> None:
        """Add a record that turned out bad later, such as an image that cannot be decoded.

        It does so again in every epoch, and is listed once.
        """
        logger.warning("left out: %s", message)
        item = {"errors": [message]}
        if not self.path.is_file() or _as_line(item) not in self.path.read_bytes():
            self._append(item)

    def __len__(self) -> int:
        if not self.path.is_file():
            return 0
        with self.path.open("rb") as lines:
            return sum(1 for _ in lines)

    def _append(self, item: Mapping[str, object]) -> None:
        # One write in append mode, so that lines of several ranks do not mix.
        with self.path.open("ab", buffering=0) as out:
            out.write(_as_line(item))


def _as_line(item: Mapping[str, object]) -> bytes:
    return (json.dumps(item, ensure_ascii=False) + "\n").encode("utf-8", "replace")
