"""Labelme: one JSON file per image, with the image beside it or inside.

Owns what Labelme's shapes become: polygons and masks are polygons, rectangles boxes or, turned, polygons, lines and
linestrips lines, a circle the regular polygon of 32 corners that has its area; points have no extent and are dropped.
Shapes of X-AnyLabeling are read too.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import (
    array,
    as_object,
    decoded,
    files_below,
    load_object,
    named,
    other_format,
    show_short,
)
from dcap.convert.foreign_shapes import (
    Parts,
    Shape,
    corners_of,
    mask_polygons,
    one_shape,
    report_faults,
    shapes_of,
    sound_parts,
)
from dcap.convert.image_folder import ImageFolder, ImageSearch, path_parts
from dcap.convert.inside_image import InsideImage, from_base64
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.core.errors import RecordError
from dcap.core.words import show
from dcap.records.objects import COORDINATE_LIMIT

MAX_BYTES = 256 << 20
"""Largest file; the image may be inside."""
MAX_MASK_PIXELS = 64 << 20
"""Bound on the mask of an object, checked before its pixels are decoded."""
CIRCLE_CORNERS = 32
_FILE_KEYS = frozenset(
    ("version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor", "fillColor")
)
_SHAPE_KEYS = frozenset(("label", "points", "shape_type", "mask", "line_color", "fill_color"))
_NUM_POINTS = {
    "rectangle": (2, 4),
    "rotation": (4,),
    "oriented_rectangle": (4,),
    "quadrilateral": (4,),
    "line": (2,),
    "circle": (2,),
}
_FOUR_CORNERS = frozenset(("rectangle", "rotation", "oriented_rectangle", "quadrilateral"))
"""Shapes whose four points are corners: of Labelme, and of X-AnyLabeling, which adds a direction to ``rotation``."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An object, or a part of one."""

    found: FoundObject
    group: tuple[str, str] | None
    """Label and group of an object of several shapes."""


@READERS.register("labelme")
@dataclass(frozen=True)
class Labelme:
    """A folder of Labelme's JSON files, searched with its subfolders, or one of them."""

    text: Literal["label", "description"] = "label"
    """The text of an object: its label, or its description. An empty description is replaced by the label."""
    parts: Parts = "largest"
    """Rule for a mask of several parts, and for shapes of one label and group_id: keep the largest, make one object for
    each, or the box around all."""
    extract: bool = False
    """Write the image that a file has inside (imageData) into the folder of images where it is not there, or shows
    another picture."""

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        """Find the files; without `images` their own folder holds the images.

        Raises:
            RecordError: There is no JSON file.
        """
        files = files_below(source, ".json") if source.is_dir() else [source]
        if not files:
            raise RecordError(f"{source} must hold Labelme's .json files, and has none")
        folder = images.within(source if source.is_dir() else source.parent)
        return Opened(folder, len(files), self._items(files, folder, report), complete=source.is_dir())

    def _items(self, files: Sequence[Path], folder: ImageFolder, report: ConversionReport) -> Iterator[Item]:
        for path in files:
            place = SourcePlace(str(path))
            try:
                item = self._item(path, folder, place, report)
            except RecordError as error:
                report.refuse(error, place)
                continue
            yield item

    def _item(self, path: Path, folder: ImageFolder, place: SourcePlace, report: ConversionReport) -> Item:
        # Written out, since a file that is no JSON already names itself.
        try:
            data = load_object(path, MAX_BYTES)
        except RecordError as error:
            raise RecordError(str(error).removeprefix(f"{path}: ")) from None
        if "shapes" not in data:
            keys = ", ".join(sorted(data)) or "no key"
            raise RecordError(f"shapes must be given; the file has {keys}{other_format(data)}")
        plain = {key: named(value, key) for key, value in data.items() if key not in ("shapes", "imageData")}
        name = plain.get("imagePath")
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise RecordError(f"imagePath must be a path, not {show_short(name)}")
        size = _size(plain)
        objects: list[_Part] = []
        for k, value in enumerate(array(data, "shapes")):
            shape = named(value, f"shapes[{k}]")
            objects += self._objects(as_object(shape, f"shapes[{k}]"), f"shapes[{k}]", place, report)
        name = self._image(*_names(path, name, folder.root), data.get("imageData"), folder)
        metadata = {key: value for key, value in plain.items() if key not in _FILE_KEYS}
        flags = {key: value for key, value in as_object(plain.get("flags") or {}, "flags").items() if value}
        if flags:
            metadata["flags"] = flags
        return Item(place, (name,), self._joined(objects, place, report), size, metadata=metadata)

    def _image(self, name: str, target: str, encoded: Any, folder: ImageFolder) -> str:
        """Return the path of the picture that Labelme shows: the one inside the file, where there is one."""
        text = decoded(encoded)
        holds = text is not None and text != ""
        there = None
        try:
            there = folder.find((name,)).path
        except RecordError as error:
            if not holds and self.extract:
                raise RecordError(f"imageData must be given: there is no image {target} in {folder.root}") from None
            if not self.extract:
                hint = " The file holds the image too (imageData): --extract writes it." if holds else ""
                raise RecordError(f"{error}{hint}") from None
        if not holds:
            return name
        inside = InsideImage.of(text, "imageData")
        if there is not None and inside.shows(there):
            return name
        if not self.extract:
            text = f"imagePath must be the picture inside (imageData), which Labelme shows, and {there} is another one"
            way = "Write the one inside with --extract, or put null in its place where the file is right."
            raise RecordError(f"{text}. {way}")
        return inside.write(folder.root, (target,))

    def _objects(self, shape: dict[str, Any], name: str, place: SourcePlace, report: ConversionReport) -> list[_Part]:
        desc = shape.get("label")
        attributes = {k: v for k, v in shape.items() if k not in _SHAPE_KEYS and v not in (None, "", {}, [])}
        if self.text == "description" and str(shape.get("description") or "").strip():
            attributes = {"label": desc, **{k: v for k, v in attributes.items() if k != "description"}}
            desc = shape["description"]
        try:
            found = self._shapes(shape, place.of(name), report)
        except RecordError as error:
            raise RecordError(f"{name}: {error}") from None
        group = shape.get("group_id")
        key = None if group in (None, "") else (show(shape.get("label")), show(group))
        return [_Part(FoundObject(name, desc, *each, attributes or None), key) for each in found]

    def _joined(self, parts: Sequence[_Part], place: SourcePlace, report: ConversionReport) -> list[FoundObject]:
        """Return the objects. Shapes of one label and one group_id are parts of one, as in Labelme's own exports."""
        groups: dict[Any, list[_Part]] = {}
        for part in parts:
            groups.setdefault(part.group or id(part), []).append(part)
        found: list[FoundObject] = []
        for group in groups.values():
            members = [part.found for part in group]
            at = place.of(", ".join(dict.fromkeys(member.name for member in members)))
            if len(members) == 1:
                found += members
            elif any(member.key == "line" for member in members):
                report.add("changed", "object of several shapes (group_id): one object for each", at)
                found += members
            else:
                shapes: list[Shape] = [(member.key, list(member.values)) for member in members]
                sound, faults = sound_parts(shapes)
                report_faults(faults, report, at)
                for shape in one_shape(sound, self.parts, report, at):
                    like = next((m for m, each in zip(members, shapes, strict=True) if each is shape), members[0])
                    found.append(replace(like, key=shape[0], values=shape[1]))
        return found

    def _shapes(self, shape: dict[str, Any], place: SourcePlace, report: ConversionReport) -> list[Shape]:
        kind = shape.get("shape_type") or "polygon"
        if not isinstance(kind, str):
            raise RecordError(f"shape_type must be one of Labelme's, not {show_short(kind)}")
        xy = _points(shape.get("points"))
        if kind in _NUM_POINTS and len(xy) not in _NUM_POINTS[kind]:
            raise RecordError(f"points of a {kind} must be {_NUM_POINTS[kind][0]}, not {len(xy)}")
        flat = [value for point in xy for value in point]
        if kind == "polygon":
            return [("poly", flat)]
        if kind in ("line", "linestrip"):
            return [("line", flat)]
        if kind == "rectangle" and len(xy) == 2:
            xs, ys = flat[::2], flat[1::2]
            return [("bbox_2d", [min(xs), min(ys), max(xs), max(ys)])]
        if kind in _FOUR_CORNERS:
            return [corners_of(flat)]
        if kind == "circle":
            corners = f"circle: a polygon of {CIRCLE_CORNERS} corners and the same area"
            report.add("approximated", corners, place)
            return [("poly", _circle(*xy))]
        if kind == "mask":
            return self._mask(shape, xy, place, report)
        if kind in ("point", "points"):
            report.add("dropped", f"{kind}, which has no extent", place)
            return []
        raise RecordError(f"shape_type must be one of Labelme's, not {show_short(kind)}")

    def _mask(
        self, shape: dict[str, Any], xy: Sequence[Sequence[float]], place: SourcePlace, report: ConversionReport
    ) -> list[Shape]:
        if len(xy) != 2:
            raise RecordError(f"points of a mask must be 2, not {len(xy)}")
        (x1, y1), (x2, y2) = np.sort(np.array(xy, np.float64), axis=0).tolist()
        mask = _decode_mask(shape.get("mask"))
        height, width = mask.shape
        # Both corners are pixels of the mask. After a mask has been moved they are between pixels, and its size counts.
        if max(abs(x2 - x1 + 1 - width), abs(y2 - y1 + 1 - height)) >= 1:
            size = f"{x2 - x1 + 1:g} x {y2 - y1 + 1:g} pixels from corner to corner"
            raise RecordError(f"mask must fit its points, {size}, not have {width} x {height}")
        found = mask_polygons(mask)
        if found.hole_pixels:
            report.add("changed", "mask with holes: they are filled", place, f"{found.hole_pixels} pixels")
        left, top = round(x1), round(y1)
        rings = [(ring + np.array([left, top], np.float64)).ravel().tolist() for ring in found.rings]
        box = None if rings else ("bbox_2d", [left, top, left + width, top + height])
        return shapes_of(rings, box, self.parts, report, place)


def _names(path: Path, name: str, folder: Path) -> tuple[str, str]:
    """Return the path of the image, and the name below the folder that a new file for it gets.

    Labelme's paths start at its own file. One that leads into the folder starts there from now on.
    """
    spelling = name.replace("\\", "/")
    meant = Path(os.path.normpath(path.parent.resolve() / spelling))
    if folder in meant.parents:
        below = meant.relative_to(folder).as_posix()
        return below, below
    return spelling, (path_parts(spelling) or [path.stem])[-1]


def _size(plain: dict[str, Any]) -> tuple[int, int] | None:
    width, height = plain.get("imageWidth"), plain.get("imageHeight")
    if width is None and height is None:
        return None
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        raise RecordError(f"imageWidth, imageHeight must be pixels >= 1, not {show_short(width)}, {show_short(height)}")
    return width, height


def _points(points: Any) -> list[list[float]]:
    if not isinstance(points, list):
        raise RecordError(f"points must be a list of [x, y], not {show_short(points)}")
    for k, point in enumerate(points):
        good = isinstance(point, list) and len(point) == 2 and all(type(v) in (int, float) for v in point)
        if not good or not all(abs(value) <= COORDINATE_LIMIT for value in point):
            raise RecordError(f"points[{k}] must be two finite numbers within {COORDINATE_LIMIT:g}, not {show(point)}")
    return points


def _circle(center: Sequence[float], border: Sequence[float]) -> list[float]:
    n = CIRCLE_CORNERS
    # The corners of a polygon of the same area are a little outside.
    radius = math.dist(center, border) * math.sqrt(2 * math.pi / (n * math.sin(2 * math.pi / n)))
    angles = np.arange(n) * (2 * math.pi / n)
    xy = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + center
    return np.round(xy, 6).ravel().tolist()


def _decode_mask(text: Any) -> Any:
    data = from_base64(text, "mask")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_MASK_PIXELS:
                raise RecordError(f"mask must have at most {MAX_MASK_PIXELS} pixels, not {image.width * image.height}")
            return np.asarray(image.convert("L"))
    except RecordError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RecordError(f"mask must be a PNG image ({error})") from None
