"""The prediction file: whole lines only, safe on disk, continued after an interruption.

There are two files beside ``pred.jsonl``. ``pred.jsonl.meta.json`` holds all that the predictions depend on; if any of
it differs, the file is never continued. ``pred.jsonl.bad_records.jsonl`` lists the records that got no prediction.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from dcap import __version__
from dcap.answers.prediction import Prediction, parse_prediction
from dcap.core.config import differences
from dcap.core.errors import CheckpointError, RecordError
from dcap.core.files import write_whole, writing
from dcap.records.checking import BadRecord
from dcap.records.record import Origin


class PredictionFile:
    """Appends predictions to a file.

    Args:
        path: The file; folders on the way are made.
        made_with: Plain data that the predictions depend on; a file made with other data is not continued.
        overwrite: Start anew, even if the file exists.

    Attributes:
        last: The record that the last kept line answers. `None`: a new file.
        kept: Number of lines that were kept.

    Raises:
        CheckpointError: The file was made with something else, nothing says with what, or another run writes it.
        OutputError: The folder or the disk does not allow it.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.last: Origin | None = None
        self.kept = 0
        self._made_with: Mapping[str, Any] | None = None  # of a file that is started anew, until it is
        with writing(path):
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
        meta = meta_path(path)
        if not overwrite and path.stat().st_size:
            _check_meta(path, meta, made_with)
            self.kept, self.last = _cut_torn_line(path)
        else:
            self._made_with = made_with

    def begin(self) -> None:
        """Empty a file that is started anew; nothing for one that is continued. The first `append` does it too.

        Raises:
            OutputError: The disk does not allow it.
        """
        if self._made_with is None:
            return
        # The old lines go first: with the new meta beside them they would be taken for new ones.
        with writing(self.path):
            os.truncate(self.path, 0)
            _write_whole(meta_path(self.path), {"dcap": __version__, "made_with": self._made_with})
        self._made_with = None

    def append(self, lines: Iterable[Prediction]) -> None:
        """Write lines and wait until they are on disk.

        Raises:
            OutputError: The disk does not allow it. The next start continues after the last whole line.
        """
        self.begin()
        data = b"".join(line.to_line() for line in lines)
        with writing(self.path):
            self._file.write(data)
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
        raise CheckpointError(f"{path} must have {meta.name} beside it to be continued, but it is missing. {way_out}")
    try:
        before = json.loads(meta.read_text("utf-8"))["made_with"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{meta} must say what {path.name} was made with, and is damaged. {way_out}") from None
    now = json.loads(msgspec.json.encode(made_with))
    changes = list(differences(before, now))
    if changes:
        names, texts = zip(*changes, strict=True)
        raise CheckpointError(
            f"{path} must be continued with the same {', '.join(names)}, but {'; '.join(texts)}. {way_out}"
        )


def _cut_torn_line(path: Path) -> tuple[int, Origin | None]:
    """Cut an incomplete last line of a killed run. Return the number of whole lines and the last record."""
    count, end, last = 0, 0, b""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, end, last = count + 1, end + len(line), line
    os.truncate(path, end)
    if not last:
        return 0, None
    try:
        source = parse_prediction(last, f"{path}:{count}").source
    except RecordError as error:
        raise CheckpointError(f"{error}. Give --overwrite to start anew.") from None
    if source is None:
        raise CheckpointError(f"{path}:{count}: line must name the record that it answers, and does not. "
                              "Give --overwrite to start anew.")  # fmt: skip
    return count, source


def _write_whole(path: Path, data: Mapping[str, Any]) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")


class LeftOut(msgspec.Struct, frozen=True):
    """One record without a prediction."""

    file: str
    """File of the record, as the user named it."""
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

    @property
    def origin(self) -> Origin:
        """File and line of the record."""
        return Origin(self.file, self.line)


def meta_path(out: Path) -> Path:
    """Return the path of the file that says what a prediction file depends on."""
    return out.with_name(out.name + ".meta.json")


def left_out_path(out: Path) -> Path:
    """Return the path of the list that belongs to a prediction file."""
    return out.with_name(out.name + ".bad_records.jsonl")


def read_left_out(out: Path) -> list[LeftOut]:
    """Return the records that an earlier run listed; none when there is no list.

    Raises:
        CheckpointError: The list is damaged.
    """
    path = left_out_path(out)
    if not path.is_file():
        return []
    try:
        return msgspec.json.Decoder(LeftOut).decode_lines(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} must list records, one a line: {error}. Delete it.") from None


def write_left_out(out: Path, items: Sequence[LeftOut]) -> None:
    """Write the list whole or not at all; an empty list is no file."""
    path = left_out_path(out)
    if not items:
        path.unlink(missing_ok=True)
        return
    write_whole(path, b"".join(msgspec.json.encode(item) + b"\n" for item in items))
