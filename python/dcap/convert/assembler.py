"""Found items to records: the same rules for every format.

Owns the order of the checks: image, frame, text, numbers, label, area, border, least area, and last the record contract
itself. So the output never fails ``dcap validate``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.extracted_image import extract_image, images_beside
from dcap.convert.foreign_files import checked_numbers
from dcap.convert.image_frame import Frame, upright_map
from dcap.convert.label_map import LabelMap
from dcap.convert.reader import FoundObject, Item, Opened
from dcap.convert.record_files import record_line
from dcap.core.errors import GeometryError, RecordError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import MAX_PIXELS, Canvas
from dcap.geometry.clipping import clip, transform
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import KEY_OF_KIND, KEYS, GeometryKind, ShapeArray, read_shape, rings_without_area
from dcap.records.images import check_header
from dcap.records.objects import COORDINATE_LIMIT, check_text
from dcap.records.record import Origin, Record, parse_record

Swapped = Literal["drop", "order"]
"""A box whose second corner is left of the first, or above it: leave it out, or put the corners in order."""

_FAR_OUTSIDE = 1.0
"""Share of the side by which a normalised coordinate may be outside. A coordinate farther out is in pixels."""


@dataclass(frozen=True)
class Assembler:
    """Makes records of items.

    Attributes:
        opened: The data set.
        out: The JSONL file for which records are made; their paths are relative to its folder.
        report: Gets what is lost.
        frame: Where shapes are in images with an EXIF orientation.
        max_image_pixels: Bound on height x width of an image.
        swapped: What happens to a box with x2 < x1 or y2 < y1.
        labels: New names of labels. `None`: they stay.
        min_area: Leave out boxes and polygons with a smaller area, in pixels. Lines have none and stay.
    """

    opened: Opened
    out: Path
    report: ConversionReport
    frame: Frame = "auto"
    max_image_pixels: int = MAX_PIXELS
    swapped: Swapped = "drop"
    labels: LabelMap | None = None
    min_area: float = 0.0

    def __call__(self, item: Item, line: int) -> Record:
        """Return the record of an item.

        Args:
            item: The item.
            line: Line of the output that it will have, from 1.

        Raises:
            RecordError: The image or an object is broken; the message does not name the item.
        """
        path = self._image(item)
        header = check_header(path, None, self.max_image_pixels)
        affine, assumed = upright_map(header, item.size, self.frame)
        if assumed:
            reason = "image with an EXIF orientation: shapes taken in the displayed frame, the sizes do not tell"
            self.report.add("approximated", reason, item.place, f"orientation {header.orientation}")
        if not item.objects:
            self.report.add("note", "image without objects: a record of none", item.place)
        scale = self._scale(item, header.stored if affine else header.canvas)
        objects, shapes = self._shapes(item, scale)
        if affine is not None:
            shapes = transform(shapes, affine)
        places = [item.place.of(found.name) for found in objects]
        inside, kept = self._into_canvas(shapes, header.canvas, places)
        objects = [objects[k] for k in kept]
        if inside is not shapes:  # a cut may leave a sliver
            objects, inside = self._with_area(objects, inside, item)
        if self.min_area > 0:
            objects, inside = self._large(objects, inside, item)
        data: dict[str, Any] = {
            "images": [os.path.relpath(path, self.out.parent.resolve())],
            "width": header.canvas.width,
            "height": header.canvas.height,
            "objects": [_object(found, shape) for found, shape in zip(objects, inside.to_objects(), strict=True)],
        }
        if item.summary is not None:
            data["summary"] = item.summary
        metadata = _metadata(item, objects)
        if metadata:
            data["metadata"] = metadata
        return parse_record(record_line(_with_further(data, item.extra)), Origin(str(self.out), line))

    def _image(self, item: Item) -> Path:
        if item.embedded is not None:
            return extract_image(item.embedded, item.images[0], images_beside(self.out))
        found = self.opened.images.find(item.images)
        if found.by != "path":
            root = self.opened.images.root
            detail = f"{found.written} is taken for {found.path.relative_to(root).as_posix()}"
            if found.by == "name":
                reason = "image found by its name: its path as written is not below the folder of images"
                self.report.add("note", reason, item.place, detail)
            else:
                reason = "image found by its file name alone, in a folder that is called otherwise"
                self.report.add("approximated", reason, item.place, detail)
        return found.path

    def _scale(self, item: Item, canvas: Canvas) -> Affine | None:
        return Affine.scaling(canvas.width, canvas.height) if item.normalised else None

    def _shapes(self, item: Item, scale: Affine | None) -> tuple[list[FoundObject], ShapeArray]:
        """Return the objects that have a shape, in pixels. Objects without a shape are losses."""
        objects, points, kinds = [], [], []
        limit = _FAR_OUTSIDE + 1 if item.normalised else COORDINATE_LIMIT
        for found in item.objects:
            try:
                if problem := check_text(found.desc, "desc"):
                    raise RecordError(str(problem))
                xy = _points(found, limit)
            except RecordError as error:
                raise RecordError(f"{found.name}: {error}") from None
            kind, place = KEYS[found.key], item.place.of(found.name)
            named = self._named(found, place)
            if named is None:
                continue
            if kind is GeometryKind.BOX and (xy[0] > xy[1]).any():
                reason = "box whose corners are swapped, x2 < x1 or y2 < y1"
                detail = f"from {_shown(xy[0])} to {_shown(xy[1])}"
                if self.swapped == "drop":
                    self.report.add("dropped", f"{reason}; --swapped order puts them in order", place, detail)
                    continue
                self.report.add("changed", f"{reason}; put in order", place, detail)
                xy = np.sort(xy, axis=0)
            if problem_of_shape := _degenerate(xy, kind):
                self.report.add("dropped", "shape without area or length", place, problem_of_shape)
                continue
            objects.append(named)
            points.append(xy if scale is None else scale.apply(xy))
            kinds.append(int(kind))
        return self._with_area(objects, ShapeArray.from_points(points, kinds), item)

    def _named(self, found: FoundObject, place: SourcePlace) -> FoundObject | None:
        """Return an object under its new name. `None`: the map of labels drops it."""
        if self.labels is None:
            return found
        try:
            name = self.labels.new_name(found.desc)
        except RecordError as error:
            raise RecordError(f"{found.name}: {error}") from None
        if name is None:
            self.report.add("dropped", "object of a label that --map or --unmapped drops", place, found.desc)
            return None
        if name == found.desc:
            return found
        self.report.add("note", "object whose label --map renames", place, f"{found.desc} is {name}")
        return replace(found, desc=name)

    def _large(
        self, objects: list[FoundObject], shapes: ShapeArray, item: Item
    ) -> tuple[list[FoundObject], ShapeArray]:
        """Leave out the boxes and polygons that are smaller than `min_area`."""
        try:
            area = area_or_length(shapes)
        except GeometryError as error:
            raise RecordError(str(error)) from None
        small = (shapes.kinds != GeometryKind.LINE) & (area < self.min_area)
        for k in np.flatnonzero(small).tolist():
            reason = f"object smaller than {self.min_area:g} square pixels (--min-area)"
            self.report.add("dropped", reason, item.place.of(objects[k].name), f"{area[k]:.6g}")
        return [found for found, drop in zip(objects, small, strict=True) if not drop], shapes.take(~small)

    def _with_area(
        self, objects: list[FoundObject], shapes: ShapeArray, item: Item
    ) -> tuple[list[FoundObject], ShapeArray]:
        """Leave out the polygons that enclose nothing."""
        flat = rings_without_area(shapes.xy, shapes.offsets, shapes.kinds)
        if not flat.any():
            return objects, shapes
        for k in np.flatnonzero(flat).tolist():
            detail = "its points are on one line, or its edges cancel out"
            self.report.add("dropped", "polygon without area", item.place.of(objects[k].name), detail)
        return [found for found, drop in zip(objects, flat, strict=True) if not drop], shapes.take(~flat)

    def _into_canvas(self, shapes: ShapeArray, canvas: Canvas, places: list[Any]) -> tuple[ShapeArray, list[int]]:
        """Clip to the image; return the shapes that are left and their positions."""
        everything = list(range(len(shapes)))
        if ((shapes.xy >= 0.0) & (shapes.xy <= (canvas.width, canvas.height))).all():
            return shapes, everything
        num_parts = np.bincount(clip(shapes, canvas).source_index, minlength=len(shapes))
        for k in np.flatnonzero(num_parts > 1).tolist():
            reason = "shape that the border of its image splits: only the largest part is kept"
            self.report.add("dropped", reason, places[k], f"1 of {num_parts[k]} parts is kept")
        visible = clip(shapes, canvas, split_policy="largest")
        size = f"{canvas.width} x {canvas.height}"
        kept: list[int] = visible.source_index.tolist()
        for k in sorted(set(everything) - set(kept)):
            self.report.add("dropped", "shape outside the image", places[k], size)
        limit = np.array([canvas.width, canvas.height], np.float64)
        outside = (shapes.xy < 0).any(axis=1) | (shapes.xy > limit).any(axis=1)
        for k in np.flatnonzero(np.logical_or.reduceat(outside, shapes.offsets[:-1])).tolist():
            if k in kept:
                share = visible.visible_fraction[kept.index(k)]
                text = f"{1 - share:.2%} of it outside {size}"
                self.report.add("changed", "shape partly outside the image: cut at its border", places[k], text)
        return visible.shapes, kept


def _points(found: FoundObject, limit: float) -> npt.NDArray[np.float64]:
    values = checked_numbers(list(found.values), "coordinates", limit)
    if len(values) % 2 or (found.key == "bbox_2d" and len(values) != 4):
        raise RecordError(f"shape must have pairs of coordinates, a box two, not {len(values)} numbers")
    return values.reshape(-1, 2)


def _degenerate(xy: npt.NDArray[np.float64], kind: GeometryKind) -> str:
    """Return the reason why points are not a shape, or nothing. Repeats are removed later."""
    if kind is GeometryKind.BOX:
        return "" if (xy[0] < xy[1]).all() else f"from {_shown(xy[0])} to {_shown(xy[1])}"
    # Three points in a row that differ are enough; the rare others are looked at closely.
    distinct = len(xy) >= 3 and (xy[0] != xy[1]).any() and (xy[1] != xy[2]).any() and (xy[2] != xy[0]).any()
    if distinct:
        return ""
    try:
        read_shape({KEY_OF_KIND[kind]: xy.ravel().tolist()})
    except GeometryError as error:
        return str(error)
    return ""


def _shown(point: npt.NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.10g}" for value in point.tolist()) + "]"


def _object(found: FoundObject, shape: dict[str, list[float]]) -> dict[str, Any]:
    item: dict[str, Any] = {"desc": found.desc, **shape}
    if found.attributes is not None:
        item["attributes"] = found.attributes
    return _with_further(item, found.extra)


def _with_further(own: dict[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Add further keys. They must not replace a key that was checked, such as the path of the image."""
    if taken := own.keys() & further.keys():
        raise RecordError(f"further keys must be other ones than the record's, not {', '.join(sorted(taken))}")
    return {**own, **further}


def _metadata(item: Item, kept: list[FoundObject]) -> dict[str, Any]:
    metadata = dict(item.metadata)
    # In the order of the objects that are left, so that the way back finds them again.
    if any(found.id is not None for found in item.objects):
        metadata.pop("annotation_ids", None)
        ids = [found.id for found in kept]
        metadata |= {"annotation_ids": ids} if ids and None not in ids else {}
    return metadata
