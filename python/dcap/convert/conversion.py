"""A whole conversion: items to records, one by one, to JSONL files that appear when they are whole.

Owns the order of the steps and the threads that work on images. A sample is taken of the items, before anything is done
for them. What an item becomes and loses is a piece; files and report follow from the pieces, whoever made them. Files
of a division are written at the end, when all groups are known; until then lines are in a scratch file.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from dcap.convert.assembler import Assembler, Swapped
from dcap.convert.conversion_piece import Piece
from dcap.convert.conversion_report import ConversionReport, Loss, OnBad, SourcePlace
from dcap.convert.division import Division, Trait
from dcap.convert.image_folder import ImageSearch
from dcap.convert.image_frame import Frame
from dcap.convert.label_map import LabelMap
from dcap.convert.reader import Item, Reader
from dcap.convert.record_files import check_target, record_line
from dcap.convert.resize import Resizer
from dcap.core.errors import ConfigError, RecordError
from dcap.core.files import is_stream, writing, written_whole
from dcap.core.progress import progress_of
from dcap.core.random import keyed_hash
from dcap.core.shard import Shard
from dcap.geometry.canvas import MAX_PIXELS
from dcap.records.record import Origin, Record, parse_record, to_dict


@dataclass(frozen=True)
class ConvertOptions:
    """Options that all formats share."""

    images: Path | None = None
    """Folder that all images must be in. `None`: the folder that the format implies."""
    follow_links: bool = False
    """Whether symbolic links may lead out of the folder of images."""
    frame: Frame = "auto"
    """Where shapes are in images with an EXIF orientation."""
    swapped: Swapped = "drop"
    """What happens to a box with x2 < x1 or y2 < y1: it is left out, or its corners are put in order."""
    max_image_pixels: int = MAX_PIXELS
    """Bound on height x width of an image that is read."""
    resizer: Resizer | None = None
    """Makes smaller image files."""
    workers: int = 1
    """Threads that resize."""
    strict: bool = False
    """Write nothing when anything was lost."""
    overwrite: bool = False
    """Replace an older output."""
    labels: LabelMap | None = None
    """New names of labels. `None`: they stay."""
    min_area: float = 0.0
    """Leave out boxes and polygons with a smaller area, in pixels of the image before it is made smaller."""
    sample: int | None = None
    """Convert only this many images, chosen by a hash of their paths; of what has none, of its content. `None`: all."""
    seed: int = 0
    """Seed of the sample."""
    division: Division | None = None
    """How records are divided into files. `None`: one file."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_area < math.inf:
            raise ConfigError(f"--min-area must be at least 0, not {self.min_area:g}")


def read_records(
    reader: Reader, source: Path, out: Path, report: ConversionReport, options: ConvertOptions | None = None
) -> Iterator[Record]:
    """Yield the records of a foreign data set.

    Args:
        reader: Of its format; see `dcap.convert.reader.READERS`.
        source: File or folder to read.
        out: JSONL file for which records are made: their image paths are relative to its folder. It is not written.
        report: Collects the losses, and decides what happens at bad input.
        options: Options that all formats share.

    Raises:
        RecordError: The input is broken, and `report` stops at bad input; or it cannot be read at all.
    """
    options = options or ConvertOptions()
    work = Conversion(reader, source, out, report.on_bad, options)
    for number, (_, line) in enumerate(_records(work.pieces(), report, options), 1):
        yield parse_record(line, Origin(str(out), number))


class Conversion:
    """A data set that is opened for its conversion, and whose sample is chosen.

    Args:
        reader: As in `read_records`.
        source: As in `read_records`.
        out: As in `read_records`.
        on_bad: What happens at bad input.
        options: Options that all formats share.

    Attributes:
        total: Number of items to convert, as far as it is known before they are read.

    Raises:
        RecordError: As `read_records`.
    """

    def __init__(self, reader: Reader, source: Path, out: Path, on_bad: OnBad, options: ConvertOptions) -> None:
        self._options, self._base, self._source = options, out.parent.resolve(), SourcePlace(str(source))
        # What the reader and the assembler lose is taken from here, item by item.
        self._report = ConversionReport(on_bad)
        search = ImageSearch(options.images, options.follow_links)
        self._chosen = None if options.sample is None else self._sampled(reader, source, search)
        self._opened = reader.open(source, search, self._report)
        self._lost_before = self._report.take()
        self._assemble = Assembler(
            self._opened, out, self._report, options.frame, options.max_image_pixels, options.swapped, options.labels,
            options.min_area,
        )  # fmt: skip
        self.total = self._opened.total if self._chosen is None else len(self._chosen)

    def _sampled(self, reader: Reader, source: Path, search: ImageSearch) -> list[int]:
        """Return the numbers, from 1, of the items to convert. Bad items are reported later, by the conversion."""
        opened = reader.open(source, search, ConversionReport(self._report.on_bad))
        items = progress_of(opened.items, opened.total, "choose")
        keys = [keyed_hash(_identity(item), self._options.seed) for item in items]
        count, order = len(keys), sorted(range(len(keys)), key=keys.__getitem__)
        chosen = sorted(k + 1 for k in order[: self._options.sample])
        if left_out := count - len(chosen):
            self._report.add("note", "image that --sample leaves out", self._source, count=left_out)
        return chosen

    def pieces(self, shard: Shard | None = None, after: int | None = 0) -> Iterator[Piece]:
        """Yield the pieces of all items, or those of a shard. Items can be read once, so this is called once.

        Args:
            shard: Whose pieces. `None`: all.
            after: The last item whose piece is there already. 0: none is. `None`: all are.

        Raises:
            RecordError: As `read_records`.
        """
        shard = shard or Shard(0, 1)
        if after is None:
            return
        if after == 0 and shard.index == 0 and self._lost_before:
            yield Piece(0, self._source, self._lost_before)
        division = self._options.division
        opens_images = self._options.resizer is not None or (division is not None and division.by == "hash")
        items = self._assembled(shard, after)
        with closing(_ahead(self._finish, items, self._options.workers if opens_images else 0)) as made:
            for each, finished in made:
                yield self._piece(each, finished)
        if _is_last(shard):
            yield Piece(None, self._source, self._lost_after())

    def _assembled(self, shard: Shard, after: int) -> Iterator[_Assembled]:
        """Yield the items of a shard with their records."""
        span = shard.of(self.total)
        chosen = None if self._chosen is None else frozenset(self._chosen)
        mine = range(span.start + 1, span.stop + 1) if self._chosen is None else self._chosen[span.start : span.stop]
        wanted, last = mine if chosen is None else frozenset(mine), mine[-1] if mine else 0
        items = progress_of(self._opened.items, self._opened.total, "convert")
        for number in itertools.count(1):
            if number > last and not _is_last(shard):
                return
            item = next(items, None)
            if item is None:
                return
            # A source may have more items than it says.
            is_mine = number in wanted or (chosen is None and number > self.total)
            if not is_mine or number <= after:
                self._report.take()  # it is lost in another shard, or was in an earlier run
                if chosen is None or number in chosen:
                    self._see(item)
                continue
            record = None
            try:
                record = self._assemble(item, number)
            except RecordError as error:
                self._report.refuse(error, item.place)
            labels = self._options.labels.take_met() if self._options.labels else ()
            yield _Assembled(number, item, record, self._report.take(), labels)

    def _see(self, item: Item) -> None:
        """Note the image of an item of another shard, as an image is to be named in one way only."""
        if item.embedded is None:
            with suppress(RecordError):  # its own shard says so
                self._opened.images.find(item.images)

    def _finish(self, item: Item, record: Record) -> _Finished:
        """Return what becomes of a record when its image is opened; several threads do this."""
        options, trait = self._options, None
        if options.division is not None:
            trait = options.division.trait(item.images[0], self._base / record.image, options.max_image_pixels)
        small = options.resizer(record, self._base) if options.resizer else record
        line = record_line(to_dict(small))
        # The assembler's records passed the contract. Records changed since then pass it again.
        if small is not record:
            parse_record(line, record.origin)
        return _Finished(line, trait)

    def _piece(self, each: _Assembled, finished: Callable[[], _Finished] | None) -> Piece:
        line = trait = None
        late = ConversionReport(self._report.on_bad)
        try:
            if finished is not None:
                line, trait = finished()
        except RecordError as error:
            late.refuse(error, each.item.place)
        return Piece(each.number, each.item.place, (*each.losses, *late.take()), line, trait, each.labels)

    def _lost_after(self) -> tuple[Loss, ...]:
        """Return what reading to the end has lost, and the images that no item names."""
        opened = self._opened
        if self._chosen is None and opened.complete:
            for name in opened.images.unused():
                reason = "image below the folder of images that no record is made of"
                self._report.add("note", reason, SourcePlace(str(opened.images.root / name)))
        return self._report.take()


@dataclass(frozen=True, slots=True)
class _Assembled:
    """An item that has been read."""

    number: int
    item: Item
    record: Record | None
    """`None`: the item is broken."""
    losses: tuple[Loss, ...]
    labels: tuple[str, ...]


class _Finished(NamedTuple):
    """A record that is ready to be written."""

    line: bytes
    trait: Trait | None


def _is_last(shard: Shard) -> bool:
    return shard.index == shard.count - 1


def _identity(item: Item) -> bytes:
    """Return what tells an item from others, whatever file it is in: its image's name, or its objects without one."""
    if item.embedded is None or item.embedded.is_named:
        return item.images[0].encode("utf-8", "surrogatepass")
    return msgspec.json.encode((item.objects, item.size, item.summary, item.metadata), enc_hook=str)


def convert(
    reader: Reader, source: Path, out: Path, report: ConversionReport, options: ConvertOptions | None = None
) -> int | None:
    """Write the records of a foreign data set as JSONL.

    Returns:
        As `write_pieces`.

    Raises:
        ConfigError: A file exists, and is not to be replaced; or records cannot be divided.
        RecordError: As `read_records`.
    """
    options = options or ConvertOptions()
    for target in _targets(out, options):
        check_target(target, [source], options.overwrite)

    def pieces() -> Iterator[Piece]:
        yield from Conversion(reader, source, out, report.on_bad, options).pieces()

    return write_pieces(pieces(), out, report, options)


def write_pieces(pieces: Iterable[Piece], out: Path, report: ConversionReport, options: ConvertOptions) -> int | None:
    """Write the records of a conversion as JSONL.

    Args:
        pieces: Of all items, in order.
        out: The new file, or the name that those of a division are made of. An older file is replaced.
        report: Gets the losses.
        options: Options that all formats share.

    Returns:
        Number of records; None where `strict` and a loss kept files from being written. Without any record, none is
        written either. `report.files` has the number in each file.

    Raises:
        ConfigError: Records cannot be divided.
        RecordError: As `read_records`.
    """
    targets = _targets(out, options)
    counts = dict.fromkeys(map(str, targets), 0)
    records = _records(pieces, report, options)
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(written_whole(target)) for target in targets]
            if options.division is None:
                lines: Iterator[tuple[int, bytes]] = ((0, line) for _, line in records)
            else:
                lines = _divided(records, options.division, stack.enter_context(_scratch(out)), report)
            for part, line in lines:
                files[part].write(line + b"\n")
                counts[str(targets[part])] += 1
            if not any(counts.values()) or (options.strict and report.total):
                raise _UnwantedError
    except _UnwantedError:
        return None if options.strict and report.total else 0
    report.files |= counts
    return sum(counts.values())


def _targets(out: Path, options: ConvertOptions) -> tuple[Path, ...]:
    """Return the files that are written."""
    targets = (out,) if options.division is None else options.division.files(out)
    for target in targets:
        if options.division is not None and is_stream(target):
            raise ConfigError(f"--out must be a file where --split is given, not {target}")
    return targets


def _records(
    pieces: Iterable[Piece], report: ConversionReport, options: ConvertOptions
) -> Iterator[tuple[Piece, bytes]]:
    """Yield the pieces that have a record, with its line, and report what all of them lose."""
    met: set[str] = set()
    for piece in pieces:
        report.update(piece.losses)
        met.update(piece.labels)
        if piece.line is not None:
            yield piece, piece.line
    if options.labels is not None and options.sample is None:
        for label in options.labels.unused(met):
            report.add("note", "label of --map that no object has", SourcePlace("--map", "", label))


def _scratch(out: Path) -> IO[bytes]:
    """Return a file without a name in the folder of the output, which has room for it."""
    with writing(out):
        return tempfile.TemporaryFile(dir=out.parent)


def _divided(
    records: Iterable[tuple[Piece, bytes]], division: Division, scratch: IO[bytes], report: ConversionReport
) -> Iterator[tuple[int, bytes]]:
    """Yield the file and the line of each record, in order, once all are known."""
    traits: list[Trait] = []
    places: list[SourcePlace] = []
    lengths: list[int] = []
    for piece, line in records:
        assert piece.trait is not None
        scratch.write(line)
        traits.append(piece.trait)
        places.append(piece.place)
        lengths.append(len(line))
    if not traits:
        return
    parts, group = division.parts(traits)
    scratch.seek(0)
    for k, part in enumerate(parts.tolist()):
        if division.by == "hash" and group[k] != k:
            reason = "image that looks like an earlier one: both are in one file"
            report.add("note", reason, places[k], traits[group[k]].name)
        yield part, scratch.read(lengths[k])


class _UnwantedError(Exception):
    """Leaves the block that would put the file in place."""


def _ahead(
    work: Callable[[Item, Record], _Finished], items: Iterable[_Assembled], workers: int
) -> Generator[tuple[_Assembled, Callable[[], _Finished] | None], None, None]:
    """Yield items and the work on their records, in order, a few of them ahead in threads."""
    if workers < 1:
        for each in items:
            yield each, None if each.record is None else partial(work, each.item, each.record)
        return
    waiting: deque[tuple[_Assembled, Callable[[], _Finished] | None]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for each in items:
            result = None if each.record is None else pool.submit(work, each.item, each.record).result
            waiting.append((each, result))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft()
        yield from waiting
