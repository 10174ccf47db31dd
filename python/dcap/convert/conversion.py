"""A whole conversion: items to records, one by one, to a JSONL file that appears when it is whole.

Owns the order of the steps and the threads that resize.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from dcap.convert.assembler import Assembler, Swapped
from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.image_folder import ImageSearch
from dcap.convert.image_frame import Frame
from dcap.convert.reader import Item, Reader
from dcap.convert.record_files import check_target, record_line
from dcap.convert.resize import Resizer
from dcap.core.errors import RecordError
from dcap.core.files import written_whole
from dcap.core.progress import progress_of
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
    opened = reader.open(source, ImageSearch(options.images, options.follow_links), report)
    assemble = Assembler(opened, out, report, options.frame, options.max_image_pixels, options.swapped)
    items = progress_of(opened.items, opened.total, "convert")
    base, resizer = out.parent.resolve(), options.resizer

    def finish(record: Record) -> Record:
        small = resizer(record, base) if resizer else record
        # The assembler's records passed the contract. Records changed since then pass it again.
        return record if small is record else parse_record(record_line(to_dict(small)), record.origin)

    line = 0
    assembled = _assembled(items, assemble, report)
    for place, future in _ahead(finish, assembled, options.workers if resizer else 0):
        try:
            record = future()
        except RecordError as error:
            report.refuse(error, place)
            continue
        line += 1
        yield replace(record, origin=Origin(str(out), line))
    if opened.complete:
        for name in opened.images.unused():
            reason = "image below the folder of images that no record is made of"
            report.add("note", reason, SourcePlace(str(opened.images.root / name)))


def convert(
    reader: Reader, source: Path, out: Path, report: ConversionReport, options: ConvertOptions | None = None
) -> int | None:
    """Write the records of a foreign data set as JSONL.

    Returns:
        Number of records; None where `strict` and a loss kept the file from being written. Without any record, none is
        written either.

    Raises:
        ConfigError: `out` exists, and is not to be replaced.
        RecordError: As `read_records`.
    """
    options = options or ConvertOptions()
    check_target(out, [source], options.overwrite)
    count = 0
    try:
        with written_whole(out) as file:
            for record in read_records(reader, source, out, report, options):
                file.write(record_line(to_dict(record)) + b"\n")
                count += 1
            if not count or (options.strict and report.total):
                raise _UnwantedError
    except _UnwantedError:
        return None if options.strict and report.total else 0
    return count


class _UnwantedError(Exception):
    """Leaves the block that would put the file in place."""


def _assembled(
    items: Iterable[Item], assemble: Assembler, report: ConversionReport
) -> Iterator[tuple[SourcePlace, Record]]:
    for count, item in enumerate(items, start=1):
        try:
            record = assemble(item, count)
        except RecordError as error:
            report.refuse(error, item.place)
            continue
        yield item.place, record


def _ahead(
    work: Callable[[Record], Record], records: Iterable[tuple[SourcePlace, Record]], workers: int
) -> Iterator[tuple[SourcePlace, Callable[[], Record]]]:
    """Yield the place and the result of each record, in order, a few of them ahead in threads."""
    if workers < 1:
        for place, record in records:
            yield place, lambda record=record: work(record)  # type: ignore[misc]
        return
    waiting: deque[tuple[SourcePlace, Future[Record]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for place, record in records:
            waiting.append((place, pool.submit(work, record)))
            if len(waiting) >= 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result
