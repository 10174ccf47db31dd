"""YOLO: one text file per image, one object per line, shares of width and height.

Owns the three forms that a data set comes in: a data.yaml, Darknet's obj.data, or a folder of labels with a list of
classes. An image whose file of labels is empty has no objects. One without a file counts as one without objects, as in
Ultralytics, and the report notes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.image_folder import SUFFIXES, FileTree, ImageFolder, ImageSearch, folded, is_within, path_below
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.convert.yolo_data import read_classes, read_data, read_text
from dcap.convert.yolo_labels import LabelFolder
from dcap.convert.yolo_lines import LineKind, LineReader, check_kind
from dcap.core.errors import RecordError

_LABEL_FOLDERS = ("labels", "labeltxt")
"""Folders of labels, in lower case, whose images are in the folder ``images`` beside it."""


class _Listed(NamedTuple):
    """An image of the split."""

    names: tuple[str, ...]
    """Possible paths of it, as written."""
    path: Path
    place: SourcePlace
    """Where it is named."""


@READERS.register("yolo")
@dataclass(frozen=True)
class Yolo:
    """A YOLO data.yaml, Darknet's obj.data, or a folder of label files with a list of classes."""

    split: str = "train"
    """Which images of data.yaml or obj.data: train, val or test."""
    classes: Path | None = None
    """Names of the classes: a text file with one a line, or a data.yaml. For a folder of label files; classes.txt in it
    or beside it is found."""
    lines: LineKind = "auto"
    """What the lines of label files are. Auto: boxes with keypoints where data.yaml has kpt_shape, else boxes of 4
    numbers and polygons of 6 or more; lines that may be keypoints or polygons are an error. Boxes: 4 numbers. Segments:
    polygons. Obb: four corners. Pose: boxes with keypoints, which are dropped. Dota: four corners in pixels, then the
    class by its name."""

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        """Find images and labels.

        Raises:
            RecordError: The data set is not laid out as YOLO's, no image has labels, or nothing says what lines are.
        """
        if source.is_dir():
            reader = LineReader(self._class_names(source), self.lines)
            folder = images.within(_image_folder(source))
            labels = LabelFolder(source.resolve(), folder, only=True)
            listed = _in_folder(folder.root, folder, SourcePlace(str(source)), report)
        else:
            data = read_data(source, self.split)
            if data.keypoints and self.lines not in ("auto", "pose"):
                raise RecordError(f"{source}: --lines must be pose, as kpt_shape says, not {self.lines}")
            names = read_classes(self.classes) if self.classes else data.names
            reader = LineReader(names, self.lines, data.keypoints)
            root = _root(source, data.path, images.folder)
            folder = images.within(root)
            labels = LabelFolder(root, folder)
            listed = [one for entry in data.entries for one in _listed(entry, source, root, folder, report)]
        if not listed:
            raise RecordError(f"{source} must name images, and none were found in {folder.root}")
        found = _paired(_once(listed, report), labels, report)
        if reader.kind == "auto" and not reader.keypoints:
            check_kind(line for _, path in found if path for line in _lines_of(path))
        return Opened(folder, len(found), _items(found, reader, report))

    def _class_names(self, source: Path) -> dict[int, str]:
        if self.lines == "dota":
            return {}
        near = (source / "classes.txt", source.parent / "classes.txt")
        path = self.classes or next((path for path in near if path.is_file()), near[0])
        if not path.is_file() and (source / "data.yaml").is_file():
            raise RecordError(f"{source} holds a data.yaml. Convert {source / 'data.yaml'}.")
        return read_classes(path, " Give the names of the classes as --classes.")


def _image_folder(labels: Path) -> Path:
    """Return the folder of images that belongs to a folder of labels: its counterpart, or the folder itself."""
    parts = labels.resolve().parts
    for k in reversed([k for k, part in enumerate(parts) if folded(part) in _LABEL_FOLDERS]):
        for name in ("images", "Images", "JPEGImages"):
            folder = Path(*parts[:k], name, *parts[k + 1 :])
            if folder.is_dir():
                return folder
    return labels


def _root(source: Path, written: str, images: Path | None) -> Path:
    """Return the folder that the paths of a data.yaml start at.

    One that is not there was written on another machine: then it is the folder of that name below data.yaml, or the
    folder of data.yaml itself.
    """
    folder = source.parent.resolve()
    path = Path(os.path.normpath(folder / written))
    if os.path.isdir(path) and path.is_relative_to(folder):
        return path
    if os.path.isdir(path):
        if images:
            return images.resolve()
        raise RecordError(
            f"{source}: path must be a folder below {folder}, not {written!r}. Give the folder of the data as --images."
        )
    below = path_below(folder, written)
    return below if below and below.is_dir() else folder


def _listed(entry: str, source: Path, root: Path, folder: ImageFolder, report: ConversionReport) -> list[_Listed]:
    """Return the images of one entry: a folder, a text file with one path a line, or an image."""
    entry = entry.strip()
    place, path = SourcePlace(str(source), "", entry), _place_of(entry, source, root, folder)
    if path.is_dir():
        return _in_folder(path, folder, place, report)
    if path.suffix.lower() in SUFFIXES:
        return [_Listed((path.relative_to(folder.root).as_posix(),), path, place)]
    found: list[_Listed] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        at_list = (str(path.parent / name),) if name.startswith(".") and path.parent != folder.root else ()
        where = SourcePlace(str(path), f"line {number}")
        try:
            found.append(_Listed((*at_list, name), folder.find((*at_list, name)).path, where))
        except RecordError as error:
            report.refuse(error, where)
    return found


def _place_of(entry: str, source: Path, root: Path, folder: ImageFolder) -> Path:
    """Return the file or folder that an entry means: below the folder of images, or a list below that of the data."""
    spelling = entry.replace("\\", "/")
    inside = folder.inside(spelling)
    path = inside if inside and os.path.exists(inside) else path_below(folder.root, spelling)
    if path is None:
        listed = path_below(root, spelling)
        path = listed if listed and listed.is_file() and listed.suffix.lower() not in SUFFIXES else None
    if path is None and spelling.rstrip("/").rsplit("/", 1)[-1] == folder.root.name:
        path = folder.root
    if path is None:
        if inside is None:
            text = f"images must lie inside {folder.root}, not at {entry!r}. Give --images a folder above."
            raise RecordError(f"{source}: {text}")
        raise RecordError(f"{source}: {entry!r} must be a folder or a list of images in {folder.root}")
    target = os.path.realpath(path)
    if not folder.follow_links and not any(is_within(target, str(top)) for top in (folder.root, root)):
        raise RecordError(
            f"{source}: images must lie inside {folder.root}, and {entry!r} is a link to {target}. "
            "Give --follow-links to use it."
        )
    return path


def _in_folder(path: Path, folder: ImageFolder, place: SourcePlace, report: ConversionReport) -> list[_Listed]:
    tree = folder.tree if path == folder.root else FileTree(path, SUFFIXES, folder.follow_links, folder.root)
    found = [path / name for name in tree.files]
    for name in tree.links_out:
        report.refuse(
            f"images must lie inside {folder.root}, and {path / name} is a link that leads out. "
            "Give --follow-links to follow it.",
            place,
        )
    return [_Listed((image.relative_to(folder.root).as_posix(),), image, place) for image in found]


def _once(listed: Sequence[_Listed], report: ConversionReport) -> list[_Listed]:
    found: dict[Path, _Listed] = {}
    for one in listed:
        if found.setdefault(one.path, one) is not one:
            report.add("note", "image that is named more than once: taken once", one.place, one.names[-1])
    return list(found.values())


def _paired(
    listed: Sequence[_Listed], labels: LabelFolder, report: ConversionReport
) -> list[tuple[_Listed, Path | None]]:
    """Return images with their files of labels.

    Images that share one are refused, since it belongs to one of them, and so are files that no image has.

    Raises:
        RecordError: No image has labels.
    """
    found: list[tuple[_Listed, Path | None]] = []
    owners: dict[Path, list[Path]] = {}
    for one in listed:
        try:
            path = labels.find(one.path, one.names)
        except RecordError as error:
            report.refuse(error, SourcePlace(str(one.path)))
            continue
        found.append((one, path))
        if path is None:
            reason = "image without a file of labels: taken as one without objects"
            report.add("note", reason, SourcePlace(str(one.path)), f"no {labels.places(one.path)[0]}")
        else:
            owners.setdefault(path, []).append(one.path)
    if listed and not owners:
        raise RecordError(f"{labels.root} must have labels, and {labels.none_found([one.path for one in listed])}")
    labels.refuse_others(owners.keys(), [one.path for one in listed], report)
    shared = {path: images for path, images in owners.items() if len(images) > 1}
    for path, images in shared.items():
        shown = " and ".join(str(image) for image in images[:3])
        report.refuse(f"labels must belong to one image, not to {len(images)}: {shown}", SourcePlace(str(path)))
    return [(one, path) for one, path in found if path not in shared]


def _lines_of(path: Path) -> list[str]:
    """Return the lines of a file that can be read; one that cannot is refused when its turn comes."""
    try:
        return read_text(path).splitlines()
    except RecordError:
        return []


def _items(
    found: Sequence[tuple[_Listed, Path | None]], reader: LineReader, report: ConversionReport
) -> Iterator[Item]:
    for one, path in found:
        place = SourcePlace(str(path or one.path))
        try:
            objects = _objects(path, reader, place, report) if path else []
        except RecordError as error:
            report.refuse(error, place)
            continue
        yield Item(place, one.names, objects, normalised=reader.kind != "dota")


def _objects(path: Path, reader: LineReader, place: SourcePlace, report: ConversionReport) -> list[FoundObject]:
    objects: list[FoundObject] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        name = f"line {number}"
        try:
            parsed = reader.parse(line)
        except RecordError as error:
            raise RecordError(f"{name}: {error}") from None
        if parsed is None:
            continue
        if parsed.keypoints:
            report.add("dropped", "keypoints, which records have no shape for", place.of(name))
        attributes = {"difficult": parsed.difficult} if parsed.difficult else None
        objects.append(FoundObject(name, parsed.desc, parsed.key, parsed.values, attributes))
    return objects
