"""Labelme: one JSON file per image, with the image beside it or inside.

Owns what Labelme's shapes become: polygons and masks are polygons, rectangles boxes, lines and linestrips lines, a
circle the regular polygon of 32 corners that has its area; points have no extent and are dropped.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import as_object, decoded, load_object, show_short
from dcap.convert.foreign_shapes import Parts, mask_polygons, one_shape
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.core.errors import ImageError, RecordError
from dcap.core.files import written_whole
from dcap.records.images import read_header

MAX_BYTES = 256 << 20
"""Largest file; the image may be inside."""
MAX_MASK_PIXELS = 64 << 20
"""Bound on the mask of an object, checked before its pixels are decoded."""
CIRCLE_CORNERS = 32
_MOST = sys.float_info.max
_FILE_KEYS = frozenset(
    ("version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor", "fillColor")
)
_SHAPE_KEYS = frozenset(("label", "points", "shape_type", "mask", "line_color", "fill_color"))
_NUM_POINTS = {"rectangle": (2, 4), "line": (2,), "circle": (2,)}
_HEADS = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"GIF8": ".gif",
}
"""Ending of an image file by its first bytes."""


@READERS.register("labelme")
@dataclass(frozen=True)
class Labelme:
    """A folder of Labelme's JSON files, searched with its subfolders, or one of them."""

    text: Literal["label", "description"] = "label"
    """The text of an object: its label, or its description. An empty description is replaced by the label."""
    parts: Parts = "largest"
    """Rule for a mask of several parts: keep its largest polygon, make one object for each, or the box around all."""
    extract: bool = False
    """Write the image that a file has inside (imageData) into the folder of images where it is not there."""

    def open(self, source: Path, images: Path | None, report: ConversionReport) -> Opened:
        """Find the files; without `images` their own folder holds the images.

        Raises:
            RecordError: There is no JSON file.
        """
        files = sorted(source.rglob("*.json")) if source.is_dir() else [source]
        if not files:
            raise RecordError(f"{source} must hold Labelme's .json files, and has none")
        folder = images or (source if source.is_dir() else source.parent)
        return Opened(folder, len(files), self._items(files, folder.resolve(), report))

    def _items(self, files: Sequence[Path], folder: Path, report: ConversionReport) -> Iterator[Item]:
        for path in files:
            place = SourcePlace(str(path))
            try:
                item = self._item(path, folder, place, report)
            except RecordError as error:
                report.refuse(error, place)
                continue
            yield item

    def _item(self, path: Path, folder: Path, place: SourcePlace, report: ConversionReport) -> Item:
        # Written out, since a file that is no JSON already names itself.
        try:
            data = load_object(path, MAX_BYTES)
        except RecordError as error:
            raise RecordError(str(error).removeprefix(f"{path}: ")) from None
        plain = {key: value if key == "imageData" else decoded(value) for key, value in data.items()}
        shapes, name = plain.get("shapes"), plain.get("imagePath")
        if not isinstance(shapes, list):
            raise RecordError(f"shapes must be a list, not {show_short(shapes)}; is this a file of Labelme?")
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise RecordError(f"imagePath must be a path, not {show_short(name)}")
        names = _names(path, name, folder)
        size = _size(plain)
        objects: list[FoundObject] = []
        for k, value in enumerate(shapes):
            objects += self._objects(as_object(value, f"shapes[{k}]"), f"shapes[{k}]", place, report)
        if self.extract and not any((folder / each).is_file() for each in names):
            names = (_extract(decoded(plain.get("imageData")), folder, names[-1]),)
        metadata = {key: value for key, value in plain.items() if key not in _FILE_KEYS}
        flags = {key: value for key, value in as_object(plain.get("flags") or {}, "flags").items() if value}
        if flags:
            metadata["flags"] = flags
        return Item(place, names, objects, size, metadata=metadata)

    def _objects(
        self, shape: dict[str, Any], name: str, place: SourcePlace, report: ConversionReport
    ) -> list[FoundObject]:
        desc = shape.get("label")
        attributes = {k: v for k, v in shape.items() if k not in _SHAPE_KEYS and v not in (None, "", {}, [])}
        if self.text == "description" and str(shape.get("description") or "").strip():
            attributes = {"label": desc, **{k: v for k, v in attributes.items() if k != "description"}}
            desc = shape["description"]
        try:
            found = self._shapes(shape, place.of(name), report)
        except RecordError as error:
            raise RecordError(f"{name}: {error}") from None
        return [FoundObject(name, desc, key, values, attributes or None) for key, values in found]

    def _shapes(
        self, shape: dict[str, Any], place: SourcePlace, report: ConversionReport
    ) -> list[tuple[str, list[Any]]]:
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
        if kind == "rectangle":
            xs, ys = flat[::2], flat[1::2]
            return [("bbox_2d", [min(xs), min(ys), max(xs), max(ys)])]
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
    ) -> list[tuple[str, list[Any]]]:
        mask = _decode_mask(shape.get("mask"))
        found = mask_polygons(mask)
        if len(xy) != 2:
            raise RecordError(f"points of a mask must be 2, not {len(xy)}")
        if not found.rings:
            report.add("dropped", "mask without pixels", place)
        if found.hole_pixels:
            report.add("changed", "mask with holes: they are filled", place, f"{found.hole_pixels} pixels")
        left, top = min(xy[0][0], xy[1][0]), min(xy[0][1], xy[1][1])
        corner = np.array([left, top], np.float64)
        rings = [(ring + corner).ravel().tolist() for ring in found.rings]
        return one_shape(rings, self.parts, report, place)


def _names(path: Path, name: str, folder: Path) -> tuple[str, ...]:
    """Return the possible paths of the image below the folder: from its own file, as in Labelme; then by name alone."""
    spelling = name.replace("\\", "/")
    meant = (path.parent / spelling).resolve()
    inside = [meant.relative_to(folder).as_posix()] if meant.is_relative_to(folder) else []
    return tuple(dict.fromkeys([*inside, spelling.rsplit("/", 1)[-1]]))


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
        if not good or not all(abs(value) <= _MOST for value in point):
            raise RecordError(f"points[{k}] must be two finite numbers, not {point!r:.60}")
    return points


def _circle(center: Sequence[float], border: Sequence[float]) -> list[float]:
    n = CIRCLE_CORNERS
    # The corners of a polygon of the same area are a little outside.
    radius = math.dist(center, border) * math.sqrt(2 * math.pi / (n * math.sin(2 * math.pi / n)))
    angles = np.arange(n) * (2 * math.pi / n)
    xy = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + center
    return np.round(xy, 6).ravel().tolist()


def _from_base64(text: Any, name: str) -> bytes:
    if not isinstance(text, str):
        raise RecordError(f"{name} must be a text in base64, not {show_short(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RecordError(f"{name} must be a text in base64, and is damaged") from None


def _decode_mask(text: Any) -> Any:
    data = _from_base64(text, "mask")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_MASK_PIXELS:
                raise RecordError(f"mask must have at most {MAX_MASK_PIXELS} pixels, not {image.width * image.height}")
            return np.asarray(image.convert("L"))
    except RecordError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RecordError(f"mask must be a PNG image ({error})") from None


def _extract(text: Any, folder: Path, name: str) -> str:
    """Write the image inside a Labelme file; return its name, whose ending is that of its format."""
    if text is None:
        raise RecordError(f"imageData must be given: there is no image {name} in {folder}")
    data = _from_base64(text, "imageData")
    ending = next((end for head, end in _HEADS.items() if data.startswith(head)), None)
    if ending is None:
        raise RecordError(f"imageData must be an image of {', '.join(dict.fromkeys(_HEADS.values()))}")
    same = Path(name).suffix.lower() in (ending, ".jpeg" if ending == ".jpg" else ending)
    target = folder / (name if same else f"{name}{ending}")
    if not target.is_file():
        with written_whole(target, sweep=False) as file:
            file.write(data)
        try:
            read_header(target)
        except ImageError:
            target.unlink()
            raise
    return target.name
