"""Lines of YOLO's label files: what the numbers behind the class mean.

Owns the kinds of lines. A length alone does not tell a kind: 8 numbers are four corners, or a box with two keypoints.
So a kind comes from data.yaml (``kpt_shape``) or the user. Without both, lines that have one meaning only are read,
and others are an error::

    4 numbers               a box: centre, width, height
    8 numbers               four corners: a turned box (obb) and a polygon are the same shape
    6, 8, 10, ... numbers   a polygon (segments)
    4 + 2 k or 4 + 3 k      a box with k keypoints (pose), which has kpt_shape in data.yaml

All are shares of width and height. A DOTA line has four corners in pixels, then a class by its name.

Source: the data set pages of Ultralytics' documentation for detect, segment, obb and pose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from dcap.convert.foreign_files import show_short
from dcap.convert.yolo_data import class_number
from dcap.core.errors import RecordError
from dcap.core.words import counted

LineKind = Literal["auto", "boxes", "segments", "obb", "pose", "dota"]
"""What lines are; ``auto``: what data.yaml says, or the only thing that they can be."""

_ROUNDING = 1e-5
"""Share by which a number may pass the border because it was rounded: half a unit of the fifth digit, twice."""
_OUTSIDE = 0.25
"""Share by which a coordinate may be outside. One that is farther out is no share, but most likely pixels."""
_BEYOND_BOX = 0.1
"""Share of a box by which keypoints may be outside."""
_CORNERS = 8
_SAMPLE = 500
"""Lines that are looked at to tell keypoints from corners."""


class ParsedLine(NamedTuple):
    """Result of `LineReader.parse`."""

    desc: str
    """Name of the class."""
    key: str
    """``bbox_2d`` or ``poly``."""
    values: list[float]
    """Flat coordinates: shares, or pixels of a DOTA line."""
    keypoints: int
    """Numbers of keypoints, which are left out."""
    difficult: int
    """What a DOTA line says of it."""


@dataclass(frozen=True, slots=True)
class LineReader:
    """Reads lines of one kind."""

    names: Mapping[int, str]
    """Names of the classes by number."""
    kind: LineKind = "auto"
    keypoints: tuple[int, int] | None = None
    """Keypoints of each object and numbers of each, as data.yaml states them."""

    def parse(self, line: str) -> ParsedLine | None:
        """Return the object of a line; None for a head line of DOTA.

        Raises:
            RecordError: The line is of another kind, or broken; the message does not name it.
        """
        if self.kind == "dota":
            return _dota(line)
        number, values = self._numbers(line)
        name = self._name(number)
        is_box, extra = self._split(values)
        shares = values[:4] if is_box else values
        _check_shares(shares)
        if not is_box:
            return ParsedLine(name, "poly", [_snapped(value) for value in shares], 0, 0)
        x, y, w, h = shares
        corners = [_snapped(round(value, 12)) for value in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
        return ParsedLine(name, "bbox_2d", corners, extra, 0)

    def _numbers(self, line: str) -> tuple[int, list[float]]:
        words = line.split()
        number = class_number(words[0])
        if number is None:
            raise _line_error(line, words)
        try:
            return number, [_to_float(word) for word in words[1:]]
        except ValueError:
            raise _line_error(line, words) from None

    def _name(self, number: int) -> str:
        name = self.names.get(number)
        if name is None:
            count = sum(map(bool, self.names.values()))
            raise RecordError(f"class must be one of the {count} names, not {number}")
        if not name:
            raise RecordError(f"class {number} must have a name, and the list of classes leaves it blank")
        return name

    def _split(self, values: Sequence[float]) -> tuple[bool, int]:
        """Return whether the line is a box, and how many numbers of keypoints are behind it."""
        n = len(values)
        if self.keypoints is not None:
            number, size = self.keypoints
            want = 4 + number * size
            if n != want:
                raise RecordError(
                    f"line must hold a box and {number} keypoints of {size} numbers, as kpt_shape says: {want} numbers "
                    f"behind the class, not {n}"
                )
            return True, n - 4
        if self.kind == "boxes" and n != 4:
            raise RecordError(f"line must hold a box of 4 numbers behind the class, not {n} numbers")
        if self.kind == "obb" and n != _CORNERS:
            raise RecordError(f"line must hold four corners, 8 numbers behind the class, not {n} numbers")
        if self.kind == "segments" and (n < 6 or n % 2):
            raise RecordError(f"line must hold a polygon of at least 3 pairs behind the class, not {n} numbers")
        if self.kind == "pose":
            if n <= 4 or ((n - 4) % 2 and (n - 4) % 3):
                raise RecordError(
                    f"line must hold a box and keypoints of 2 or 3 numbers behind the class, not {n} numbers"
                )
            return True, n - 4
        if self.kind == "auto" and n != 4:
            _refuse_ambiguous(values)
        return n == 4, 0


def check_kind(lines: Iterable[str]) -> None:
    """Refuse lines of which nothing says whether they are polygons or boxes with keypoints.

    Polygons differ in their number of points. Boxes with keypoints all have the same, and the points are in the boxes.

    Args:
        lines: Lines of label files; those that are no numbers do not count.

    Raises:
        RecordError: All of the first lines can be both.
    """
    lengths, poses, total = set[int](), 0, 0
    for values in islice(filter(None, map(_values, lines)), _SAMPLE):
        lengths.add(len(values))
        if len(lengths) > 1 or len(values) <= 4:
            return
        total += 1
        poses += _is_pose(values, 2)
    if 2 * poses > total:
        n = lengths.pop()
        raise RecordError(
            f"lines must be of a kind that is known: each has {n} numbers behind the class, a box with "
            f"{counted((n - 4) // 2, 'keypoint')} or a polygon of {n // 2} points. Give --lines pose or --lines "
            "segments, or kpt_shape in data.yaml."
        )


def _refuse_ambiguous(values: Sequence[float]) -> None:
    n = len(values)
    points = f"{counted((n - 4) // 3, 'keypoint')} of 3 numbers"
    if n >= 6 and n % 2 == 0:
        if (n - 4) % 3 == 0 and _is_pose(values, 3):
            raise RecordError(
                f"line must be of a kind that is known: {n} numbers behind the class are a box with {points}, or a "
                f"polygon of {n // 2} points. Give --lines pose or --lines segments, or kpt_shape in data.yaml."
            )
        return
    advice = ""
    if n > 4 and (n - 4) % 3 == 0:
        advice = f". If it is a box with {points}, give --lines pose, or kpt_shape in data.yaml"
    elif n == 5:
        advice = ". A fifth number, a confidence or an angle, is not read"
    text = "a box of 4 numbers or a polygon of at least 3 pairs"
    raise RecordError(f"line must hold {text} behind the class, not {n} numbers{advice}")


def _is_pose(values: Sequence[float], size: int) -> bool:
    """Return whether numbers can be a box in the image with keypoints of 2 or 3 numbers in it."""
    if len(values) <= 4 or (len(values) - 4) % size:
        return False
    x, y, w, h = values[:4]
    if w <= 0 or h <= 0 or min(x - w / 2, y - h / 2) < -1e-3 or max(x + w / 2, y + h / 2) > 1 + 1e-3:
        return False
    if size == 3 and any(flag not in (0, 1, 2) for flag in values[6::3]):
        return False
    if len(values) == _CORNERS and _is_parallelogram(values):
        return False
    reach_x, reach_y = w * (0.5 + _BEYOND_BOX), h * (0.5 + _BEYOND_BOX)
    points = zip(values[4::size], values[5::size], strict=True)
    return all((px == py == 0) or (abs(px - x) <= reach_x and abs(py - y) <= reach_y) for px, py in points)


def _is_parallelogram(values: Sequence[float]) -> bool:
    return all(abs(values[k] + values[k + 4] - values[k + 2] - values[k + 6]) <= 2e-3 for k in (0, 1))


def _values(line: str) -> list[float]:
    """Return the numbers behind the class; none if the line is broken."""
    try:
        return [_to_float(word) for word in line.split()[1:]]
    except ValueError:
        return []


def _to_float(word: str) -> float:
    if "_" in word or not word.isascii():
        raise ValueError
    return float(word)


def _check_shares(values: Sequence[float]) -> None:
    for k, value in enumerate(values):
        if not math.isfinite(value):
            raise RecordError(f"coordinates[{k}] must be a finite number, not {value}")
        if not -_OUTSIDE <= value <= 1 + _OUTSIDE:
            pixels = ". Numbers of this size are pixels: divide x by the width of the image, y by its height"
            text = f"coordinates[{k}] must be a share of the side, from 0 to 1, not {value:g}"
            raise RecordError(text + (pixels if value > 2 else ""))


def _snapped(value: float) -> float:
    """Return a share that passes the border by its rounding as on the border."""
    if -_ROUNDING <= value < 0:
        return 0.0
    return 1.0 if 1 < value <= 1 + _ROUNDING else value


def _line_error(line: str, words: Sequence[str]) -> RecordError:
    """Return what is wrong with a line that is not the number of a class and numbers."""
    if _is_dota_head(line) or (len(words) in (9, 10) and _is_number(words[0]) and not _is_number(words[8])):
        return RecordError(
            "line must be a class and shares, and this is DOTA's form: four corners in pixels and a class by its name. "
            "Give --lines dota."
        )
    if _is_number(words[0]) and class_number(words[0]) is None:
        return RecordError(f"class must be a whole number from 0 on, not {words[0]}")
    return RecordError(f"line must be a class and numbers, not {show_short(line.strip())}")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_dota_head(line: str) -> bool:
    return line.lower().replace("'", "").lstrip().startswith(("imagesource:", "gsd:"))


def _dota(line: str) -> ParsedLine | None:
    if _is_dota_head(line):
        return None
    words = line.split()
    corners = _values(" ".join(["0", *words[:_CORNERS]]))
    if len(words) not in (9, 10) or len(corners) != _CORNERS:
        text = "four corners in pixels, a class by its name and a number for difficult"
        raise RecordError(f"line must be {text}, not {show_short(line.strip())}")
    difficult = class_number(words[9]) if len(words) == 10 else 0
    if difficult is None:
        raise RecordError(f"difficult must be a whole number, not {show_short(words[9])}")
    return ParsedLine(words[8], "poly", corners, 0, difficult)
