"""The prediction file: whole lines only, safe on disk, continued after an interruption.

Beside ``pred.jsonl`` lies ``pred.jsonl.meta.json``, which says what it was made with; a file that was made with
something else is never continued.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from dcap import __version__
from dcap.core.config import differences
from dcap.core.errors import CheckpointError

Place = tuple[str, int]
"""File and line of a record."""


class PredictionFile:
    """Appends predictions to a file.

    Args:
        path: The file; folders on the way are made.
        made_with: Plain data that the predictions depend on; a file made with other data is not continued.
        overwrite: Start anew, whatever is there.

    Attributes:
        last: Place of the record that the last kept line answers; none for a new file.
        kept: Number of lines that were kept.

    Raises:
        CheckpointError: The file was made with something else, nothing says with what, or another run writes it.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.last: Place | None = None
        self.kept = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab")
        try:
            self._prepare(made_with, overwrite)
        except BaseException:
            self._file.close()
            raise

    def _prepare(self, made_with: Mapping[str, Any], overwrite: bool) -> None:
        path = self.path
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"{path} must be written by one run at a time, and another one writes it") from None
        meta = path.with_name(path.name + ".meta.json")
        if not overwrite and path.stat().st_size:
            _check_meta(path, meta, made_with)
            self.kept, self.last = _cut_torn_line(path)
        else:
            # The old lines go first: with the new meta beside them they would be taken for new ones.
            os.truncate(path, 0)
            _write_whole(meta, {"dcap": __version__, "made_with": made_with})

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write lines and wait until they are on disk."""
        self._file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _check_meta(path: Path, meta: Path, made_with: Mapping[str, Any]) -> None:
    way_out = "Give another --out, or --overwrite to start anew."
    if not meta.is_file():
        raise CheckpointError(f"{path} must have {meta.name} beside it to be continued, and it has not. {way_out}")
    try:
        before = json.loads(meta.read_text("utf-8"))["made_with"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{meta} must say what {path.name} was made with, and is damaged. {way_out}") from None
    now = json.loads(msgspec.json.encode(made_with))
    changes = list(differences(before, now))
    if changes:
        names, texts = zip(*changes, strict=True)
        raise CheckpointError(
            f"{path} must be continued with the same {', '.join(names)}, but {'; '.join(texts)}. {way_out}"
        )


def _cut_torn_line(path: Path) -> tuple[int, Place | None]:
    """Cut what a killed run left of its last line; return the number of whole lines and the place of the last."""
    count, end, last = 0, 0, b""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, end, last = count + 1, end + len(line), line
    os.truncate(path, end)
    if not last:
        return 0, None
    try:
        source = msgspec.json.decode(last)["source"]
        return count, (str(source["file"]), int(source["line"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path}:{count}: line must be a prediction with its source, and is not. Give --overwrite to start anew."
        ) from None


def _write_whole(path: Path, data: Mapping[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    os.replace(part, path)
