"""Checking whole files: which records are good, what is wrong with the others, and what happens then.

Owns ``data.on_bad_record`` and ``bad_records.jsonl``. Every line is parsed once, before a run uses any of them. Pixels
are decoded only on request. Worker processes share the work by ranges of neighbouring records. The ranges depend on the
files alone, so results do not depend on the number of workers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dcap.core.errors import DcapError, GeometryError, ImageError, RecordError
from dcap.core.files import write_whole, writing
from dcap.core.log import get_logger
from dcap.core.parallel import map_in_order
from dcap.core.words import counted
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.clipping import SplitPolicy
from dcap.geometry.tiling import Tiling
from dcap.records.files.generated import is_generated
from dcap.records.files.opening import open_source
from dcap.records.files.source import RecordSource, names_of, row_of
from dcap.records.images import check_header, decode_image, find_darkness
from dcap.records.json_line import Problem
from dcap.records.preprocess import NO_CHAIN, Chain
from dcap.records.record import Origin, Record, image_source, read_without_objects, with_all_parts
from dcap.records.sixteen_bit import SixteenBit

log = get_logger(__name__)

ERRORS_SHOWN = 50
"""Reading stops at this number of problems when bad records are errors."""
RANGE_LENGTH = 256
"""Records that a worker process reads at a time."""
RANGE_LENGTH_DECODING = 16
"""The same where pixels are decoded."""
BAD_RECORDS_FILE = "bad_records.jsonl"
_TEXT_KEPT = 2000


@dataclass(frozen=True, slots=True)
class ImageRules:
    """How far the images of records are checked."""

    root: str | Path | None = None
    """Folder that image paths must stay in."""
    max_pixels: int = MAX_PIXELS
    """Bound on height x width."""
    decode: bool = False
    """Decode the pixels too; false reads headers only."""
    sixteen_bit: SixteenBit = "full"
    """Range of 16-bit values that decoded images show."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used."""

    origin: Origin
    """File and line."""
    problems: tuple[Problem, ...]
    """Everything that is wrong with it."""
    text: str
    """Beginning of the line."""


@dataclass(frozen=True)
class CheckedRecords:
    """The good records of some files, by index, and counts and reasons for the others.

    ::

        file_index    [0, 0, 0, 1]    record k is row row_index[k] of files[file_index[k]]
        row_index     [0, 1, 3, 0]

    With a tiling, a record is there once for each of its tiles::

        row_index     [0, 0, 0, 1]
        tile_index    [0, 1, 2, 0]
    """

    files: tuple[RecordSource, ...]
    file_index: npt.NDArray[np.int32]
    """int32 (N,)."""
    row_index: npt.NDArray[np.int64]
    """int64 (N,)."""
    bad: tuple[BadRecord, ...]
    """Records that were skipped."""
    chain: Chain = NO_CHAIN
    """Preprocessors that every record went through."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of records that each preprocessor dropped."""
    clipped: int = 0
    """Number of shapes that are partly outside their image."""
    split: int = 0
    """Number of these that the border of the image splits."""
    split_policy: SplitPolicy = "largest"
    """What remains of those: the largest part, or all parts, each as an object."""
    tiling: Tiling | None = None
    """How images are cut into tiles. `None`: not at all."""
    tile_index: npt.NDArray[np.int32] | None = None
    """int32 (N,): which tile of its image each is, with a tiling."""
    num_unused: int = 0
    """Number of good records that a limit left out."""
    text_files: frozenset[int] = frozenset()
    """Those of `files` that hold conversations."""

    def __len__(self) -> int:
        return len(self.row_index)

    def __getitem__(self, k: int) -> Record:
        """Return good record `k`, preprocessed.

        Raises:
            RecordError: The file has changed since it was checked.
            IndexError: There is no such record.
        """
        k = row_of(k, len(self), names_of(self.files))
        f = int(self.file_index[k])
        read = self.files[f].record(int(self.row_index[k]), text=f in self.text_files)
        if read.messages:
            return read
        record, dropped_by = self.chain.apply(_with_parts(read, self.split_policy))
        if record is None:
            text = f"preprocessor {dropped_by!r} must give the same result each time it sees a record"
            raise RecordError(f"{read.origin}: {text}")
        return record if self.tiling is None else self._tile(record, self.tiling, k)

    def _tile(self, record: Record, tiling: Tiling, k: int) -> Record:
        plan = tiling.plan(record.canvas)
        return record if len(plan) == 1 else replace(record, window=plan.window(self.tile_of(k)))

    def tile_of(self, k: int) -> int:
        """Return which tile of its image record `k` is; 0 without a tiling."""
        return 0 if self.tile_index is None else int(self.tile_index[k])

    def take(self, rows: npt.NDArray[np.int64], num_unused: int) -> CheckedRecords:
        """Return some of the records.

        Args:
            rows: int64 (n,): which, in rising order; all tiles of an image or none.
            num_unused: Number of records that this leaves out, each counted once for all its tiles.
        """
        return replace(
            self,
            file_index=self.file_index[rows],
            row_index=self.row_index[rows],
            tile_index=None if self.tile_index is None else self.tile_index[rows],
            num_unused=self.num_unused + num_unused,
        )

    def counts(self, num_files: Sequence[int]) -> list[int]:
        """Return the number of good records of consecutive groups of files, given the number of files of each."""
        stops = np.searchsorted(self.file_index, np.cumsum(num_files))
        counts: list[int] = np.diff(stops, prepend=0).tolist()
        return counts

    def summary(self) -> str:
        """Return one sentence about what was read, left out, skipped, dropped, clipped and split."""
        parts = [counted(len(self), "record")]
        if self.tile_index is not None:
            parts = [f"{counted(int((self.tile_index == 0).sum()), 'record')} in {counted(len(self), 'tile')}"]
        parts += [f"{self.num_unused} more beyond the limit"] if self.num_unused else []
        parts += [counted(len(self.bad), "bad one") + " skipped"] if self.bad else []
        parts += [f"{count} dropped by {name}" for name, count in self.dropped.items()]
        parts += [counted(self.clipped, "shape") + " clipped to the image"] if self.clipped else []
        kept = "only the largest part of each is" if self.split_policy == "largest" else "all parts are"
        parts += [f"{self.split} of them split by its border, {kept} kept"] if self.split else []
        return ", ".join(parts)


def check_records(
    files: Sequence[str | Path],
    on_bad_record: Literal["error", "skip"] = "error",
    images: ImageRules | None = None,
    chain: Chain = NO_CHAIN,
    on_read: Callable[[int, int], None] | None = None,
    num_workers: int = 0,
    split_policy: SplitPolicy = "largest",
    tiling: Tiling | None = None,
    text_files: frozenset[int] = frozenset(),
) -> CheckedRecords:
    """Read every record once and keep the places of the good ones.

    Args:
        files: Annotation files; see `open_source`.
        on_bad_record: ``error`` stops with all problems of the first `ERRORS_SHOWN` found; ``skip`` keeps them in
            `CheckedRecords.bad` and goes on.
        images: Check image files too. `None`: check the records only.
        chain: Preprocessors. Records that they drop are counted and left out.
        on_read: Called with the number of records read and their total.
        num_workers: Processes that share the work where there is much of it; the result is the same.
        split_policy: What remains of a shape that the border of its image splits, such as a line that enters it twice:
            its largest part, or all parts, each as an object. Preprocessors see the records as that leaves them.
        tiling: Keep each record once for each of its tiles. One with too many tiles is bad.
        text_files: Those of `files` that hold conversations, and nothing else. Preprocessors do not see them.

    Raises:
        RecordError: A file cannot be read; or ``error`` and at least one record is bad.
    """
    opened = tuple(open_source(path) for path in files)
    total = sum(map(len, opened))
    rows: list[tuple[int, int, int]] = []
    bad: list[BadRecord] = []
    dropped: Counter[str] = Counter({name: 0 for name, _ in chain.steps})
    clipped = split = num_problems = 0
    look = partial(_outcomes_of_range, opened, images, chain, split_policy, tiling, text_files)
    for done, (f, row, outcome) in enumerate(_outcomes(opened, look, images, num_workers), 1):
        if on_read is not None:
            on_read(done, total)
        if isinstance(outcome, BadRecord):
            bad.append(outcome)
            num_problems += len(outcome.problems)
            if on_bad_record == "error" and num_problems >= ERRORS_SHOWN:
                break
        elif isinstance(outcome, str):
            dropped[outcome] += 1
        else:
            rows += [(f, row, tile) for tile in range(outcome.tiles)]
            clipped, split = clipped + outcome.clipped, split + outcome.split
    if bad and on_bad_record == "error":
        raise RecordError(_message(bad, num_problems))
    index = np.array(rows, np.int64).reshape(-1, 3)
    return CheckedRecords(
        opened, index[:, 0].astype(np.int32), index[:, 1].copy(), tuple(bad), chain,
        {name: count for name, count in dropped.items() if count}, clipped, split, split_policy,
        tiling, None if tiling is None else index[:, 2].astype(np.int32), text_files=text_files,
    )  # fmt: skip


class Cut(NamedTuple):
    """How many shapes of a good record its border cuts, and into how many tiles it is cut itself."""

    clipped: int
    split: int
    tiles: int = 1


Outcome = BadRecord | str | Cut
"""Outcome of a record: it is bad, a preprocessor (by name) dropped it, or it is good."""


def _with_parts(record: Record, split_policy: SplitPolicy) -> Record:
    # A preprocessor may change the shapes, and could not change parts that it does not know of.
    if not record.other_parts:
        return record
    return with_all_parts(record) if split_policy == "all" else replace(record, other_parts=())


def _outcomes(
    files: Sequence[RecordSource],
    look: Callable[[RecordRange], tuple[list[Outcome], DcapError | None]],
    images: ImageRules | None,
    num_workers: int,
) -> Iterator[tuple[int, int, Outcome]]:
    """Yield file, row and outcome of every record in order, and raise what a record raised once its turn comes."""
    ranges = record_ranges(files, range_length(images))
    # An error that is raised holds this frame; closed, it does not hold worker processes.
    with closing(map_in_order(look, ranges, num_workers)) as made:
        for part, (found, error) in zip(ranges, made, strict=True):
            for row, outcome in zip(part.rows, found, strict=False):  # after an error there are fewer
                yield part.file, row, outcome
            if error is not None:
                raise error


def _outcomes_of_range(
    files: Sequence[RecordSource],
    images: ImageRules | None,
    chain: Chain,
    split_policy: SplitPolicy,
    tiling: Tiling | None,
    text_files: frozenset[int],
    part: RecordRange,
) -> tuple[list[Outcome], DcapError | None]:
    file, found, talks = files[part.file], list[Outcome](), part.file in text_files
    try:
        for row, line, record, problems, _ in read_range(files, None if talks else images, part, text=talks):
            if record is not None and talks:
                found.append(Cut(0, 0))
                continue
            if record is None:
                text = line[:_TEXT_KEPT].decode("utf-8", "replace")
                found.append(BadRecord(file.origin(row), problems, text))
                continue
            used, dropped_by = chain.apply(_with_parts(record, split_policy))
            cut = Cut(len(record.clipped), len(record.other_parts))
            if used is not None and tiling is not None:
                try:
                    cut = cut._replace(tiles=len(tiling.plan(used.canvas)))
                except GeometryError as error:
                    text = line[:_TEXT_KEPT].decode("utf-8", "replace")
                    found.append(BadRecord(file.origin(row), (Problem.of(str(error)),), text))
                    continue
            found.append(cut if dropped_by is None else dropped_by)
    except DcapError as error:
        return found, error
    return found, None


class RecordRange(NamedTuple):
    """Neighbouring records of one file."""

    file: int
    """Index of the file."""
    rows: range
    """Rows of the file."""


def record_ranges(files: Sequence[RecordSource], length: int = RANGE_LENGTH) -> list[RecordRange]:
    """Return the records of some files in order, as ranges of at most `length` records."""
    return [
        RecordRange(f, range(start, min(start + length, len(file))))
        for f, file in enumerate(files)
        for start in range(0, len(file), length)
    ]


def range_length(images: ImageRules | None) -> int:
    """Return how many records a worker process reads at a time."""
    return RANGE_LENGTH_DECODING if images is not None and images.decode else RANGE_LENGTH


class ReadRecord(NamedTuple):
    """A record and what is to be said about it."""

    row: int
    line: bytes
    record: Record | None
    """`None`: it has at least one problem."""
    problems: tuple[Problem, ...]
    note: Problem | None = None
    """What is worth a look, but no problem."""


def read_range(
    files: Sequence[RecordSource], images: ImageRules | None, part: RecordRange, *, text: bool = False
) -> Iterator[ReadRecord]:
    """Yield the records of a range.

    Args:
        files: All files.
        images: As `check_records`.
        part: Which records.
        text: Read conversations, and nothing else.

    Raises:
        RecordError: A file has changed since it was opened.
    """
    file = files[part.file]
    for row in part.rows:
        line = file.line(row)
        record, problems = file.explain(row, line, text=text)
        seen = record
        if record is None and images is not None:
            # Bad objects must not hide that the image is missing too.
            seen = read_without_objects(line, file.origin(row), file.embedded(row))
        if seen is None or images is None:
            yield ReadRecord(row, line, record, problems)
            continue
        problem, note = check_image(seen, images)
        if problem is not None:
            record, problems = None, (*problems, problem)
        yield ReadRecord(row, line, record, problems, note)


def check_image(record: Record, rules: ImageRules) -> tuple[Problem | None, Problem | None]:
    """Return what is wrong with a record's image file, and what is worth a look."""
    try:
        source = image_source(record, rules.root)
        if not rules.decode:
            if is_generated(record.origin.file):
                return None, None  # its size is what its maker says, and the whole image would be made to read it
            check_header(source, record.canvas, rules.max_pixels)
            return None, None
        pixels = decode_image(source, record.canvas, rules.max_pixels, sixteen_bit=rules.sixteen_bit)
        dark = find_darkness(pixels, source)
        return None, None if dark is None else Problem("images[0]", dark)
    except ImageError as error:
        about, _, text = str(error).partition(" ")
        return Problem("images[0]", text) if about == "image" else Problem.of(str(error)), None
    except RecordError as error:
        return Problem.of(str(error).removeprefix(f"{record.origin}: ")), None


def _message(bad: Sequence[BadRecord], num_problems: int) -> str:
    lines = [f"  {item.origin}: {problem}" for item in bad for problem in item.problems]
    if len(lines) == 1:
        head, tail = lines[0].strip(), " Correct it"
    else:
        shown = lines[:ERRORS_SHOWN]
        more = " or more" if num_problems >= ERRORS_SHOWN else ""
        head, tail = (
            f"{len(shown)}{more} problems in {counted(len(bad), 'record')}:\n" + "\n".join(shown),
            "\nCorrect them",
        )
    stop = "" if tail[0] == "\n" or head.endswith((".", "?", "!")) else "."
    return f"{head}{stop}{tail}, or leave bad records out (data.on_bad_record: skip, --on-bad-record skip)."


@dataclass(frozen=True, slots=True)
class BadRecordList:
    """``bad_records.jsonl`` of a run: the records that ``on_bad_record: skip`` left out, one JSON object per line."""

    folder: Path
    """Run folder."""

    @property
    def path(self) -> Path:
        """The file; absent while nothing was left out."""
        return self.folder / BAD_RECORDS_FILE

    def start(self, *checked: CheckedRecords) -> None:
        """Begin the list with the bad records of some files. On resume, keep the records that were added later."""
        added = [_as_line(item) for item in self._items() if "file" not in item]
        found = [
            _as_line(
                {
                    "file": bad.origin.file,
                    "line": bad.origin.line,
                    "errors": [str(problem) for problem in bad.problems],
                    "text": bad.text,
                }
            )
            for records in checked
            for bad in records.bad
        ]
        if lines := found + added:
            write_whole(self.path, b"".join(lines))
        else:
            self.path.unlink(missing_ok=True)

    def _items(self) -> list[dict[str, object]]:
        """Return what the list holds. A crash may have cut the last line; another damaged one is named."""
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.is_file() else []
        items: list[dict[str, object]] = []
        for number, line in enumerate(lines, 1):
            try:
                items.append(dict(json.loads(line)))
            except (ValueError, TypeError, RecursionError):
                log.warning("%s:%d: line must be a JSON object, and is damaged; left out", self.path, number)
        return items

    def add(self, message: str) -> None:
        """Add a record that turned out bad later, such as an image that cannot be decoded.

        It fails again in every epoch, but is listed once.
        """
        log.warning("left out: %s", message)
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
        with writing(self.path), self.path.open("ab", buffering=0) as out:
            out.write(_as_line(item))


def _as_line(item: Mapping[str, object]) -> bytes:
    return (json.dumps(item, ensure_ascii=False) + "\n").encode("utf-8", "replace")
