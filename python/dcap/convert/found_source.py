"""What annotations a file or folder holds: their format, and which of them are for validation.

Owns the signs by which a format is known. Nothing is read but names and the beginnings of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dcap.convert.image_folder import SUFFIXES
from dcap.convert.reader import Reader
from dcap.convert.readers import READERS
from dcap.convert.yolo_data import read_data
from dcap.core.errors import ConfigError, RecordError
from dcap.core.words import counted
from dcap.records.files.generated import PREFIX
from dcap.records.files.opening import is_known, resolve_data
from dcap.records.files.other_formats import HEAD_BYTES, json_format

_SPLIT = re.compile(r"(?<![a-z])(train|val|valid|validation)(?![a-z])", re.IGNORECASE)
_YOLO = (".yaml", ".yml", ".data")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class FoundSource:
    """Annotations of one format."""

    format: str
    """Name of its reader."""
    path: Path
    images: Path | None = None
    """Folder of the images, where it is not the one that the format implies."""
    split: str | Path | None = None
    """Which split of the source, for a reader that has several."""

    def reader(self) -> Reader:
        """Return the reader."""
        make = READERS.get(self.format)
        return make() if self.split is None else make(split=self.split)

    def __str__(self) -> str:
        return f"{self.path} ({self.format}{'' if self.split is None else f', {self.split}'})"


class FoundSources(NamedTuple):
    """What a path holds."""

    train: FoundSource
    val: FoundSource | None
    """`None`: nothing is set apart for validation."""


def find_sources(name: str, option: str = "--from") -> FoundSources:
    """Return what annotations a file or folder holds.

    ::

        data.yaml, obj.data, labels and classes.txt    YOLO
        Annotations and JPEGImages, or .xml files      Pascal VOC
        .json with images and annotations              COCO, LVIS; also in the folder annotations, or one per split
        .json with shapes                              Labelme
        .jsonl, .parquet, .tar ...                     records
        builtin:NAME                                   bundled records, or records that are made

    Args:
        name: The file or folder.
        option: What the user gave it as, for messages.

    Raises:
        ConfigError: There is no such path, nothing is recognised, or several things are.
    """
    path = resolve_data(name)
    if name.startswith(PREFIX):
        return FoundSources(FoundSource("jsonl", path), None)
    if not path.exists():
        raise ConfigError(f"{option} must be a file or folder that exists, not {path}")
    found = list(_in_folder(path) if path.is_dir() else _of_file(path))
    if not found:
        raise ConfigError(f"{option} {_nothing(path)}")
    formats = {each.format for each in found}
    if formats == {"jsonl", "coco"}:  # records that were made of it before, perhaps
        found = [each for each in found if each.format == "jsonl"]
    named = [(each, _split_of(path, each.path)) for each in found]
    train = [each for each, split in named if split == "train"] or [each for each, split in named if split is None]
    val = [each for each, split in named if split == "val"]
    if len(train) == 1 and len(val) <= 1:
        return FoundSources(train[0], val[0] if val else _own_val(train[0]))
    if not train and len(val) == 1:
        return FoundSources(val[0], None)
    shown = ", ".join(str(each.path) for each in found[:_MOST_SHOWN]) + (", ..." if len(found) > _MOST_SHOWN else "")
    raise ConfigError(f"{option} must hold annotations once, and {path} holds {shown}. Name one of them.")


def _of_file(path: Path) -> Iterator[FoundSource]:
    suffix = path.suffix.lower()
    if suffix in _YOLO:
        if _is_yolo(path):
            yield FoundSource("yolo", path, split="train")
        return
    if suffix == ".json":
        form = json_format(_head(path))
        if form == "labelme":
            yield FoundSource("labelme", path)
        elif form is not None:
            near = path.parent.parent if path.parent.name.lower() == "annotations" else None
            yield FoundSource(form, path, images=near)
        elif _is_records(path):
            yield FoundSource("jsonl", path)
    elif suffix == ".xml":
        yield FoundSource("voc", path)
    elif is_known(path.name):
        yield FoundSource("jsonl", path)


def _in_folder(folder: Path) -> Iterator[FoundSource]:
    files = _files(folder)
    yolo = [path for path in files if path.suffix.lower() in _YOLO and _is_yolo(path)]
    if yolo:
        yield from (FoundSource("yolo", path, split="train") for path in yolo)
        return
    if (folder / "labels").is_dir() and any((folder / name / "classes.txt").is_file() for name in (".", "labels")):
        yield FoundSource("yolo", folder / "labels")
        return
    if (folder / "Annotations").is_dir() or any(path.suffix.lower() == ".xml" for path in files):
        split = folder / "ImageSets" / "Main" / "train.txt"
        yield FoundSource("voc", folder, split=split if split.is_file() else None)
        return
    places = [folder, folder / "annotations", *(folder / name for name in ("train", "val", "valid"))]
    found = [each for place in places for path in _files(place) for each in _of_file(path)]
    labelme = [each for each in found if each.format == "labelme"]
    if labelme and len(labelme) == len([each for each in found if each.path.suffix == ".json"]):
        yield FoundSource("labelme", folder)
        return
    yield from (each for each in found if each.format != "labelme")


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _own_val(train: FoundSource) -> FoundSource | None:
    """Return the validation data that a source of training data names itself."""
    if train.format == "yolo" and train.split == "train":
        try:
            read_data(train.path, "val")
        except RecordError:
            return None
        return replace(train, split="val")
    if train.format == "voc" and isinstance(train.split, Path):
        val = train.split.with_name("val.txt")
        return replace(train, split=val) if val.is_file() else None
    return None


def _split_of(root: Path, path: Path) -> str | None:
    """Return ``train`` or ``val`` where the name of a file, or of its folder below the root, says so."""
    below = path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else path.name
    found = {"train" if word.lower() == "train" else "val" for word in _SPLIT.findall(below)}
    return found.pop() if len(found) == 1 else None


def _is_yolo(path: Path) -> bool:
    head = _head(path)
    return re.search(rb"^(names|classes)\s*[:=]", head, re.MULTILINE) is not None and b"train" in head


def _is_records(path: Path) -> bool:
    first = _head(path).lstrip().partition(b"\n")[0]
    return first.startswith(b"{") and b'"objects"' in first


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _nothing(path: Path) -> str:
    text = f"must be annotations of COCO, LVIS, Labelme, Pascal VOC or YOLO, or records, not {path}"
    if not path.is_dir():
        return f"{text}. dcap convert --help lists the formats."
    names: Sequence[Path] = _files(path)
    images = [name for name in names if name.suffix.lower() in SUFFIXES]
    if images and len(images) == len(names):
        return f"{text}, which holds {counted(len(images), 'image')} and no annotations. Annotate them first."
    return f"{text}, which holds none of them. Name a file or another folder."
