"""The report of ``dcap validate`` in its three forms: terminal, page, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcap.audit.findings import Finding
from dcap.audit.record_counts import RecordCounts
from dcap.core.words import counted, printable
from dcap.view.charts import Histogram, ranked
from dcap.view.page import render_template

NOTES_KEPT = 1000
"""Notes of one kind that a report lists. The others are counted."""
FINDINGS_SHOWN = 200
"""Problems, and notes, that the terminal lists."""
_REPEATED = {"records": "record", "image_paths": "image path", "image_bytes": "image file", "objects": "object"}
_CAPTION_CHARS = 40
_TEMPLATE = Path(__file__).with_name("templates") / "validation.html"
_CHARTS = {
    "vertices": ("Points of polygons and lines", "points"),
    "object_sizes": ("Object sizes: square root of the share of the image's area, boxes and polygons", ""),
    "objects_per_image": ("Objects per image", "objects"),
    "caption_chars": ("Caption lengths", "characters"),
    "summary_chars": ("Summary lengths", "characters"),
    "image_sides": ("Images: longer side", "pixels"),
}


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Result of `dcap.audit.validation.validate_files`. Counts are over the good records."""

    files: tuple[str, ...]
    records: int
    """Good records."""
    bad: int
    """Records with at least one problem."""
    objects: Mapping[str, int]
    """Number of objects of each kind, by JSON key."""
    negatives: int
    """Good records without objects."""
    summaries: int
    """Good records with a summary."""
    clipped: int
    """Shapes that are partly outside their image. They are clipped; this is a note, not a problem."""
    split: int
    """Number of these that the border splits into parts. All but the largest part are lost, unless
    ``augmentation.split_policy`` is ``all``."""
    images_missing: int
    """Records whose image file does not exist."""
    problem_kinds: Mapping[str, int]
    """Number of problems of each kind, most frequent first. Problems of one kind differ in numbers and names only;
    ``#`` stands for a number that is not the same in all of them."""
    note_kinds: Mapping[str, int]
    """The same for notes."""
    places: Mapping[str, Sequence[str]]
    """The first places, ``FILE:LINE``, of each kind of problem and note."""
    duplicates: Mapping[str, int]
    """Number of ``records``, ``image_paths``, ``image_bytes`` and ``objects`` that equal an earlier one. The image of
    a repeated record is not counted again, nor the bytes of a repeated path."""
    statistics: RecordCounts
    """Sizes, lengths and captions."""
    problems: tuple[Finding, ...]
    """All problems: first those of whole files, then those of records, by file and line."""
    notes: tuple[Finding, ...]
    """Notes, legal but worth a look: clipped shapes, duplicates, images that decode nearly black, coordinates that look
    like fractions (once per file), unknown keys that resemble a known one (once per file and key). The first
    `NOTES_KEPT` of each kind."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields["files"], fields["statistics"] = list(self.files), self.statistics.to_dict()
        for name in ("objects", "problem_kinds", "note_kinds", "places", "duplicates"):
            fields[name] = dict(fields[name])
        for name in ("problems", "notes"):
            fields[name] = [asdict(found) for found in getattr(self, name)]
        return fields


def validation_page(report: ValidationReport, title: str) -> str:
    """Return a report as a page of charts.

    Args:
        report: What to show.
        title: Heading.
    """
    stats = report.statistics
    kinds = ", ".join(f"{count} {key}" for key, count in report.objects.items())
    intro = (
        f"{counted(report.records, 'good record')}, {report.bad} bad; {counted(sum(report.objects.values()), 'object')}"
        f" ({kinds}); {report.negatives} without objects, {report.summaries} with a summary"
    )
    histograms = [(getattr(stats, name), *texts) for name, texts in _CHARTS.items()]
    tables = {
        "Problems": _with_places(report.problem_kinds, report.places),
        "Notes, no problems": _with_places(report.note_kinds, report.places),
        "Most frequent captions": stats.captions.counts,
        "Most frequent image sizes": stats.image_sizes.counts,
    }
    charts = [histogram.chart(name, unit) for histogram, name, unit in histograms if histogram.number]
    charts += [ranked(name, counts) for name, counts in tables.items() if counts]
    return render_template(_TEMPLATE, title=title, intro=intro, charts=charts)


def _with_places(kinds: Mapping[str, int], places: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the kinds with their first places behind their words."""
    named = {kind: ", ".join(places[kind]) for kind in kinds}
    return {f"{kind} ({named[kind]}{', …' * (count > len(places[kind]))})": count for kind, count in kinds.items()}


def print_validation(report: ValidationReport, names: Mapping[str, str], console: Console) -> None:
    """Print a report.

    Args:
        report: What to print.
        names: For each file of the report, how it is named there.
        console: Where to.
    """
    for title, findings, kinds in (
        ("problem", report.problems, report.problem_kinds),
        ("note, no problem", report.notes, report.note_kinds),
    ):
        if findings:
            console.print(_table(title, findings[:FINDINGS_SHOWN], names))
            if sum(kinds.values()) > FINDINGS_SHOWN:
                console.print(_kinds(kinds))
            console.print()
    for line in _summary(report):
        console.print(Text(line))


def _table(title: str, findings: Sequence[Finding], names: Mapping[str, str]) -> Table:
    table = Table("where", "field", title, box=None, pad_edge=False)
    for found in findings:
        # One file needs no folder to be identified. Of several files, two may have the same name.
        name = names[found.file] if len(names) > 1 else Path(found.file).name
        table.add_row(*map(_cell, (f"{name}:{found.line}", found.field, found.text)))
    return table


def _cell(text: str) -> Text:
    return Text(printable(text))


def _kinds(kinds: Mapping[str, int]) -> Table:
    """Return how many there are of each kind, where not all are listed."""
    table = Table("count", "kind; only the first are listed above, --json has them", box=None, pad_edge=False)
    for kind, count in kinds.items():
        table.add_row(Text(f"{count:,}"), _cell(kind))
    return table


def _summary(report: ValidationReport) -> list[str]:
    kinds = ", ".join(f"{count} {key}" for key, count in report.objects.items())
    lines = [
        f"records   {report.records} good, {report.bad} bad; "
        f"{report.negatives} of the good without objects, {report.summaries} with a summary",
        f"objects   {sum(report.objects.values())}: {kinds}",
    ]
    stats = report.statistics
    for name, histogram, what in (
        ("points", stats.vertices, "of each polygon and line"),
        ("sizes", stats.object_sizes, "square root of the share of the image's area"),
        ("captions", stats.caption_chars, f"characters; {_frequent(stats.captions.most(3))}"),
        ("images", stats.image_sides, f"pixels on the longer side; {_frequent(stats.image_sizes.most(3))}"),
        ("per image", stats.objects_per_image, "objects"),
    ):
        if histogram.number:
            lines.append(f"{name:9} {_span(histogram)} {what}")
    if any(report.duplicates.values()):
        twice = ", ".join(counted(count, _REPEATED[name]) for name, count in report.duplicates.items() if count)
        lines.append(f"repeated  {twice}")
    if report.clipped:
        whose = "its image" if report.clipped == 1 else "their images"
        lines.append(
            f"clipped   {counted(report.clipped, 'shape')} partly outside {whose}; only the inner part is used"
        )
    if report.split:
        lines.append(f"split     {report.split} of them are cut into parts; the largest is used")
    if report.images_missing:
        lines.append(f"images    {report.images_missing} missing")
    lines.append(f"problems  {len(report.problems)}" if report.problems else "no problems")
    return lines


def _span(histogram: Histogram) -> str:
    if histogram.low == histogram.high:
        return f"always {histogram.low:.3g},"
    return f"{histogram.low:.3g} to {histogram.high:.3g}, mean {histogram.mean:.3g},"


def _frequent(counts: Mapping[str, int]) -> str:
    return "most often " + ", ".join(
        f"{shorten(text, _CAPTION_CHARS, placeholder=' …')} ({count})" for text, count in counts.items()
    )
