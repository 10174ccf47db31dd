"""Records to a COCO instances file.

Owns the way back. What COCO knows is written as COCO does; what it does not know stands under the key ``dcap`` of an
image or annotation, or in the list ``lines``, which COCO's tools leave alone and `dcap.convert.readers.coco`
reads::

    polygon   segmentation [[x1, y1, ...]], area, bbox
    box       bbox, area, segmentation of its corners, dcap.shape = "bbox_2d"
    line      lines[]: id, image_id, category_id, line, index (place among the objects of its image)
    desc      category, with the supercategory that all its objects have in their attributes
    summary, metadata          dcap.summary, dcap.metadata of the image

Polygons of one image with the same id in ``metadata.annotation_ids`` become one annotation again. Sizes and shapes
are those of the image as displayed, as in the record.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from dcap.convert.coco_file import Id, read_coco
from dcap.convert.coco_ids import Ids, annotation_ids, choose_ids
from dcap.convert.losses import Losses
from dcap.convert.output import check_target
from dcap.convert.record_file import good_records
from dcap.core.errors import RecordError
from dcap.core.files import written_whole
from dcap.core.progress import progress_of
from dcap.geometry.area import area_or_length
from dcap.geometry.shapes import GeometryKind
from dcap.records.files.jsonl import JsonlFile
from dcap.records.record import Record

_SPOOL_BYTES = 16 << 20


@dataclass(frozen=True)
class CocoOptions:
    """How records become COCO."""

    images: Path | None = None
    """Folder that ``file_name`` starts at; None is that of the records. All images must lie in it."""
    categories: Path | None = None
    """COCO file whose categories keep their ids; without it texts are numbered from 1 in the order of the alphabet."""
    strict: bool = False
    """Write nothing when anything was lost."""
    overwrite: bool = False
    """Replace an older output."""


def to_coco(source: Path, out: Path, losses: Losses, options: CocoOptions | None = None) -> int | None:
    """Write records as one COCO file; annotations are streamed, only ids and categories are held in memory.

    Image files are not opened.

    Returns:
        Number of images; None where `strict` and a loss kept the file from being written.

    Raises:
        ConfigError: `out` exists, and is not to be replaced.
        RecordError: A record is broken, or its image lies elsewhere, and `losses` stops at bad input.
    """
    options = options or CocoOptions()
    check_target(out, source, options.overwrite)
    file = JsonlFile(source)
    table = list(read_coco(options.categories, losses).categories.values()) if options.categories else []
    # What is broken is counted in the pass that writes.
    ids = choose_ids((record for _, record in good_records(file, Losses("skip"))), table)
    writer = _Writer(ids, (options.images or source.parent).resolve(), source.parent.resolve())
    with (
        tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as annotations,
        tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as rest,
    ):
        lists = {"images": _Array(rest), "annotations": _Array(annotations)}
        lines: list[dict[str, Any]] = []
        for place, record in progress_of(good_records(file, losses), len(file), "convert"):
            try:
                image = writer.image(record, lists["images"].count + 1)
            except RecordError as error:
                losses.refuse(error, place)
                continue
            lists["images"].add(image)
            found, found_lines = writer.annotations(record, image["id"], lists["annotations"].count + len(lines) + 1)
            lines += found_lines
            for annotation in found:
                lists["annotations"].add(annotation)
        if options.strict and losses.total:
            return None
        with written_whole(out) as target:
            _write(target, lists, ids.entries, lines)
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


def _write(target: BinaryIO, lists: dict[str, _Array], categories: Sequence[Any], lines: Sequence[Any]) -> None:
    target.write(b'{"info":{"description":"written by dcap"},"licenses":[],\n')
    for name, items in lists.items():
        target.write(f'"{name}":[\n'.encode())
        target.writelines(items.pieces())
        target.write(b"],\n")
    if lines:
        target.write(b'"lines":' + msgspec.json.encode(lines) + b",\n")
    target.write(b'"categories":' + msgspec.json.encode(categories) + b"}\n")


@dataclass(frozen=True)
class _Writer:
    ids: Ids
    images: Path
    base: Path

    def image(self, record: Record, number: int) -> dict[str, Any]:
        path = Path(os.path.normpath(self.base / record.image))
        if not path.is_relative_to(self.images):
            raise RecordError(f"images[0] must lie in {self.images}, not at {path}. Give --images a folder above it.")
        metadata = dict(record.metadata)
        if self.ids.keep_images:
            number = metadata.pop("image_id")
        if self.ids.keep_annotations:
            metadata.pop("annotation_ids", None)
        own: dict[str, Any] = {"summary": record.summary} if record.summary is not None else {}
        own |= {"metadata": metadata} if metadata else {}
        own |= {"extra": dict(record.extra)} if record.extra else {}
        name = path.relative_to(self.images).as_posix()
        size = {"width": record.canvas.width, "height": record.canvas.height}
        return {"id": number, "file_name": name, **size, **({"dcap": own} if own else {})}

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
            # A table of other categories would say something else of it.
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
