"""Pascal VOC: one XML file per image.

Owns the step from VOC's pixels, counted from 1 with both ends inside the box, to pixel edges: x1 - 1 and x2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import load_xml, show_short
from dcap.convert.foreign_images import SUFFIXES
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.core.errors import RecordError
from dcap.core.files import require_file

_OBJECT_TAGS = frozenset(("name", "bndbox", "polygon", "part"))
_FILE_TAGS = frozenset(("filename", "path", "size", "object", "segmented"))


@READERS.register("voc")
@dataclass(frozen=True)
class Voc:
    """A folder of Pascal VOC's XML files, one of them, or a folder with Annotations and JPEGImages in it."""

    coordinates: Literal["pixels", "edges"] = "pixels"
    """Pixels: VOC's own, counted from 1, both ends inside the box. Edges: numbers that are pixel edges already."""
    split: Path | None = None
    """Text file with the names of the annotations to take, one a line, such as ImageSets/Main/train.txt;
    from the current folder, or from the source."""

    def open(self, source: Path, images: Path | None, report: ConversionReport) -> Opened:
        """Find the files. Without `images`, the images are in JPEGImages, or beside the annotations.

        Raises:
            RecordError: There is no XML file, or the split names one that is missing.
        """
        folder = source / "Annotations" if (source / "Annotations").is_dir() else source
        files = sorted(folder.rglob("*.xml")) if folder.is_dir() else [folder]
        if self.split:
            split = self.split if self.split.is_file() else source / self.split
            files = _chosen(split, {path.stem: path for path in files})
        if not files:
            raise RecordError(f"{source} must hold Pascal VOC's .xml files, and has none")
        base = folder if folder.is_dir() else folder.parent
        places = [place for place in (base / "JPEGImages", base.parent / "JPEGImages") if place.is_dir()]
        return Opened(images or (places[0] if places else base), len(files), self._items(files, report))

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
                objects.append(self._object(item, f"object {k + 1}", place, report))
            except RecordError as error:
                raise RecordError(f"object {k + 1}: {error}") from None
        metadata = _by_tag(child for child in root if child.tag not in _FILE_TAGS)
        # Some tools leave the ending out.
        names = (name,) if Path(name).suffix.lower() in SUFFIXES else (name, *(name + end for end in SUFFIXES))
        return Item(place, names, objects, _size(root), metadata=metadata)

    def _object(self, item: Element, name: str, place: SourcePlace, report: ConversionReport) -> FoundObject:
        for part in item.findall("part"):
            report.add("dropped", "part of an object", place.of(name), part.findtext("name") or "")
        attributes = _by_tag(child for child in item if child.tag not in _OBJECT_TAGS)
        desc = _text(item, "name")
        box, polygon = item.find("bndbox"), item.find("polygon")
        shift = 1.0 if self.coordinates == "pixels" else 0.0
        if polygon is not None:
            # A polygon goes through pixels; their centres are half a pixel from both edges.
            numbers = [_number(polygon, f"{axis}{k + 1}") for k in range((len(polygon) + 1) // 2) for axis in "xy"]
            return FoundObject(name, desc, "poly", [value - shift / 2 for value in numbers], attributes or None)
        if box is None:
            raise RecordError("bndbox must be given")
        x1, y1, x2, y2 = (_number(box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
        return FoundObject(name, desc, "bbox_2d", [x1 - shift, y1 - shift, x2, y2], attributes or None)


def _chosen(split: Path, files: dict[str, Path]) -> list[Path]:
    require_file(split, "list of names", RecordError)
    # Lists of one class have a second column, 1 where the class is there.
    try:
        names = [line.split()[0] for line in split.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise RecordError(f"{split}: file must be UTF-8 text") from None
    for name in names:
        if name not in files:
            raise RecordError(f"{split}: {name} must be the name of an annotation file, and there is no {name}.xml")
    return [files[name] for name in names]


def _text(parent: Element, tag: str) -> str:
    text = (parent.findtext(tag) or "").strip()
    if not text:
        raise RecordError(f"{tag} must be given")
    return text


def _number(parent: Element, tag: str) -> float:
    text = _text(parent, tag)
    try:
        return float(text)  # nan and inf are refused with all other coordinates
    except ValueError:
        raise RecordError(f"{tag} must be a number, not {show_short(text)}") from None


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
    """Return an element as JSON data: its text, a whole number as such, or its children by their tags."""
    if len(element):
        return _by_tag(element)
    text = (element.text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text


def _by_tag(elements: Iterable[Element]) -> dict[str, Any]:
    """Return elements by their tags; those that share one as a list."""
    found: dict[str, list[Any]] = {}
    for element in elements:
        found.setdefault(element.tag, []).append(_plain(element))
    return {tag: values[0] if len(values) == 1 else values for tag, values in found.items()}
