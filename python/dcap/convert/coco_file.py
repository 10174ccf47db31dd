"""A COCO file, grouped by image: the layout that COCO, LVIS and many export tools share.

Owns the keys of the whole file. The file is loaded whole, but its images and annotations stay encoded until they are
read. So memory is the size of the file plus about 200 bytes per annotation; plain Python takes ten times as much.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import array, as_object, load_object, show_short
from dcap.core.errors import RecordError

Id = int | str
_FILE_KEYS = frozenset(("images", "annotations", "categories", "lines"))


_MOST_EXACT = 1 << 53


class _Ids(msgspec.Struct):
    image_id: Any = None
    category_id: Any = None
    id: Any = None


_IDS = msgspec.json.Decoder(_Ids)


@dataclass(frozen=True)
class CocoFile:
    """The parts of a COCO file, still encoded."""

    images: Sequence[Any]
    """One per image; `as_object` reads one."""
    image_ids: Set[Id]
    """Ids of the images; one that two files share is left out."""
    annotations: Sequence[Any]
    by_image: Mapping[Id, Sequence[int]]
    """Image id to the positions of its annotations, in the order of the file."""
    categories: Mapping[Id, Mapping[str, Any]]
    """Category id to the category."""
    lines: Mapping[Id, Sequence[Mapping[str, Any]]]
    """Image id to its entries in ``lines``, which dcap adds for polylines."""
    repeated: Mapping[int, int]
    """Position of an annotation to that of an earlier one with its id."""


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
        table, lines = array(data, "categories"), array(data, "lines", required=False)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    categories = _categories(table, path, report)
    known = _image_ids(images, path, report)
    by_image: dict[Id, list[int]] = {}
    first: dict[Any, int] = {}
    repeated: dict[int, int] = {}
    used: set[Any] = set()
    for k, annotation in enumerate(annotations):
        try:
            ids = _ids(annotation, "annotation")
            by_image.setdefault(_known_image(ids, known), []).append(k)
        except RecordError as error:
            report.refuse(error, SourcePlace(str(path), "", f"annotations[{k}]"))
            continue
        if isinstance(ids.id, (int, str, float)) and first.setdefault(ids.id, k) != k:
            repeated[k] = first[ids.id]
        if isinstance(ids.category_id, (int, str, float)):
            used.add(ids.category_id)
    _tell_shared_names(categories, used, path, report)
    return CocoFile(images, known, annotations, by_image, categories, _by_image(lines, known, path, report), repeated)


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
    """Return an id: a whole number, also one that is written as 3.0, or a text.

    Raises:
        RecordError: It is neither; the message begins with `name`.
    """
    if type(value) is int or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MOST_EXACT:
        return int(value)
    given = "must be given" if value is None else f"must be a whole number or a text, not {show_short(value)}"
    raise RecordError(f"{name} {given}")


def _categories(items: Sequence[Any], path: Path, report: ConversionReport) -> dict[Id, dict[str, Any]]:
    categories: dict[Id, dict[str, Any]] = {}
    unclear: set[Id] = set()
    for k, value in enumerate(items):
        place = SourcePlace(str(path), "", f"categories[{k}]")
        try:
            category = as_object(value, "category")
            key = check_id(category.get("id"), "id")
            name = category.get("name")
            if not isinstance(name, str) or not name.strip():
                raise RecordError(f"name must be a text, not {show_short(name)}")
            if key in categories:
                unclear |= {key} if categories[key].get("name") != name else set()
                raise RecordError(f"id must be given once, not twice: {show_short(key)}")
            categories[key] = category
        except RecordError as error:
            report.refuse(error, place)
    # What an id of two names means is not known: an object with it is broken too.
    return {key: category for key, category in categories.items() if key not in unclear}


def _tell_shared_names(
    categories: Mapping[Id, Mapping[str, Any]], used: Collection[Any], path: Path, report: ConversionReport
) -> None:
    """Report the categories whose objects cannot be told apart in records, which have texts and no ids."""
    first: dict[str, Id] = {}
    for key, category in categories.items():
        if key in used and (other := first.setdefault(category["name"], key)) != key:
            place = SourcePlace(str(path), "", f"category {key}")
            detail = f"{show_short(category['name'])} is category {other} too"
            report.add("changed", "category with the name of another one: one text for both", place, detail)


def _image_ids(images: Sequence[Any], path: Path, report: ConversionReport) -> Set[Id]:
    """Return the ids of the images. One that two files share is none of them: its annotations could be of either."""
    known: dict[Id, Any] = {}
    unclear: set[Id] = set()
    for k, value in enumerate(images):
        try:
            image = as_object(value, "image")
            key = check_id(image.get("id"), "id")
            if key in known:
                unclear |= {key} if known[key] != image.get("file_name") else set()
                raise RecordError(f"id must be given once, not twice: {show_short(key)}")
            known[key] = image.get("file_name")
        except RecordError as error:
            report.refuse(error, SourcePlace(str(path), "", f"images[{k}]"))
    return known.keys() - unclear


def _ids(value: Any, name: str) -> _Ids:
    """Return the ids of an annotation, without reading the rest of it where it is still encoded."""
    if isinstance(value, msgspec.Raw):
        try:
            return _IDS.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # said with its facts below
    plain = as_object(value, name)
    return _Ids(plain.get("image_id"), plain.get("category_id"), plain.get("id"))


def _known_image(ids: _Ids, known: Set[Id]) -> Id:
    key = check_id(ids.image_id, "image_id")
    if key not in known:
        raise RecordError(f"image_id must be the id of one of the images, not {show_short(key)}")
    return key


def _by_image(
    lines: Sequence[Any], known: Set[Id], path: Path, report: ConversionReport
) -> dict[Id, list[dict[str, Any]]]:
    found: dict[Id, list[dict[str, Any]]] = {}
    for k, value in enumerate(lines):
        try:
            found.setdefault(_known_image(_ids(value, "line"), known), []).append(as_object(value, "line"))
        except RecordError as error:
            report.refuse(error, SourcePlace(str(path), "", f"lines[{k}]"))
    return found
