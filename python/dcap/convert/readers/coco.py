"""COCO instances: polygons, masks and boxes, with categories as texts.

Owns the keys of images and annotations. What dcap itself adds to them, under the key ``dcap``, is written by
`dcap.convert.coco_writer` and read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dcap.convert.coco_file import CocoFile, Id, check_id, read_captions, read_coco
from dcap.convert.coco_shapes import GEOMETRY_KEYS, OTHER_GEOMETRY, annotation_shapes
from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import as_object, checked_numbers, show_short
from dcap.convert.foreign_shapes import Parts
from dcap.convert.image_folder import ImageSearch
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.core.errors import RecordError
from dcap.records.objects import COORDINATE_LIMIT

_IMAGE_KEYS = frozenset(("id", "file_name", "width", "height", "dcap"))
_OWN_KEYS = (
    frozenset(("id", "image_id", "category_id", "iscrowd", "attributes", "dcap", "line", "index"))
    | GEOMETRY_KEYS
    | OTHER_GEOMETRY
)


@READERS.register("coco")
@dataclass(frozen=True)
class Coco:
    """Images, annotations and categories in one JSON file, as COCO and many export tools write it."""

    captions: Path | None = None
    """COCO captions file; the first caption of an image, in the order of the file, becomes its summary, the others
    are kept as metadata.captions."""
    parts: Parts = "largest"
    """Rule for an object of several polygons: keep its largest polygon, make one object for each, or the box around
    all."""
    crowd: Literal["drop", "keep"] = "drop"
    """Whether regions with iscrowd 1, which hold many things, are kept, with iscrowd in their attributes."""

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        """Load the file. Without `images`, the images are beside it."""
        data = read_coco(source, report)
        captions = read_captions(self.captions, report) if self.captions else {}
        items = self._items(data, captions, source, report)
        return Opened(images.within(source.parent), len(data.images), items)

    def _items(
        self, data: CocoFile, captions: Mapping[Id, Sequence[str]], source: Path, report: ConversionReport
    ) -> Iterator[Item]:
        seen: set[Id] = set()
        for k, value in enumerate(data.images):
            place = SourcePlace(str(source), f"images[{k}]")
            try:
                image = as_object(value, "image")
                key = check_id(image.get("id"), "id")
            except RecordError:
                continue  # said when the file was loaded, as an id that is given twice
            if key in seen or key not in data.image_ids:
                continue
            seen.add(key)
            try:
                place = SourcePlace(str(source), f"image {key}")
                size = (_side(image, "width"), _side(image, "height"))
                objects = self._objects(data, key, size, place, report)
                item = self._item({**image, "id": key}, objects, size, captions.get(key, ()), place, data)
            except RecordError as error:
                report.refuse(error, place)
                continue
            yield item
        for key in captions:
            if key not in seen:
                place = SourcePlace(str(self.captions), "", f"image {key}")
                report.add("dropped", "caption of an image that is not in the other file", place)

    def _item(
        self,
        image: dict[str, Any],
        objects: list[FoundObject],
        size: tuple[int, int],
        captions: Sequence[str],
        place: SourcePlace,
        data: CocoFile,
    ) -> Item:
        own = as_object(image.get("dcap", {}), "dcap")
        metadata = as_object(own.get("metadata", {}), "dcap.metadata")
        metadata = {**metadata, "image_id": image["id"], **self.metadata(image, data)}
        if len(captions) > 1:
            metadata["captions"] = list(captions[1:])
        summary = captions[0] if captions else own.get("summary")
        extra = as_object(own.get("extra", {}), "dcap.extra")
        return Item(place, self.image_names(image), objects, size, False, summary, metadata, extra)

    def image_names(self, image: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the possible paths of an image below the folder of images.

        Raises:
            RecordError: The entry names no file.
        """
        name = image.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise RecordError(f"file_name must be a path, not {show_short(name)}")
        return (name,)

    def metadata(self, image: Mapping[str, Any], data: CocoFile) -> dict[str, Any]:
        """Return what else is known of an image: all further keys of its entry."""
        return {key: value for key, value in image.items() if key not in _IMAGE_KEYS}

    def _objects(
        self, data: CocoFile, key: Id, size: tuple[int, int], place: SourcePlace, report: ConversionReport
    ) -> list[FoundObject]:
        found: list[FoundObject] = []
        for k in data.by_image.get(key, ()):
            try:
                annotation = as_object(data.annotations[k], "annotation")
                number = _own_id(annotation, data.repeated.get(k))
                name = f"annotations[{k}]" if number is None else f"annotation {number}"
                found += self._shapes(annotation, name, data, size, place.of(name), report)
            except RecordError as error:
                raise RecordError(f"annotations[{k}]: {error}") from None
        for line in data.lines.get(key, ()):
            number = check_id(line.get("id"), "lines: id")
            values: Any = line.get("line")
            checked_numbers(values, "line", COORDINATE_LIMIT)
            shape = _described(line, f"line {number}", data, "line", list(values))
            index = line.get("index")
            found.insert(index if type(index) is int and 0 <= index <= len(found) else len(found), shape)
        return found

    def _shapes(
        self,
        annotation: dict[str, Any],
        name: str,
        data: CocoFile,
        size: tuple[int, int],
        place: SourcePlace,
        report: ConversionReport,
    ) -> list[FoundObject]:
        if "category_id" not in annotation and "caption" in annotation:
            raise RecordError("category_id must be given; this is a caption. Give captions as --captions")
        for key in sorted(OTHER_GEOMETRY & annotation.keys()):
            report.add("dropped", f"{key}, which records have no shape for", place)
        if _is_crowd(annotation) and self.crowd == "drop":
            report.add("dropped", "region with iscrowd 1; crowd: keep keeps it", place)
            return []
        shapes, turned = annotation_shapes(annotation, size, self.parts, report, place)
        return [_described(annotation, name, data, key, values, turned) for key, values in shapes]


def _own_id(annotation: Mapping[str, Any], earlier: int | None) -> Id | None:
    number = annotation.get("id")
    if number is None:
        return None
    number = check_id(number, "id")
    if earlier is not None:
        text = f"id must be given once, and {show_short(number)} is that of annotations[{earlier}] too"
        raise RecordError(f"{text}. Number them anew, or leave the ids out: annotations need none.")
    return number


def _is_crowd(annotation: Mapping[str, Any]) -> bool:
    value = annotation.get("iscrowd")
    if value not in (None, 0, 1, "0", "1"):
        raise RecordError(f"iscrowd must be 0 or 1, not {show_short(value)}")
    return value in (1, "1")


def _side(image: Mapping[str, Any], name: str) -> int:
    value = image.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 1:
        raise RecordError(f"{name} must be a whole number of pixels >= 1, not {show_short(value)}")
    return value


def _described(
    annotation: Mapping[str, Any], name: str, data: CocoFile, key: str, values: list[Any], turned: bool = False
) -> FoundObject:
    """Return the object with its category's name and all its other data, without an angle that is in its shape."""
    category = data.categories.get(check_id(annotation.get("category_id"), "category_id"))
    if category is None:
        number = show_short(annotation["category_id"])
        raise RecordError(f"category_id must be the id of one of the categories, not {number}")
    own = as_object(annotation.get("dcap", {}), "dcap")
    attributes: dict[str, Any] = {}
    if category.get("supercategory") is not None:
        attributes["supercategory"] = category["supercategory"]
    attributes |= {k: v for k, v in annotation.items() if k not in _OWN_KEYS}
    if _is_crowd(annotation):
        attributes["iscrowd"] = 1
    given = annotation.get("attributes")
    attributes |= given if isinstance(given, dict) else {} if given is None else {"attributes": given}
    if turned:
        attributes.pop("rotation", None)
    extra = as_object(own.get("extra", {}), "dcap.extra")
    shown = own.get("attributes", attributes or None)
    own_id = None if annotation.get("id") is None else check_id(annotation["id"], "id")
    return FoundObject(name, category["name"], key, values, shown, extra, own_id)
