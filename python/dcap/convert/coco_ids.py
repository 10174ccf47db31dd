"""Ids of a COCO file made from records: the ones that the records came with, or numbers from 1.

Owns what makes ids stable: the same records get the same ids, and files that share a table share its categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dcap.convert.coco_file import Id
from dcap.geometry.shapes import GeometryKind
from dcap.records.record import Record


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
    """Text to the supercategory that stands in its category, for those that have one."""


def choose_ids(records: Iterable[Record], table: Iterable[Mapping[str, Any]] = ()) -> Ids:
    """Choose ids in one pass over the records.

    Args:
        records: All records.
        table: Categories whose ids are used; texts that it has not get the numbers after its largest, in the order
            of the alphabet.
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
    """Whether objects with one id are polygons that differ in nothing else; any others would need two annotations."""
    first: dict[Id, int] = {}
    for k, number in enumerate(ids):
        i = first.setdefault(number, k)
        kinds = {int(record.shapes.kinds[i]), int(record.shapes.kinds[k])}
        same = all(not each or each[i] == each[k] for each in (record.captions, record.attributes, record.extras))
        if i != k and not (same and kinds == {int(GeometryKind.POLYGON)}):
            return False
    return True
