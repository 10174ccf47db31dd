"""The prediction line: the answer of a model about one image, as written by prediction and read by others.

One line is one image, in pixels of the image file as displayed. A prediction file is a record file too::

    {"images": ["0001.jpg"], "width": 640, "height": 393, "objects": [{"desc": "cup", "bbox_2d": [1.0, 2.0, 9.0, 8.0]}],
     "text": "...", "problems": [], "finish": "stop", "source": {"file": "val.jsonl", "line": 1}}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from dcap.core.errors import GeometryError, RecordError
from dcap.core.files import require_file
from dcap.core.words import misfit, show
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import expand_sources, is_known, open_source
from dcap.records.json_line import decode_line
from dcap.records.record import Origin

Finish = Literal["stop", "length"]
MOST_DROPPED = 2**31 - 1
"""Bound on each number of `Dropped`."""


class Dropped(msgspec.Struct, frozen=True, omit_defaults=True):
    """Numbers of objects of an answer that were dropped on request; they are still in its text."""

    repeats: int = 0
    """Objects that repeat an earlier one exactly."""
    overlaps: int = 0
    """Objects that overlap a better one of the same caption."""
    unsure: int = 0
    """Objects with a score that is too low."""

    @property
    def total(self) -> int:
        """Number of objects, whatever the reason."""
        return self.repeats + self.overlaps + self.unsure

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(self.repeats + other.repeats, self.overlaps + other.overlaps, self.unsure + other.unsure)


class _Source(msgspec.Struct):
    file: str
    line: int


class _Line(msgspec.Struct):
    images: list[str]
    width: int
    height: int
    objects: list[dict[str, Any]]
    summary: str | None = None
    text: str = ""
    problems: list[str] = []
    finish: Finish | None = None
    source: _Source | None = None
    dropped: Dropped = Dropped()


_DECODER = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line of a prediction file.

    ::

        shapes    [box,   line,   box ]     in displayed pixels of the image file
        captions  ("cup", "road", "cup")    one per shape
        scores    (0.93,  None,   0.71 )    one per shape; or () when no shape has one

    Raises:
        RecordError: `captions` or `scores` have another length than `shapes`.
    """

    image: str
    """Path of the image as its record names it; empty for an image that has no path."""
    canvas: Canvas
    """Size of the image as displayed."""
    shapes: ShapeArray
    """Predicted shapes in pixels of the image file."""
    captions: tuple[str, ...]
    """One per shape."""
    scores: tuple[float | None, ...] = ()
    """How sure the model was of each shape, 0..1; empty when the engine gave no log-probabilities."""
    summary: str | None = None
    """Description of the whole image, if it was asked for."""
    text: str = ""
    """The answer as the model wrote it."""
    problems: tuple[str, ...] = ()
    """Problems of the answer; empty if it parsed cleanly."""
    finish: Finish | None = None
    """Why the answer ended: ``stop`` (by itself) or ``length`` (too many tokens). `None`: the line does not say."""
    source: Origin | None = None
    """File and line of the record behind the question."""
    dropped: Dropped = field(default_factory=Dropped)
    """Objects of the answer that are not in `shapes`, because they were dropped on request."""
    where: str = field(default="", compare=False)
    """``file:line`` of the line itself, for messages; empty for a prediction that was not read from a file."""

    def __post_init__(self) -> None:
        n = len(self.shapes)
        if len(self.captions) != n or len(self.scores) not in (0, n):
            raise RecordError(
                f"{self._at}prediction must have one caption per shape and one score per shape or none, not "
                f"{len(self.captions)} captions and {len(self.scores)} scores for {n} shapes"
            )

    @property
    def _at(self) -> str:
        return f"{self.where}: " if self.where else ""

    def objects(self) -> list[dict[str, Any]]:
        """Return one plain dict per object: ``desc``, its shape, and ``score`` where there is one."""
        rows: list[dict[str, Any]] = [
            {"desc": caption, **shape} for caption, shape in zip(self.captions, self.shapes.to_objects(), strict=True)
        ]
        for row, score in zip(rows, self.scores, strict=False):
            if score is not None:
                row["score"] = score
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the line as plain data, in the order in which it is written."""
        line: dict[str, Any] = {
            "images": [self.image],
            "width": self.canvas.width,
            "height": self.canvas.height,
            "objects": self.objects(),
        }
        if self.summary is not None:
            line["summary"] = self.summary
        line |= {"text": self.text, "problems": list(self.problems)}
        if self.finish is not None:
            line["finish"] = self.finish
        if self.source is not None:
            line["source"] = {"file": self.source.file, "line": self.source.line}
        if self.dropped.total:
            line["dropped"] = msgspec.to_builtins(self.dropped)
        return line

    def to_line(self) -> bytes:
        """Return the line as UTF-8 JSON with its line end; `parse_prediction` reads it back to the same value."""
        return msgspec.json.encode(self.to_dict()) + b"\n"


def parse_prediction(line: bytes, where: str) -> Prediction:
    """Read one line; keys that are not part of a prediction are ignored.

    Args:
        line: UTF-8 JSON.
        where: ``file:line``, for messages.

    Raises:
        RecordError: The line is no prediction; the message names file, line and field.
    """
    try:
        data = _DECODER.decode(line)
        if len(data.images) != 1:
            raise RecordError(f"{where}: images must hold one path, not {len(data.images)}")
        shapes = ShapeArray.from_objects(data.objects)
        canvas = Canvas(data.height, data.width)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{where}: {_explained(line, error)}") from None
    except GeometryError as error:
        raise RecordError(f"{where}: {error}") from None
    return Prediction(
        image=data.images[0],
        canvas=canvas,
        shapes=shapes,
        captions=_captions(data.objects, where),
        scores=_scores(data.objects, where),
        summary=data.summary,
        text=data.text,
        problems=tuple(data.problems),
        finish=data.finish,
        source=Origin(data.source.file, data.source.line) if data.source else None,
        dropped=_checked(data.dropped, where),
        where=where,
    )


def _explained(line: bytes, error: Exception) -> str:
    """Return what keeps a line from being a prediction, in the words of JSON."""
    try:
        decode_line(line)
    except RecordError as malformed:
        return str(malformed)
    if value := re.match(r"Invalid enum value '(.*)' - at `\$\.(.*)`$", str(error)):
        return f"{value[2]} must be {' or '.join(get_args(Finish))}, not {show(value[1])}"
    return misfit(str(error), "line")


def _captions(objects: Sequence[dict[str, Any]], where: str) -> tuple[str, ...]:
    captions = [obj.get("desc") for obj in objects]
    for i, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise RecordError(f"{where}: objects[{i}].desc must be a string, not {show(caption)}")
    return tuple(map(str, captions))


def _scores(objects: Sequence[dict[str, Any]], where: str) -> tuple[float | None, ...]:
    scores = [obj.get("score") for obj in objects]
    for i, score in enumerate(scores):
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is not None and not (number and math.isfinite(score) and 0 <= score <= 1):
            raise RecordError(f"{where}: objects[{i}].score must be a number within 0..1, not {show(score)}")
    return tuple(scores) if any(score is not None for score in scores) else ()


def _checked(dropped: Dropped, where: str) -> Dropped:
    for name in dropped.__struct_fields__:
        value = getattr(dropped, name)
        if not 0 <= value <= MOST_DROPPED:
            raise RecordError(f"{where}: dropped.{name} must be within 0..{MOST_DROPPED}, not {show(value)}")
    return dropped


def read_predictions(name: str | Path) -> Iterator[Prediction]:
    """Read the lines of a prediction file, or of several; blank lines are skipped.

    Args:
        name: A file, folder or pattern, as `dcap.records.files.opening.expand_sources` takes it. Any kind of record
            file may hold predictions. A name with an unknown ending is that of a JSONL file.

    Raises:
        RecordError: The file is missing, or a line is no prediction; the message names file, line and field.
        ConfigError: The name means no file.
    """
    for path in expand_sources([name]):
        require_file(path, "predictions", RecordError, "Run dcap predict first.")
        file = open_source(path) if is_known(path) else JsonlFile(path)
        for i in range(len(file)):
            yield parse_prediction(file.line(i), str(file.origin(i)))
