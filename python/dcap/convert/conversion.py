"""A whole conversion: items to records, one by one, to JSONL files that appear when they are whole.

Owns the order of the steps and the threads that work on images. A sample is taken of the items, before anything is done
for them. Files of a division are written at the end, when all groups are known; until then lines are in a scratch file.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import msgspec

from dcap.convert.assembler import Assembler, Swapped
from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.division import Division, Trait
from dcap.convert.image_folder import ImageSearch
from dcap.convert.image_frame import Frame
from dcap.convert.label_map import LabelMap
from dcap.convert.reader import Item, Opened, Reader
from dcap.convert.record_files import check_target, record_line
from dcap.convert.resize import Resizer
from dcap.core.errors import ConfigError, RecordError
from dcap.core.files import is_stream, writing, written_whole
from dcap.core.progress import progress_of
from dcap.core.random import keyed_hash
from dcap.geometry.canvas import MAX_PIXELS
from dcap.records.record import Origin, Record, parse_record, to_dict

T = TypeVar("T")


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
    for made in _made(reader, source, out, report, options or ConvertOptions()):
        yield made.record


class _Made(NamedTuple):
    """A record that is ready to be written."""

    record: Record
    place: SourcePlace
    trait: Trait | None
    """What its file depends on, where records are divided."""


def _made(
    reader: Reader, source: Path, out: Path, report: ConversionReport, options: ConvertOptions
) -> Iterator[_Made]:
    search = ImageSearch(options.images, options.follow_links)
    chosen = None if options.sample is None else _sampled(reader, source, search, report, options)
    opened = reader.open(source, search, report)
    assemble = Assembler(
        opened, out, report, options.frame, options.max_image_pixels, options.swapped, options.labels, options.min_area
    )
    items = progress_of(opened.items, opened.total, "convert")
    base, resizer, division = out.parent.resolve(), options.resizer, options.division

    def finish(item: Item, record: Record) -> tuple[Record, Trait | None]:
        trait = None
        if division is not None:
            trait = division.trait(item.images[0], base / record.image, options.max_image_pixels)
        small = resizer(record, base) if resizer else record
        # The assembler's records passed the contract. Records changed since then pass it again.
        if small is not record:
            small = parse_record(record_line(to_dict(small)), record.origin)
        return small, trait

    line = 0
    assembled = _assembled(items, assemble, report, chosen)
    opens_images = resizer is not None or (division is not None and division.by == "hash")
    for item, future in _ahead(finish, assembled, options.workers if opens_images else 0):
        try:
            record, trait = future()
        except RecordError as error:
            report.refuse(error, item.place)
            continue
        line += 1
        yield _Made(replace(record, origin=Origin(str(out), line)), item.place, trait)
    if chosen is None:
        _tell_unused(opened, report)
    if options.labels is not None and chosen is None:
        for label in options.labels.unused():
            report.add("note", "label of --map that no object has", SourcePlace("--map", "", label))


def _sampled(
    reader: Reader, source: Path, search: ImageSearch, report: ConversionReport, options: ConvertOptions
) -> frozenset[int]:
    """Return the numbers, from 1, of the items to convert. Bad items are reported later, by the conversion."""
    opened = reader.open(source, search, ConversionReport(report.on_bad))
    keys = [keyed_hash(_identity(item), options.seed) for item in progress_of(opened.items, opened.total, "choose")]
    count, order = len(keys), sorted(range(len(keys)), key=keys.__getitem__)
    chosen = frozenset(k + 1 for k in order[: options.sample])
    if count > len(chosen):
        report.add("note", "image that --sample leaves out", SourcePlace(str(source)), count=count - len(chosen))
    return chosen


def _identity(item: Item) -> bytes:
    """Return what tells an item from others, whatever file it is in: its image's name, or its objects without one."""
    if item.embedded is None or item.embedded.is_named:
        return item.images[0].encode("utf-8", "surrogatepass")
    return msgspec.json.encode((item.objects, item.size, item.summary, item.metadata), enc_hook=str)


def _tell_unused(opened: Opened, report: ConversionReport) -> None:
    if opened.complete:
        for name in opened.images.unused():
            reason = "image below the folder of images that no record is made of"
            report.add("note", reason, SourcePlace(str(opened.images.root / name)))


def convert(
    reader: Reader, source: Path, out: Path, report: ConversionReport, options: ConvertOptions | None = None
) -> int | None:
    """Write the records of a foreign data set as JSONL.

    Returns:
        Number of records; None where `strict` and a loss kept files from being written. Without any record, none is
        written either. `report.files` has the number in each file.

    Raises:
        ConfigError: A file exists, and is not to be replaced; or records cannot be divided.
        RecordError: As `read_records`.
    """
    options = options or ConvertOptions()
    targets = (out,) if options.division is None else options.division.files(out)
    for target in targets:
        check_target(target, [source], options.overwrite)
        if options.division is not None and is_stream(target):
            raise ConfigError(f"--out must be a file where --split is given, not {target}")
    made = _made(reader, source, out, report, options)
    counts = dict.fromkeys(map(str, targets), 0)
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(written_whole(target)) for target in targets]
            if options.division is None:
                lines: Iterator[tuple[int, bytes]] = ((0, record_line(to_dict(each.record))) for each in made)
            else:
                scratch = stack.enter_context(_scratch(out))
                lines = _divided(made, options.division, scratch, report)
            for part, line in lines:
                files[part].write(line + b"\n")
                counts[str(targets[part])] += 1
            if not any(counts.values()) or (options.strict and report.total):
                raise _UnwantedError
    except _UnwantedError:
        return None if options.strict and report.total else 0
    report.files |= counts
    return sum(counts.values())


def _scratch(out: Path) -> IO[bytes]:
    """Return a file without a name in the folder of the output, which has room for it."""
    with writing(out):
        return tempfile.TemporaryFile(dir=out.parent)


def _divided(
    made: Iterable[_Made], division: Division, scratch: IO[bytes], report: ConversionReport
) -> Iterator[tuple[int, bytes]]:
    """Yield the file and the line of each record, in order, once all are known."""
    traits: list[Trait] = []
    places: list[SourcePlace] = []
    lengths: list[int] = []
    for record, place, trait in made:
        assert trait is not None
        line = record_line(to_dict(record))
        scratch.write(line)
        traits.append(trait)
        places.append(place)
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


def _assembled(
    items: Iterator[Item], assemble: Assembler, report: ConversionReport, chosen: Collection[int] | None
) -> Iterator[tuple[Item, Record]]:
    for number in itertools.count(1):
        before = {} if chosen is None else report.losses()
        item = next(items, None)
        if item is None:
            return
        if chosen is not None and number not in chosen:
            report.go_back(before)  # of what it would have lost
            continue
        try:
            record = assemble(item, number)
        except RecordError as error:
            report.refuse(error, item.place)
            continue
        yield item, record


def _ahead(
    work: Callable[[Item, Record], T], records: Iterable[tuple[Item, Record]], workers: int
) -> Iterator[tuple[Item, Callable[[], T]]]:
    """Yield the item and the result of each record, in order, a few of them ahead in threads."""
    if workers < 1:
        for item, record in records:
            yield item, partial(work, item, record)
        return
    waiting: deque[tuple[Item, Future[T]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item, record in records:
            waiting.append((item, pool.submit(work, item, record)))
            if len(waiting) >= 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result
