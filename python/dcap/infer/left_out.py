"""Records that got no prediction, listed beside the prediction file as ``pred.jsonl.bad_records.jsonl``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dcap.core.errors import CheckpointError
from dcap.records.bad_records import BadRecord
from dcap.records.record import Origin


class LeftOut(msgspec.Struct, frozen=True):
    """One record without a prediction."""

    file: str
    """As it was named to the reader."""
    line: int
    """Line from 1."""
    error: str
    """What is wrong, with file and line in front."""

    @classmethod
    def of_check(cls, bad: BadRecord) -> LeftOut:
        """Return the entry of a record that the check refused."""
        problems = "; ".join(map(str, bad.problems))
        return cls(bad.origin.file, bad.origin.line, f"{bad.origin}: {problems}")

    @classmethod
    def of_error(cls, origin: Origin, error: Exception) -> LeftOut:
        """Return the entry of a record that failed later on."""
        return cls(origin.file, origin.line, str(error))


def list_path(out: Path) -> Path:
    """Return where the list of a prediction file lies."""
    return out.with_name(out.name + ".bad_records.jsonl")


def read_list(out: Path) -> list[LeftOut]:
    """Return what an earlier run listed; nothing when there is no list.

    Raises:
        CheckpointError: The list is damaged.
    """
    path = list_path(out)
    if not path.is_file():
        return []
    try:
        return msgspec.json.Decoder(LeftOut).decode_lines(path.read_bytes())
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{path} must list records, one a line: {error}. Delete it.") from None


def write_list(out: Path, items: Sequence[LeftOut]) -> None:
    """Write the list, whole or not at all; an empty one is no file."""
    path = list_path(out)
    if not items:
        path.unlink(missing_ok=True)
        return
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in items))
    os.replace(part, path)
