"""Pascal VOC: one XML file per image.

Owns the step from VOC's pixels, counted from 1 with both ends inside the box, to pixel edges: x1 - 1 and x2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

import numpy as np

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import files_below, number_of, show_short
from dcap.convert.foreign_shapes import Parts, Shape, check_box, corners_of, degrees_of, shapes_of, turned_box
from dcap.convert.foreign_xml import load_xml
from dcap.convert.image_folder import ImageSearch
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.core.errors import RecordError
from dcap.core.files import require_file
from dcap.geometry.shapes import box_fault
from dcap.records.objects import COORDINATE_LIMIT

_OBJECT_TAGS = frozenset(("name", "bndbox", "robndbox", "polygon", "part"))
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_CORNER = re.compile(r"[xy][1-9][0-9]*")
_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
_TURNED = ("cx", "cy", "w", "h", "angle")
_TURNED_CORNERS = tuple(
    f"{axis}_{corner}" for corner in ("left_top", "right_top", "right_bottom", "left_bottom") for axis in "xy"
)
_FILE_TAGS = frozenset(("filename", "path", "size", "object", "segmented"))


@READERS.register("voc")
@dataclass(frozen=True)
class Voc:
    """A folder of Pascal VOC's XML files, one of them, or a folder with Annotations and JPEGImages in it."""

    coordinates: Literal["pixels", "edges"] = "pixels"
    """Pixels: VOC's own, counted from 1, both ends inside the box. Edges: numbers that are pixel edges already."""
    parts: Parts = "largest"
    """Rule for an object of several polygons: keep its largest polygon, make one object for each, or the box around
    all."""
    split: Path | None = None
    """Text file with the names of the annotations to take, one a line, such as ImageSets/Main/train.txt;
    from the current folder, or from the source."""

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        """Find the files. Without `images`, the images are in JPEGImages, or beside the annotations.

        Raises:
            RecordError: There is no XML file, or the split names one that is missing.
        """
        folder = source / "Annotations" if (source / "Annotations").is_dir() else source
        files = files_below(folder, ".xml") if folder.is_dir() else [folder]
        if self.split:
            split = self.split if self.split.is_file() else source / self.split
            files = _chosen(split, files)
        if not files:
            raise RecordError(f"{source} must hold Pascal VOC's .xml files, and has none")
        base = folder if folder.is_dir() else folder.parent
        places = [place for place in (base / "JPEGImages", base.parent / "JPEGImages") if place.is_dir()]
        found = images.within(places[0] if places else base)
        return Opened(found, len(files), self._items(files, report), complete=not self.split and source.is_dir())

    def _items(self, files: Sequence[Path], report: ConversionReport) -> Iterator[Item]:
        for path in files:
            place = SourcePlace(str(path))
            try:
                item = self._item(path, place, report)
            except RecordError as error:
                report.refuse(error, place)
                continue
            yield item

    def _item(self, path: Path, place: SourcePlace, report: ConversionReport) -> Item:
        root = load_xml(path)
        if root.tag != "annotation":
            raise RecordError(f"file must begin with <annotation>, not <{root.tag}>")
        name = _text(root, "filename")
        objects: list[FoundObject] = []
        for k, item in enumerate(root.findall("object")):
            try:
                objects += self._object(item, f"object {k + 1}", place, report)
            except RecordError as error:
                raise RecordError(f"object {k + 1}: {error}") from None
        metadata = _by_tag(child for child in root if child.tag not in _FILE_TAGS)
        return Item(place, (name,), objects, _size(root), metadata=metadata)

    def _object(self, item: Element, name: str, place: SourcePlace, report: ConversionReport) -> list[FoundObject]:
        at = place.of(name)
        for part in item.findall("part"):
            report.add("dropped", "part of an object", at, part.findtext("name") or "")
        for tag in ("bndbox", "robndbox"):
            for _ in item.findall(tag)[1:]:
                report.add("dropped", f"second {tag} of an object", at)
        attributes = _by_tag(child for child in item if child.tag not in _OBJECT_TAGS)
        desc = _text(item, "name")
        outline = [self._ring(polygon, at, report) for polygon in item.findall("polygon")] or None
        element = item.find("robndbox")
        turned = None if element is None else _turned(element, at, report)
        box = self._box(item.find("bndbox"), attributes, bool(outline or turned), at, report)
        if not (outline or turned or box):
            raise RecordError("bndbox must be given")
        if turned and box and not outline:
            check_box(box, turned[1], report, at)
        shapes = shapes_of(outline, turned or box, self.parts, report, at)
        return [FoundObject(name, desc, key, values, attributes or None) for key, values in shapes]

    def _ring(self, polygon: Element, at: SourcePlace, report: ConversionReport) -> list[float]:
        count = len([child for child in polygon if _CORNER.fullmatch(child.tag)])
        for child in polygon:
            if not _CORNER.fullmatch(child.tag):
                report.add("dropped", f"{child.tag} in a polygon", at, (child.text or "").strip())
        # A polygon goes through pixels; their centres are half a pixel from both edges.
        shift = 0.5 if self.coordinates == "pixels" else 0.0
        return [_number(polygon, f"{axis}{k + 1}") - shift for k in range((count + 1) // 2) for axis in "xy"]

    def _box(
        self,
        bndbox: Element | None,
        attributes: dict[str, Any],
        has_outline: bool,
        at: SourcePlace,
        report: ConversionReport,
    ) -> Shape | None:
        """Return the box of an object, turned where it or an attribute of CVAT says so. `None`: there is none.

        The attribute is taken out where the box is the shape of the object.
        """
        if bndbox is None:
            return None
        try:
            x1, y1, x2, y2 = (_number(bndbox, key) for key in _CORNERS)
            rotation = bndbox.find("rotation")
            degrees = 0.0 if rotation is None else degrees_of(_number(bndbox, "rotation"))
        except RecordError as error:
            if not has_outline:
                raise
            report.add("dropped", "broken box beside an outline: the outline is used", at, str(error))
            return None
        for child in bndbox:
            if child.tag not in _CORNERS and child.tag != "rotation":
                report.add("dropped", f"{child.tag} in a bndbox", at, (child.text or "").strip())
        shift = 1.0 if self.coordinates == "pixels" else 0.0
        # The smaller number is the first pixel inside, also where the corners are swapped.
        xs = (x1 - shift, x2) if x1 <= x2 else (x1, x2 - shift)
        ys = (y1 - shift, y2) if y1 <= y2 else (y1, y2 - shift)
        corners = [xs[0], ys[0], xs[1], ys[1]]
        degrees = degrees or next((degrees_of(value) for name, value in _named(attributes) if name == "rotation"), 0.0)
        if not degrees or box_fault(np.reshape(corners, (2, 2))):
            return "bbox_2d", corners
        if not has_outline:
            _drop_rotation(attributes)
        return turned_box(corners, degrees)


def _turned(element: Element, at: SourcePlace, report: ConversionReport) -> Shape:
    """Return the shape of a turned box: roLabelImg's centre, sides and angle, or corners as in DIOR-R.

    Both measure in pixel edges. The angle is in radians, clockwise on the image.
    """
    tags = {child.tag for child in element}
    names = _TURNED if "cx" in tags else _TURNED_CORNERS
    values = [_number(element, name) for name in names]
    for tag in sorted(tags.difference(names)):
        report.add("dropped", f"{tag} in a robndbox", at, element.findtext(tag) or "")
    if names is _TURNED_CORNERS:
        return corners_of(values)
    x, y, width, height, angle = values
    if not (width > 0 and height > 0):
        raise RecordError(f"robndbox must have a width and height above 0, not {width:g} and {height:g}")
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return turned_box(corners, math.degrees(angle))


def _named(attributes: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return the attributes that CVAT writes below an object, as names and values."""
    given = attributes.get("attributes")
    entries = given.get("attribute") if isinstance(given, dict) else None
    return [
        (entry.get("name"), entry.get("value"))
        for entry in (entries if isinstance(entries, list) else [entries])
        if isinstance(entry, dict)
    ]


def _drop_rotation(attributes: dict[str, Any]) -> None:
    """Leave out the angle of a box that has been turned by it."""
    if kept := [{"name": name, "value": value} for name, value in _named(attributes) if name != "rotation"]:
        attributes["attributes"] = {"attribute": kept if len(kept) > 1 else kept[0]}
    else:
        attributes.pop("attributes", None)


def _chosen(split: Path, files: Sequence[Path]) -> list[Path]:
    named: dict[str, list[Path]] = {}
    for path in files:
        named.setdefault(path.stem, []).append(path)
    require_file(split, "list of names", RecordError)
    # Lists of one class have a second column, 1 where the class is there.
    try:
        names = [line.split()[0] for line in split.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise RecordError(f"{split}: file must be UTF-8 text") from None
    for name in names:
        if name not in named:
            raise RecordError(f"{split}: {name} must be the name of an annotation file, and there is no {name}.xml")
        if len(named[name]) > 1:
            places = f"{named[name][0]} and {named[name][1]}"
            raise RecordError(f"{split}: {name} must be the name of one annotation file, not of {places}")
    return [named[name][0] for name in names]


def _text(parent: Element, tag: str) -> str:
    text = (parent.findtext(tag) or "").strip()
    if not text:
        raise RecordError(f"{tag} must be given")
    return text


def _number(parent: Element, tag: str) -> float:
    text = _text(parent, tag)
    try:
        value = number_of(text)
    except ValueError:
        raise RecordError(f"{tag} must be a number, not {show_short(text)}") from None
    if abs(value) > COORDINATE_LIMIT:
        raise RecordError(f"{tag} must be a number within {COORDINATE_LIMIT:g}, not {show_short(text)}")
    return value


def _size(root: Element) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    width, height = _number(size, "width"), _number(size, "height")
    if width == height == 0:  # what some tools write for "unknown"
        return None
    if not (width >= 1 and height >= 1 and width.is_integer() and height.is_integer()):
        raise RecordError(f"size must be whole pixels >= 1, not {width:g} x {height:g}")
    return int(width), int(height)


def _plain(element: Element) -> Any:
    """Return an element as JSON data: its children by their tags, or its text, a number only where it reads the same.

    So ``007`` and ``1e3`` stay texts.
    """
    if len(element):
        return _by_tag(element)
    text = (element.text or "").strip()
    return int(text) if _PLAIN_NUMBER.fullmatch(text) else text


def _by_tag(elements: Iterable[Element]) -> dict[str, Any]:
    """Return elements by their tags; those that share one as a list."""
    found: dict[str, list[Any]] = {}
    for element in elements:
        found.setdefault(element.tag, []).append(_plain(element))
    return {tag: values[0] if len(values) == 1 else values for tag, values in found.items()}
