"""Records to a COCO instances file.

Owns the way back. Data that COCO has a key for is written as COCO does. Other data is under the key ``dcap`` of an
image or annotation, or in the list ``lines``. COCO's tools ignore both, and `dcap.convert.readers.coco` reads them::

    polygon   segmentation [[x1, y1, ...]], area, bbox
    box       bbox, area, segmentation of its corners, dcap.shape = "bbox_2d"
    line      lines[]: id, image_id, category_id, line, index (place among the objects of its image)
    desc      category, with the supercategory that all its objects have in their attributes
    summary, metadata          dcap.summary, dcap.metadata of the image

Ids are stable: the same records get the same ids, and files that share a table share its categories. Polygons of one
image with the same id in ``metadata.annotation_ids`` become one annotation again. Sizes and shapes
are those of the image as displayed, as in the record.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from dcap.convert.coco_file import Id, read_coco
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.record_files import check_target, common_folder, good_records
from dcap.core.errors import RecordError
from dcap.core.files import written_whole
from dcap.core.progress import progress_of
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind
from dcap.records.files.opening import expand_sources, open_records
from dcap.records.record import Record

_SPOOL_BYTES = 16 << 20


@dataclass(frozen=True)
class CocoOptions:
    """How records become COCO."""

    images: Path | None = None
    """Folder that ``file_name`` starts at. `None`: the folder of the records. All images must be in it. The name of
    an image inside a ``.tar`` or ``.parquet`` file is its name there."""
    categories: Path | None = None
    """COCO file whose categories keep their ids; without it texts are numbered from 1 in the order of the alphabet."""
    strict: bool = False
    """Write nothing when anything was lost."""
    overwrite: bool = False
    """Replace an older output."""


def to_coco(source: Path, out: Path, report: ConversionReport, options: CocoOptions | None = None) -> int | None:
    """Write records as one COCO file, piece by piece: only ids and categories are held in memory.

    Image files are not opened.

    Args:
        source: A file of records, or a folder or pattern; see `dcap.records.files.opening.open_records`.
        out: The new file.
        report: Collects the losses, and decides what happens at bad input.
        options: How records become COCO.

    Returns:
        Number of images; None where `strict` and a loss kept the file from being written. Without any image, none is
        written either.

    Raises:
        ConfigError: `out` exists, and is not to be replaced.
        RecordError: A record is broken, or its image is elsewhere, and `report` stops at bad input.
    """
    options = options or CocoOptions()
    sources = expand_sources([source])
    check_target(out, sources, options.overwrite)
    records = open_records(sources)
    table = list(read_coco(options.categories, report).categories.values()) if options.categories else []
    # Broken records are counted in the pass that writes.
    ids = choose_ids((record for _, record in good_records(records, ConversionReport("skip"))), table)
    writer = _Writer(ids, (options.images or common_folder(records)).resolve())
    with (
        tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as images,
        tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as annotations,
        tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as lines,
    ):
        lists = {"images": _Array(images), "annotations": _Array(annotations), "lines": _Array(lines)}
        for place, record in progress_of(good_records(records, report), len(records), "convert"):
            try:
                image = writer.image(record, lists["images"].count + 1)
            except RecordError as error:
                report.refuse(error, place)
                continue
            lists["images"].add(image)
            if record.embedded is not None:
                report.add("note", "image inside the file of its record: file_name is its name there", place)
            number = lists["annotations"].count + lists["lines"].count + 1
            found, found_lines = writer.annotations(record, image["id"], number)
            for annotation in found:
                lists["annotations"].add(annotation)
            for line in found_lines:
                lists["lines"].add(line)
        if options.strict and report.total:
            return None
        if not lists["images"].count:
            return 0
        with written_whole(out) as target:
            _write(target, lists, ids.entries)
    return lists["images"].count


class _Array:
    """An array of JSON that grows on disk."""

    def __init__(self, file: Any) -> None:
        self.file, self.count = file, 0

    def add(self, item: dict[str, Any]) -> None:
        self.file.write((b",\n" if self.count else b"") + msgspec.json.encode(item))
        self.count += 1

    def pieces(self) -> Iterator[bytes]:
        self.file.seek(0)
        while piece := self.file.read(1 << 20):
            yield piece


def _write(target: BinaryIO, lists: dict[str, _Array], categories: Sequence[Any]) -> None:
    target.write(b'{"info":{"description":"written by dcap"},"licenses":[],\n')
    for name, items in lists.items():
        if name == "lines" and not items.count:  # dcap's own; a file without lines is COCO's alone
            continue
        target.write(f'"{name}":[\n'.encode())
        target.writelines(items.pieces())
        target.write(b"],\n")
    target.write(b'"categories":' + msgspec.json.encode(categories) + b"}\n")


@dataclass(frozen=True)
class _Writer:
    ids: Ids
    images: Path

    def image(self, record: Record, number: int) -> dict[str, Any]:
        metadata = dict(record.metadata)
        if self.ids.keep_images:
            number = metadata.pop("image_id")
        if self.ids.keep_annotations:
            metadata.pop("annotation_ids", None)
        own: dict[str, Any] = {"summary": record.summary} if record.summary is not None else {}
        own |= {"metadata": metadata} if metadata else {}
        own |= {"extra": dict(record.extra)} if record.extra else {}
        name = record.image if record.embedded is not None else self._file_name(record)
        size = {"width": record.canvas.width, "height": record.canvas.height}
        return {"id": number, "file_name": name, **size, **({"dcap": own} if own else {})}

    def _file_name(self, record: Record) -> str:
        path = Path(os.path.normpath(Path(record.origin.file).parent.resolve() / record.image))
        if not path.is_relative_to(self.images):
            raise RecordError(f"images[0] must lie in {self.images}, not at {path}. Give --images a folder above it.")
        return path.relative_to(self.images).as_posix()

    def annotations(self, record: Record, image: Id, number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return annotations and lines of a record; without ids of their own they are numbered from `number`."""
        given = annotation_ids(record) if self.ids.keep_annotations else None
        areas, bounds = area_or_length(record.shapes), record.shapes.bounds()
        found: dict[Id, dict[str, Any]] = {}
        lines: list[dict[str, Any]] = []
        for k, (kind, points) in enumerate(record.shapes):
            own = given[k] if given else number + len(found) + len(lines)
            base = {"id": own, "image_id": image, "category_id": self.ids.categories[record.captions[k]]}
            base |= self._attributes(record, k, kind)
            if kind is GeometryKind.LINE:
                lines.append({**base, "line": points.ravel().tolist(), "index": k})
                continue
            new = {**base, **_shape(kind, points, float(areas[k]), bounds[k])}
            found[own] = _joined(found[own], new) if own in found else new
        return list(found.values()), lines

    def _attributes(self, record: Record, k: int, kind: GeometryKind) -> dict[str, Any]:
        given = record.attributes[k]
        own: dict[str, Any] = {}
        named = self.ids.supercategories.get(record.captions[k])
        annotation: dict[str, Any] = {}
        if isinstance(given, dict) and given.get("supercategory") == named:
            rest = {key: value for key, value in given.items() if key != "supercategory" or named is None}
            annotation = {"attributes": rest} if rest else {}
            if not given:
                own["attributes"] = given
        elif given is not None or named is not None:
            # A table of other categories would contradict it.
            own["attributes"] = given
        own |= {"extra": dict(record.extras[k])} if record.extras and record.extras[k] else {}
        own |= {"shape": "bbox_2d"} if kind is GeometryKind.BOX else {}
        crowd = isinstance(given, dict) and given.get("iscrowd") == 1
        return {"iscrowd": int(crowd), **annotation, **({"dcap": own} if own else {})}


def _shape(kind: GeometryKind, points: Any, area: float, bounds: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = bounds.tolist()
    ring = [x1, y1, x2, y1, x2, y2, x1, y2] if kind is GeometryKind.BOX else points.ravel().tolist()
    return {"segmentation": [ring], "area": area, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return one annotation of the polygons of two."""
    low = np.minimum(first["bbox"][:2], second["bbox"][:2])
    corners = [np.add(item["bbox"][:2], item["bbox"][2:]) for item in (first, second)]
    size = np.maximum(*corners) - low
    return {
        **first,
        "segmentation": [*first["segmentation"], *second["segmentation"]],
        "area": first["area"] + second["area"],
        "bbox": [*low.tolist(), *size.tolist()],
    }


@dataclass(frozen=True)
class Ids:
    """How images, annotations and categories are numbered."""

    keep_images: bool
    """Every record has an ``image_id`` of its own in its metadata."""
    keep_annotations: bool
    """Every object has an id in ``metadata.annotation_ids``, which no other image has."""
    categories: Mapping[str, Id]
    """Text to category id."""
    entries: tuple[Mapping[str, Any], ...]
    """The ``categories`` of the file."""
    supercategories: Mapping[str, Any]
    """Text to the supercategory of its category, for texts that have one."""


def choose_ids(records: Iterable[Record], table: Iterable[Mapping[str, Any]] = ()) -> Ids:
    """Choose ids in one pass over the records.

    Args:
        records: All records.
        table: Categories whose ids are used. New texts get the numbers after its largest, in the order of the alphabet.
    """
    images: set[Id] = set()
    annotations: set[Id] = set()
    keep_images = keep_annotations = True
    above: dict[str, Any] = {}
    for record in records:
        number = record.metadata.get("image_id")
        keep_images = keep_images and _is_id(number) and number not in images
        if keep_images and number is not None:
            images.add(number)
        ids = annotation_ids(record)
        keep_annotations = keep_annotations and ids is not None and annotations.isdisjoint(ids)
        keep_annotations = keep_annotations and ids is not None and _can_join(record, ids)
        if keep_annotations and ids is not None:
            annotations.update(ids)
        for desc, attributes in zip(record.captions, record.attributes, strict=True):
            given = attributes.get("supercategory") if isinstance(attributes, dict) else None
            if above.setdefault(desc, given) != given:
                above[desc] = None
    entries = [dict(entry) for entry in table]
    categories: dict[str, Id] = {}
    for entry in entries:
        categories.setdefault(entry["name"], entry["id"])
    first = max((entry["id"] for entry in entries if type(entry["id"]) is int), default=0) + 1
    for number, desc in enumerate(sorted(above.keys() - categories.keys()), start=first):
        categories[desc] = number
        given = {} if above[desc] is None else {"supercategory": above[desc]}
        entries.append({"id": number, "name": desc, **given})
    named = {entry["name"]: entry["supercategory"] for entry in reversed(entries) if "supercategory" in entry}
    return Ids(keep_images, keep_annotations, categories, tuple(entries), named)


def annotation_ids(record: Record) -> list[Id] | None:
    """Return the ids that the objects of a record came with, or None where not each has one."""
    ids = record.metadata.get("annotation_ids", [] if not len(record.shapes) else None)
    if not isinstance(ids, list) or len(ids) != len(record.shapes) or not all(map(_is_id, ids)):
        return None
    return ids


def _is_id(value: Any) -> bool:
    return type(value) is int or isinstance(value, str)


def _can_join(record: Record, ids: list[Id]) -> bool:
    """Whether objects with one id are polygons that differ only in their points. Others would need two annotations."""
    first: dict[Id, int] = {}
    for k, number in enumerate(ids):
        i = first.setdefault(number, k)
        kinds = {int(record.shapes.kinds[i]), int(record.shapes.kinds[k])}
        same = all(not each or each[i] == each[k] for each in (record.captions, record.attributes, record.extras))
        if i != k and not (same and kinds == {int(GeometryKind.POLYGON)}):
            return False
    return True
