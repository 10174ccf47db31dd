"""The validation of annotation files: all their problems, and their statistics.

Owns the tally of a range of records. The report follows from the tallies, whoever made them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from dcap.audit.duplicates import Fingerprints, Pairs, repeats, same_images, same_objects
from dcap.audit.findings import Finding, Findings
from dcap.audit.record_counts import RecordCounts
from dcap.audit.validation_report import NOTES_KEPT, ValidationReport
from dcap.core.parallel import map_in_order
from dcap.geometry.shapes import KEY_OF_KIND, GeometryKind
from dcap.records.checking import ImageRules, RecordRange, range_length, read_range, record_ranges
from dcap.records.files.opening import open_source
from dcap.records.files.source import RecordSource
from dcap.records.keys import misspelt
from dcap.records.record import Record, has_fractions

NO_RECORDS = "must hold at least one record, not none"
_RECORD_IS = {".parquet": "row", ".tar": "member KEY.json with its image KEY.jpg"}
"""What a record is in files of some endings; in others it is a line of JSON."""
MISSING = "must be a readable file, not missing"
HEADERS = ImageRules()

OnRead = Callable[[str, int, int], None]
"""Called with the name of the work, the amount done, and the total."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


@dataclass
class Tally:
    """Findings in some ranges. Findings of several ranges are joined in order."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: Findings = field(default_factory=Findings)
    notes: Findings = field(default_factory=lambda: Findings(NOTES_KEPT))
    misspelt: dict[str, Finding] = field(default_factory=dict)
    """By file, key and the key that is meant, with NUL between them."""
    fractions: dict[str, list[int]] = field(default_factory=dict)
    """By file: how many records have no coordinate above 1, and the line of the first."""
    statistics: RecordCounts = field(default_factory=RecordCounts)
    prints: list[Fingerprints] = field(default_factory=list)

    def update(self, later: Tally) -> None:
        """Add what later ranges have."""
        self.counts.update(later.counts)
        for name in ("problems", "notes", "statistics"):
            getattr(self, name).update(getattr(later, name))
        self.misspelt = {**later.misspelt, **self.misspelt}
        for file, (count, first) in later.fractions.items():
            self.fractions.setdefault(file, [0, first])[0] += count
        self.prints += later.prints


@dataclass(frozen=True)
class Validation:
    """The validation of some annotation files: its parts, which processes and machines may share, and their report.

    Args:
        files: The files, opened.
        images: How far image files are checked. `None`: only records are read.
        num_workers: Processes that share the work. The report does not depend on it.
        on_read: Called with the progress.
    """

    files: tuple[RecordSource, ...]
    images: ImageRules | None = HEADERS
    num_workers: int = 0
    on_read: OnRead = _silent

    @classmethod
    def open(
        cls,
        names: Sequence[str | Path],
        images: ImageRules | None = HEADERS,
        num_workers: int = 0,
        on_read: OnRead | None = None,
    ) -> Validation:
        """Open annotation files.

        Raises:
            RecordError: A file cannot be read at all.
        """
        return cls(tuple(open_source(name) for name in names), images, num_workers, on_read or _silent)

    @property
    def ranges(self) -> list[RecordRange]:
        """The records, divided into ranges. A range is checked as a whole. The ranges depend on the files alone."""
        return record_ranges(self.files, range_length(self.images))

    def tallies(self, ranges: Sequence[RecordRange]) -> Iterator[Tally]:
        """Yield what there is in each of some ranges, in order.

        Raises:
            RecordError: A file changes meanwhile.
            WorkerError: A worker process died.
        """
        done, total = 0, sum(len(span.rows) for span in ranges)
        made = map_in_order(partial(_look, self.files, self.images), ranges, self.num_workers)
        with closing(made):
            for span, tally in zip(ranges, made, strict=True):
                done += len(span.rows)
                self.on_read("records", done, total)
                yield tally

    def report(self, tallies: Iterable[Tally]) -> ValidationReport:
        """Return the report of the tallies of all ranges, in order.

        Raises:
            RecordError: A file has changed.
            WorkerError: A worker process died.
        """
        found, opened = Tally(), self.files
        for part in tallies:
            found.update(part)
        names = list(dict.fromkeys(str(file.path) for file in opened))
        duplicates = _note_duplicates(found, opened, self.num_workers, self.on_read)
        for note in found.misspelt.values():
            found.notes.add(note)
        for name, (count, first) in found.fractions.items():
            found.notes.add(Finding(name, first, "objects", fractions_note(count)))
        problems = Findings()
        for file in opened:
            if not len(file):
                what = _RECORD_IS.get(file.path.suffix, "line of JSON")
                problems.add(Finding(str(file.path), 1, "file", f"{NO_RECORDS}; a record is one {what}"))
        whole = tuple(problem for _, problem in problems.kept)
        problems.update(found.problems)
        counts = found.counts
        return ValidationReport(
            files=tuple(str(file.path) for file in opened), records=counts["records"], bad=counts["bad"],
            objects={key: counts[key] for key in KEY_OF_KIND.values()}, negatives=counts["negatives"],
            summaries=counts["summaries"], clipped=counts["clipped"], split=counts["split"],
            images_missing=counts["missing"],
            problem_kinds=problems.shown(), note_kinds=found.notes.shown(),
            places={**found.notes.places(), **problems.places()},
            duplicates=duplicates, statistics=found.statistics,
            problems=whole + tuple(problem for _, problem in found.problems.kept), notes=found.notes.in_order(names),
        )  # fmt: skip


def validate_files(
    files: Sequence[str | Path],
    images: ImageRules | None = HEADERS,
    num_workers: int = 0,
    on_read: OnRead | None = None,
) -> ValidationReport:
    """Check every record and image of some annotation files. A file without records is a problem too.

    Args:
        files: Annotation files.
        images: How far image files are checked. `None`: only records are read.
        num_workers: Processes that share the work. The report does not depend on it.
        on_read: Called with the progress.

    Raises:
        RecordError: A file cannot be read at all, or changes meanwhile.
        WorkerError: A worker process died.
    """
    work = Validation.open(files, images, num_workers, on_read)
    return work.report(work.tallies(work.ranges))


def _look(files: Sequence[RecordSource], images: ImageRules | None, span: RecordRange) -> Tally:
    """Return what there is in one range of records."""
    file, found, good = files[span.file], Tally(), list[tuple[int, int, bytes, Record]]()
    for row, line, record, problems, note in read_range(files, images, span):
        if note is not None:
            origin = file.origin(row)
            found.notes.add(Finding(origin.file, origin.line, note.field, note.text))
        if record is None:
            origin = file.origin(row)
            for p in problems:
                found.problems.add(Finding(origin.file, origin.line, p.field, p.text))
            found.counts["bad"] += 1
            found.counts["missing"] += any(MISSING in p.text for p in problems)
            continue
        good.append((span.file, row, line, record))
        _look_at_record(record, found)
    records = [record for *_, record in good]
    found.statistics = RecordCounts.of(records)
    kinds = np.concatenate([np.empty(0, np.uint8), *(record.shapes.kinds for record in records)])
    numbers = np.bincount(kinds, minlength=len(GeometryKind)).tolist()
    found.counts.update({KEY_OF_KIND[kind]: numbers[kind] for kind in GeometryKind})
    found.prints.append(Fingerprints.of(good, with_images=images is not None))
    return found


def _look_at_record(record: Record, found: Tally) -> None:
    counts, origin = found.counts, record.origin
    counts["records"] += 1
    counts["negatives"] += not len(record.shapes)
    counts["summaries"] += record.summary is not None
    counts["clipped"] += len(record.clipped)
    counts["split"] += len(record.other_parts)
    size, parts = f"{record.canvas.width} x {record.canvas.height}", dict(record.other_parts)
    for k in record.clipped:
        key = KEY_OF_KIND[GeometryKind(int(record.shapes.kinds[k]))]
        text = f"lies partly outside the image ({size}); the inner part is used"
        if k in parts:
            count = 1 + len(parts[k])
            text = (
                f"is in the image ({size}) in {count} parts; the largest is used, or all by augmentation.split_policy"
            )
        found.notes.add(Finding(origin.file, origin.line, f"objects[{k}].{key}", text))
    if has_fractions(record):
        found.fractions.setdefault(origin.file, [0, origin.line])[0] += 1
    for k, first in same_objects(record):
        counts["same objects"] += 1
        text = f"has the caption and the points of objects[{first}]"
        found.notes.add(Finding(origin.file, origin.line, f"objects[{k}]", text))
    for place, key, meant in _misspelt_keys(record):
        text = f"is not a known key; did you mean {meant}?"
        note = Finding(origin.file, origin.line, place + key, text)
        found.misspelt.setdefault("\0".join((origin.file, key, meant)), note)


def fractions_note(count: int) -> str:
    """Return what to say about records all of whose coordinates are at most 1."""
    which = "all coordinates of 1 record are" if count == 1 else f"all coordinates of {count} records are"
    return f"{which} at most 1; coordinates must be pixels, and these may be fractions of the image's sides"


def _note_duplicates(found: Tally, files: Sequence[RecordSource], num_workers: int, told: OnRead) -> dict[str, int]:
    """Note duplicates, and return their number."""
    prints = Fingerprints.concatenate(found.prints)
    records = repeats(prints.record)
    again = {i for i, _ in records}
    paths = [(i, first) for i, first in repeats(prints.path) if i not in again]

    def track(made: Iterator[list[bytes]], total: int) -> Iterator[list[bytes]]:
        for done, item in enumerate(made, 1):
            told("images of one size", done, total)
            yield item

    same_bytes = same_images(prints, files, num_workers, track)
    for pairs, name, text in (
        (records, "record", "is the same line as {}"),
        (paths, "images[0]", "is the image of {} too"),
        (same_bytes, "images[0]", "has the bytes of the image of {}"),
    ):
        for note in _notes(pairs, prints, files, name, text):
            found.notes.add(note)
    numbers = (len(records), len(paths), len(same_bytes), found.counts["same objects"])
    return dict(zip(("records", "image_paths", "image_bytes", "objects"), numbers, strict=True))


def _notes(
    pairs: Pairs, prints: Fingerprints, files: Sequence[RecordSource], name: str, text: str
) -> Iterator[Finding]:
    for pair in pairs:
        here, there = (files[f].origin(row) for f, row in prints.place[list(pair)].tolist())
        other = str(there) if here.file != there.file else f"line {there.line}"
        yield Finding(here.file, here.line, name, text.format(other))


def _misspelt_keys(record: Record) -> Iterator[tuple[str, str, str]]:
    """Yield (place, key, known key) for each unknown key that looks like an optional one that is not there."""
    given = {"summary": record.summary is not None, "metadata": bool(record.metadata)}
    absent = tuple(name for name, there in given.items() if not there)
    for key in record.extra:
        if meant := misspelt(key, absent):
            yield "", key, meant
    for k, extra in enumerate(record.extras):
        for key in sorted(extra):
            if record.attributes[k] is None and (meant := misspelt(key, ("attributes",))):
                yield f"objects[{k}].", key, meant
