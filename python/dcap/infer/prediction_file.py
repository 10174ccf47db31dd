"""The prediction file: whole lines only, safe on disk, continued after an interruption.

There are two files beside ``pred.jsonl``. ``pred.jsonl.meta.json`` holds all that the predictions depend on; if any of
it differs, the file is never continued. ``pred.jsonl.bad_records.jsonl`` lists the records that got no prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from dcap.answers.prediction import Prediction, parse_prediction
from dcap.core.errors import CheckpointError, RecordError
from dcap.core.files import write_whole, written_whole
from dcap.core.line_log import LineLog, meta_path, unwritten, write_meta
from dcap.core.shard import WholeShard, lines_of
from dcap.records.checking import BadRecord
from dcap.records.record import Origin

_OF_SHARDS = ("limit", "bad records", "batch-size")
"""Names in the settings of shards that are not in those of a prediction file."""


class PredictionFile(LineLog):
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
        super().__init__(path, made_with, overwrite)
        with ExitStack() as closing:
            closing.enter_context(self)
            self.last = self._answered()
            closing.pop_all()  # it stays open

    def _answered(self) -> Origin | None:
        """Return the record that the last line answers."""
        if not self.last_line:
            return None
        place = f"{self.path}:{self.kept}"
        try:
            source = parse_prediction(self.last_line, place).source
        except RecordError as error:
            raise CheckpointError(f"{error}. Give --overwrite to start anew.") from None
        if source is None:
            raise CheckpointError(f"{place}: line must name the record that it answers, and does not. "
                                  "Give --overwrite to start anew.")  # fmt: skip
        return source

    def append(self, lines: Iterable[Prediction]) -> None:
        """Write lines and wait until they are on disk.

        Raises:
            OutputError: The disk does not allow it. The next start continues after the last whole line.
        """
        self.write(b"".join(line.to_line() for line in lines))


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


def of_shards(limit: int | None, num_bad: int, batch_size: int) -> dict[str, Any]:
    """Return what shards of predictions depend on besides what predictions do: the bounds follow from it."""
    return dict(zip(_OF_SHARDS, (limit, num_bad, batch_size), strict=True))


def merge_predictions(out: Path, shards: Sequence[WholeShard]) -> tuple[int, list[LeftOut]]:
    """Write the predictions of shards, and what is beside them, as one run writes them.

    Args:
        out: The prediction file; an older one is replaced.
        shards: All shards, in order.

    Returns:
        Number of predictions, and the records without one.

    Raises:
        CheckpointError: A shard or its list of records without a prediction is damaged or being made anew; or a run
            writes the prediction file.
        OutputError: The disk does not allow it.
    """
    left_out = [each for shard in shards for each in read_left_out(shard.pieces)]
    made_with = shards[0].made_with
    with unwritten(out):
        # Whatever happens meanwhile, old lines must not be taken for those of the new meta.
        meta_path(out).unlink(missing_ok=True)
        count = 0
        with written_whole(out) as file:
            for line in lines_of(shards):
                file.write(line)
                count += 1
        write_left_out(out, left_out)
        write_meta(out, {name: value for name, value in made_with.items() if name not in ("dcap", *_OF_SHARDS)})
    return count, left_out
