"""What is in some annotation files and everything that is wrong with them, for ``dcap validate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcap.data.check import ImageRules, scan_records
from dcap.data.formats.opening import open_source
from dcap.data.record_keys import misspelt
from dcap.data.records import Record
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.objects import KEY_OF_KIND
from dcap.geometry.shapes import GeometryKind

NO_RECORDS = "must hold at least one record, not none; a record is one line of JSON"
MISSING = "must be a readable file, not missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem or a note, and where it is."""

    file: str
    line: int
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `validate` found; counts are over the good records."""

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
    """Shapes that lie partly outside their image; they are clipped, which is no problem but a note."""
    images_missing: int
    """Records whose image file does not exist."""
    problems: tuple[Finding, ...]
    """All problems: of whole files, then of records in the order of files and lines."""
    notes: tuple[Finding, ...]
    """What is legal and worth a look: each clipped shape; unknown keys like a known one, once per file and key."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields["files"], fields["objects"] = list(self.files), dict(self.objects)
        for name in ("problems", "notes"):
            fields[name] = [asdict(found) for found in getattr(self, name)]
        return fields


def validate(
    files: Sequence[str | Path],
    root: str | Path | None = None,
    max_pixels: int = MAX_PIXELS,
    decode: bool = False,
    on_read: Callable[[int, int], None] | None = None,
) -> Report:
    """Check every record and image of some annotation files; a file without records is a problem too.

    Args:
        files: Annotation files.
        root: Folder that image paths must stay in; None allows any.
        max_pixels: Bound on height x width of an image.
        decode: Decode the pixels of every image; false reads headers only.
        on_read: Called with the number of records read and their total.

    Raises:
        RecordError: A file cannot be read at all.
    """
    opened = [open_source(path) for path in files]
    objects = Counter(dict.fromkeys(KEY_OF_KIND.values(), 0))
    problems = [Finding(str(file.path), 1, "file", NO_RECORDS) for file in opened if not len(file)]
    notes: list[Finding] = []
    counts: Counter[str] = Counter()
    seen: set[tuple[str, str, str]] = set()
    for f, i, record, found in scan_records(opened, ImageRules(root, max_pixels, decode), on_read):
        origin = opened[f].origin(i)
        if record is None:
            problems += [Finding(origin.file, origin.line, p.field, p.text) for p in found]
            counts["bad"] += 1
            counts["missing"] += any(MISSING in p.text for p in found)
            continue
        counts["records"] += 1
        counts["negatives"] += not len(record.shapes)
        counts["summaries"] += record.summary is not None
        counts["clipped"] += len(record.clipped)
        keys = [KEY_OF_KIND[GeometryKind(kind)] for kind in record.shapes.kinds.tolist()]
        objects.update(keys)
        text = f"lies partly outside the image ({record.canvas.width} x {record.canvas.height}); the inner part is used"
        notes += [Finding(origin.file, origin.line, f"objects[{k}].{keys[k]}", text) for k in record.clipped]
        for place, key, meant in _misspelt_keys(record):
            if (origin.file, key, meant) not in seen:
                seen.add((origin.file, key, meant))
                text = f"is not a known key; did you mean {meant}?"
                notes.append(Finding(origin.file, origin.line, place + key, text))
    return Report(
        files=tuple(str(file.path) for file in opened), records=counts["records"], bad=counts["bad"],
        objects=dict(objects), negatives=counts["negatives"], summaries=counts["summaries"],
        clipped=counts["clipped"], images_missing=counts["missing"], problems=tuple(problems),
        notes=tuple(notes),
    )  # fmt: skip


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
