"""A COCO file, grouped by image: the layout that COCO, LVIS and many export tools share.

Owns the keys of the whole file. The file is loaded whole, but its images and annotations stay encoded until they are
read. So memory is the size of the file plus about 200 bytes per annotation; plain Python takes ten times as much.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import array, as_object, load_object, show_short
from dcap.core.errors import RecordError

Id = int | str
_FILE_KEYS = frozenset(("images", "annotations", "categories", "lines"))


class _ImageId(msgspec.Struct):
    image_id: Id


_IMAGE_ID = msgspec.json.Decoder(_ImageId)


@dataclass(frozen=True)
class CocoFile:
    """The parts of a COCO file, still encoded."""

    images: Sequence[Any]
    """One per image; `as_object` reads one."""
    annotations: Sequence[Any]
    by_image: Mapping[Id, Sequence[int]]
    """Image id to the positions of its annotations, in the order of the file."""
    categories: Mapping[Id, Mapping[str, Any]]
    """Category id to the category."""
    lines: Mapping[Id, Sequence[Mapping[str, Any]]]
    """Image id to its entries in ``lines``, which dcap adds for polylines."""


def read_coco(path: Path, report: ConversionReport) -> CocoFile:
    """Load a COCO file.

    Raises:
        RecordError: It is no JSON object, or has no ``images``, ``annotations`` or ``categories``; or an annotation
            names no image, or an image that is not there, and bad input is an error.
    """
    data = load_object(path)
    for key in sorted(data.keys() - _FILE_KEYS):
        report.add("note", "key of the whole file, which records have no place for", SourcePlace(str(path), "", key))
    try:
        images, annotations = array(data, "images"), array(data, "annotations")
        categories = _categories(array(data, "categories"), path, report)
        lines = array(data, "lines", required=False)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    known = _image_ids(images, path, report)
    by_image: dict[Id, list[int]] = {}
    for k, annotation in enumerate(annotations):
        place = SourcePlace(str(path), "", f"annotations[{k}]")
        try:
            by_image.setdefault(_known_image(annotation, known), []).append(k)
        except RecordError as error:
            report.refuse(error, place)
    return CocoFile(images, annotations, by_image, categories, _by_image(lines, known, path, report))


def read_captions(path: Path, report: ConversionReport) -> dict[Id, list[str]]:
    """Return the captions of each image of a COCO captions file, by image id, in the order of the file.

    Raises:
        RecordError: It is no JSON object or has no ``annotations``; or a caption is none, and bad input is an error.
    """
    data = load_object(path)
    captions: dict[Id, list[str]] = {}
    try:
        annotations = array(data, "annotations")
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    for k, value in enumerate(annotations):
        try:
            annotation = as_object(value, "caption")
            text = annotation.get("caption")
            if not isinstance(text, str) or not text.strip():
                raise RecordError(f"caption must be a text, not {show_short(text)}")
            captions.setdefault(check_id(annotation.get("image_id"), "image_id"), []).append(text.strip())
        except RecordError as error:
            report.refuse(error, SourcePlace(str(path), "", f"annotations[{k}]"))
    return captions


def check_id(value: Any, name: str) -> Id:
    """Return an id: a whole number or a text.

    Raises:
        RecordError: It is neither; the message begins with `name`.
    """
    if type(value) is int or isinstance(value, str):
        return value
    given = "must be given" if value is None else f"must be a whole number or a text, not {show_short(value)}"
    raise RecordError(f"{name} {given}")


def _categories(items: Sequence[Any], path: Path, report: ConversionReport) -> dict[Id, dict[str, Any]]:
    categories: dict[Id, dict[str, Any]] = {}
    for k, value in enumerate(items):
        place = SourcePlace(str(path), "", f"categories[{k}]")
        try:
            category = as_object(value, "category")
            key = check_id(category.get("id"), "id")
            name = category.get("name")
            if not isinstance(name, str) or not name.strip():
                raise RecordError(f"name must be a text, not {show_short(name)}")
            if key in categories:
                raise RecordError(f"id must be given once, not twice: {show_short(key)}")
            categories[key] = category
        except RecordError as error:
            report.refuse(error, place)
    return categories


def _image_ids(images: Sequence[Any], path: Path, report: ConversionReport) -> set[Id]:
    known: set[Id] = set()
    for k, value in enumerate(images):
        try:
            key = check_id(as_object(value, "image").get("id"), "id")
            if key in known:
                raise RecordError(f"id must be given once, not twice: {show_short(key)}")
            known.add(key)
        except RecordError as error:
            report.refuse(error, SourcePlace(str(path), "", f"images[{k}]"))
    return known


def _known_image(value: Any, known: set[Id]) -> Id:
    key: Id | None = None
    if isinstance(value, msgspec.Raw):
        with contextlib.suppress(msgspec.ValidationError, UnicodeDecodeError):  # explained below
            key = _IMAGE_ID.decode(value).image_id
    if key is None:
        key = check_id(as_object(value, "annotation").get("image_id"), "image_id")
    if key not in known:
        raise RecordError(f"image_id must be the id of one of the images, not {show_short(key)}")
    return key


def _by_image(
    lines: Sequence[Any], known: set[Id], path: Path, report: ConversionReport
) -> dict[Id, list[dict[str, Any]]]:
    found: dict[Id, list[dict[str, Any]]] = {}
    for k, value in enumerate(lines):
        try:
            found.setdefault(_known_image(value, known), []).append(as_object(value, "line"))
        except RecordError as error:
            report.refuse(error, SourcePlace(str(path), "", f"lines[{k}]"))
    return found
