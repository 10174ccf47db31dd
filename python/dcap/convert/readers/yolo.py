"""YOLO: one text file per image, one object per line, shares of width and height.

Owns how data.yaml, classes and files belong together: the labels of ``images/train/a.jpg`` are in
``labels/train/a.txt``, or beside the image; an image without a file has no objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.foreign_files import read_bytes, show_short
from dcap.convert.foreign_images import SUFFIXES, list_images
from dcap.convert.reader import READERS, FoundObject, Item, Opened
from dcap.core.errors import RecordError

MAX_BYTES = 16 << 20
"""Largest data.yaml, list of images or file of labels."""


_MOST_OF_NAME = 255
"""Bytes of a name between slashes that file systems allow."""
_LISTS = frozenset(("classes.txt", "train.txt", "val.txt", "test.txt"))


@dataclass(frozen=True, slots=True)
class _Layout:
    root: Path
    """Folder that all images must be in."""
    files: Sequence[Path]
    """Images."""
    names: Mapping[int, str]
    keypoints: int
    """Numbers of a line behind those of its box."""
    labels: Path | None = None
    """Folder of labels, if the path of an image does not give it."""


@READERS.register("yolo")
@dataclass(frozen=True)
class Yolo:
    """A YOLO data.yaml, or a folder of label files together with a list of classes and the folder of images."""

    split: str = "train"
    """Which images of data.yaml: train, val or test."""
    classes: Path | None = None
    """Text file with the names of the classes, one a line; for a folder of label files."""

    def open(self, source: Path, images: Path | None, report: ConversionReport) -> Opened:
        """Find images and labels. `images` replaces the path of data.yaml: the folder that all images must be in.

        Raises:
            RecordError: The data set is not laid out as YOLO's.
        """
        layout = self._from_folder(source, images) if source.is_dir() else self._from_yaml(source, images)
        if not layout.files:
            raise RecordError(f"{source} must name images, and none were found in {layout.root}")
        _find_orphans(layout, report)
        return Opened(layout.root, len(layout.files), _items(layout, report))

    def _from_folder(self, source: Path, images: Path | None) -> _Layout:
        classes = self.classes or source / "classes.txt"
        lines = _text(classes, " Give the names of the classes as --classes.").splitlines()
        names = dict(enumerate(line.strip() for line in lines if line.strip()))
        beside = source.parent / "images"
        root = images or (beside if source.name == "labels" and beside.is_dir() else source)
        return _Layout(root.resolve(), list_images(root.resolve()), names, 0, source)

    def _from_yaml(self, source: Path, images: Path | None) -> _Layout:
        try:
            data = yaml.safe_load(_text(source))
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise RecordError(f"{source}: file must be YAML ({' '.join(str(error).split())})") from None
        if not isinstance(data, dict):
            raise RecordError(f"{source}: file must hold names, train and val, not {type(data).__name__}")
        root = (images or _root(source, data)).resolve()
        entries = data.get(self.split)
        if not entries:
            raise RecordError(f"{source}: {self.split} must be given. Choose another --split.")
        files: list[Path] = []
        for entry in entries if isinstance(entries, list) else [entries]:
            files += _listed(root, entry, source)
        shape = data.get("kpt_shape")
        good = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and 0 < n < 1000 for n in shape)
        if shape is not None and not good:
            raise RecordError(f"{source}: kpt_shape must be two whole numbers, not {show_short(shape)}")
        return _Layout(root, files, _names(data.get("names"), source), math.prod(shape or [0]))


def _root(source: Path, data: Mapping[str, Any]) -> Path:
    path = _path(data.get("path") or "", source)
    folder = source.parent.resolve()
    root = (folder / path).resolve()
    if not root.is_relative_to(folder) or not root.is_dir():
        raise RecordError(
            f"{source}: path must be a folder below {folder}, not {path!r}. Give the folder of the data as --images."
        )
    return root


def _path(value: Any, source: Path) -> str:
    parts = value.split("/") if isinstance(value, str) else ["\0"]
    if any("\0" in part or len(part.encode("utf-8", "replace")) > _MOST_OF_NAME for part in parts):
        raise RecordError(f"{source}: images must be given by a path, not {show_short(value)}")
    return str(value)


def _listed(root: Path, entry: Any, source: Path) -> list[Path]:
    """Return the images of one entry: a folder, or a text file with one path a line."""
    entry = _path(entry, source)
    place = (root / entry).resolve()
    if not place.is_relative_to(root) and entry.startswith("../"):
        place = (root / entry.removeprefix("../")).resolve()  # as Roboflow writes it
    if not place.is_relative_to(root):
        raise RecordError(f"{source}: images must lie inside {root}, not at {entry!r}. Give --images a folder above.")
    if place.is_dir():
        return list_images(place)
    if place.suffix != ".txt":
        raise RecordError(f"{source}: {entry!r} must be a folder or a list of images in {root}")
    lines = [_path(line.strip(), place) for line in _text(place).splitlines() if line.strip()]
    return [(place.parent / line if line.startswith("./") else root / line) for line in lines]


def _names(names: Any, source: Path) -> dict[int, str]:
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(found, dict) or not all(type(k) is int for k in found):
        raise RecordError(f"{source}: names must be a list or map numbers to names, not {type(names).__name__}")
    for k, name in found.items():
        if not isinstance(name, str | int | float):  # a list may be endless when it is written out
            raise RecordError(f"{source}: names must be texts, not {show_short(name)} for {k}")
    return {k: str(v) for k, v in found.items()}


def _items(layout: _Layout, report: ConversionReport) -> Iterator[Item]:
    for image in layout.files:
        labels = _labels_of(image, layout)
        place = SourcePlace(str(labels))
        try:
            name = image.relative_to(layout.root).as_posix() if image.is_relative_to(layout.root) else str(image)
            lines = _text(labels).splitlines() if labels.is_file() else []
            objects = [
                _object(line, f"line {number}", layout, place, report)
                for number, line in enumerate(lines, start=1)
                if line.strip()
            ]
        except RecordError as error:
            report.refuse(error, place)
            continue
        yield Item(place, (name,), objects, normalised=True)


def _labels_of(image: Path, layout: _Layout) -> Path:
    if layout.labels is not None:
        inside = image.relative_to(layout.root).with_suffix(".txt")
        return layout.labels / inside
    parts = list(image.parts)
    where = [k for k, part in enumerate(parts) if part == "images"]
    if where:
        parts[where[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _object(line: str, name: str, layout: _Layout, place: SourcePlace, report: ConversionReport) -> FoundObject:
    words = line.split()
    try:
        number, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise RecordError(f"{name}: line must be a class and numbers, not {show_short(line.strip())}") from None
    if number not in layout.names:
        raise RecordError(f"{name}: class must be one of the {len(layout.names)} names, not {number}")
    if layout.keypoints and len(values) == 4 + layout.keypoints:
        report.add("dropped", "keypoints, which records have no shape for", place.of(name))
        values = values[:4]
    if len(values) == 4:
        x, y, w, h = values
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        # A box that touches the border does so in spite of rounding.
        return FoundObject(name, layout.names[number], "bbox_2d", [round(value, 12) for value in box])
    if len(values) < 6 or len(values) % 2:
        text = "a box of 4 numbers or a polygon of at least 3 pairs"
        raise RecordError(f"{name}: line must hold {text} behind the class, not {len(values)} numbers")
    return FoundObject(name, layout.names[number], "poly", values)


def _find_orphans(layout: _Layout, report: ConversionReport) -> None:
    """Refuse files of labels that belong to no image; those of another split in the same folder belong to one."""
    known = {_labels_of(image, layout) for image in layout.files}
    folders = [layout.labels] if layout.labels else sorted({path.parent for path in known})
    for folder in folders:
        others = set() if layout.labels else _image_stems(folder)
        pattern = folder.rglob("*.txt") if layout.labels else folder.glob("*.txt")
        for path in sorted(pattern):
            if path not in known and path.name not in _LISTS and path.stem not in others:
                report.refuse("labels must belong to an image, and there is none of this name", SourcePlace(str(path)))


def _image_stems(labels: Path) -> set[str]:
    """Return the names, without endings, of all images whose labels are in a folder."""
    parts = list(labels.parts)
    where = [k for k, part in enumerate(parts) if part == "labels"]
    if where:
        parts[where[-1]] = "images"
    folder = Path(*parts)
    return {path.stem for path in folder.iterdir() if path.suffix.lower() in SUFFIXES} if folder.is_dir() else set()


def _text(path: Path, advice: str = "") -> str:
    try:
        return read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecordError(f"{path}: file must be UTF-8 text") from None
    except RecordError as error:
        raise RecordError(f"{error}{advice}") from None
