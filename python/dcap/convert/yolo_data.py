"""What a YOLO data set says about itself: data.yaml, Darknet's obj.data, and lists of classes.

Owns the numbers of classes: their places in the list, counted before blank lines are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcap.convert.foreign_files import read_bytes, show_short
from dcap.convert.foreign_yaml import given, parse_texts
from dcap.convert.image_folder import path_below
from dcap.core.errors import RecordError

MAX_BYTES = 16 << 20
"""Largest data.yaml, list of images or file of labels."""

_NUMBER = re.compile(r"([0-9]{1,9})(\.0*)?")
_OTHER_NAMES = {"val": ("valid", "validation"), "valid": ("val",)}


@dataclass(frozen=True, slots=True)
class YoloData:
    """A data.yaml or obj.data, as far as one split of it is concerned."""

    path: str
    """Folder that the other paths start at, as written; empty: that of the file."""
    entries: Sequence[str]
    """Folders, lists or images of the split, as written."""
    names: Mapping[int, str]
    """Names of the classes by number; blank where the file leaves one out."""
    keypoints: tuple[int, int] | None
    """Number of keypoints of each object, and of numbers of each, if objects have some."""


def read_data(source: Path, split: str) -> YoloData:
    """Read a data.yaml, or a file ``.data`` as Darknet and CVAT write it.

    Args:
        source: The file.
        split: ``train``, ``val`` or ``test``.

    Raises:
        RecordError: The file is neither, has no such split, or its classes are not given as a list or by number.
    """
    if source.suffix.lower() == ".data":
        return _read_darknet(source, split)
    data = _read_yaml(source)
    shape = given(data.get("kpt_shape"))
    if shape is not None and not _is_shape(shape):
        raise RecordError(
            f"{source}: kpt_shape must be two whole numbers, that of keypoints and 2 or 3, not {_shown(shape)}"
        )
    keypoints = (int(shape[0]), int(shape[1])) if shape is not None else None
    path = given(data.get("path")) or ""
    if not isinstance(path, str):
        raise RecordError(f"{source}: path must be a path, not {_shown(path)}")
    entries = _entries(data, split, source)
    names = _names(data, source)
    return YoloData(path, entries, names, keypoints)


def read_classes(path: Path, advice: str = "") -> dict[int, str]:
    """Return the names of classes by number: of a text file with one a line, or of a data.yaml.

    A blank line leaves the number without a name.

    Args:
        path: The file.
        advice: What an error says besides.

    Raises:
        RecordError: The file is missing, or no text.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        return _names(_read_yaml(path), path)
    if path.suffix.lower() in (".json", ".xml", ".csv", ".data"):
        raise RecordError(f"{path}: file must be text with the name of a class on each line, or a data.yaml")
    lines = [line.strip() for line in read_text(path, advice).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise RecordError(f"{path}: file must hold the names of the classes, one a line, and is empty")
    return dict(enumerate(lines))


def read_text(path: Path, advice: str = "") -> str:
    """Return the text of a file without a byte-order mark.

    Raises:
        RecordError: The file is missing, larger than `MAX_BYTES`, or no UTF-8; `advice` is added.
    """
    try:
        data = read_bytes(path, MAX_BYTES)
    except RecordError as error:
        raise RecordError(f"{error}{advice}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise RecordError(f"{path}: file must be UTF-8 text, and line {line} has the byte 0x{byte:02x}") from None


def class_number(word: str) -> int | None:
    """Return the number of a class, which may be in quotes or have zeros behind a point; None: it is none."""
    match = _NUMBER.fullmatch(word.strip("\"'"))
    return int(match[1]) if match else None


def _read_yaml(source: Path) -> dict[str, Any]:
    data = parse_texts(read_text(source), source)
    if not isinstance(data, dict):
        raise RecordError(f"{source}: file must hold names, train and val, not {_shown(data)}")
    return data


def _read_darknet(source: Path, split: str) -> YoloData:
    data: dict[str, str] = {}
    for number, line in enumerate(read_text(source).splitlines(), start=1):
        key, sign, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not sign:
            raise RecordError(f"{source}: line {number}: line must be a key, = and a value, not {show_short(line)}")
        data[key.strip().lower()] = value.strip()
    entries = _entries(data, split, source)
    if not data.get("names"):
        raise RecordError(f"{source}: names must be the file that holds the names of the classes")
    names = path_below(source.parent.resolve(), data["names"])
    if names is None:
        raise RecordError(f"{source}: names must be a file in {source.parent.resolve()}, not {data['names']!r}")
    return YoloData("", entries, read_classes(names), None)


def _shown(value: Any) -> str:
    return "nothing" if given(value) is None else show_short(value)


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, str) for n in shape):
        return False
    number, size = map(class_number, shape)
    return number is not None and 0 < number < 1000 and size in (2, 3)


def _entries(data: Mapping[str, Any], split: str, source: Path) -> list[str]:
    values = [given(data.get(name)) for name in (split, *_OTHER_NAMES.get(split, ()))]
    found = next(filter(None, values), None)
    if not found:
        others = [name for name in ("train", "val", "valid", "test") if given(data.get(name))]
        has = f"; the file has {', '.join(others)}" if others else ""
        raise RecordError(f"{source}: {split} must be given{has}. Choose another --split.")
    entries = found if isinstance(found, list) else [found]
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip() or "\0" in entry:
            raise RecordError(f"{source}: images must be given by a path, not {_shown(entry)}")
    return entries


def _names(data: Mapping[str, Any], source: Path) -> dict[int, str]:
    names = given(data.get("names"))
    if isinstance(names, list):
        items = list(enumerate(names))
    elif isinstance(names, dict):
        items = []
        for key, name in names.items():
            number = class_number(key) if isinstance(key, str) else None
            if number is None:
                raise RecordError(f"{source}: names must map numbers of classes to names, not {_shown(key)}")
            items.append((number, name))
    else:
        raise RecordError(f"{source}: names must be a list or map numbers to names, not {_shown(names)}")
    for number, name in items:
        if not isinstance(name, str):  # a list may be endless when it is written out
            raise RecordError(f"{source}: names must be texts, not {_shown(name)} for {number}")
    found = {number: name.strip() for number, name in items}
    if len(found) < len(items):
        raise RecordError(f"{source}: names must give each number once, not {len(items) - len(found)} of them twice")
    count = class_number(str(given(data.get("nc"))))
    if count is not None and count != len(found):
        raise RecordError(f"{source}: nc must be the number of names, {len(found)}, not {count}")
    return found
