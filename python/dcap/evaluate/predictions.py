"""Reading ``pred.jsonl`` and joining it with the truth: which prediction answers which record."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dcap.core.errors import GeometryError, RecordError
from dcap.core.words import counted
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records.files.opening import open_source
from dcap.records.record import Origin, Record


class _Source(msgspec.Struct):
    file: str
    line: int


class _Line(msgspec.Struct):
    images: list[str]
    width: int
    height: int
    objects: list[dict[str, Any]]
    text: str = ""
    problems: list[str] = []
    source: _Source | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line of ``pred.jsonl``.

    Attributes:
        image: Image path as the record names it.
        canvas: Size of the image as displayed.
        shapes: Predicted shapes in pixels of the image file.
        captions: One per shape.
        text: Answer as the model wrote it.
        problems: What was wrong with the answer; empty when it parsed cleanly.
        where: ``file:line``, for messages.
        answers: ``file:line`` of the record that it answers; empty where the line does not say.
    """

    image: str
    canvas: Canvas
    shapes: ShapeArray
    captions: tuple[str, ...]
    text: str
    problems: tuple[str, ...]
    where: str
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """One true record and what was predicted for it; none when the predictions lack its image."""

    truth: Record
    pred: Prediction | None


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Read the lines of ``pred.jsonl``, as ``dcap predict`` writes them; blank lines are passed over.

    Raises:
        RecordError: The file is missing, or a line is no prediction; the message names file, line and field.
    """
    if not path.is_file():
        raise RecordError(f"{path}: predictions must be a file, and it does not exist. Run dcap predict first.")
    decoder = msgspec.json.Decoder(_Line)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if text:
                yield _parse(text, decoder, f"{path.name}:{number}")


def _parse(text: bytes, decoder: msgspec.json.Decoder[_Line], where: str) -> Prediction:
    try:
        line = decoder.decode(text)
        if len(line.images) != 1:
            raise RecordError(f"{where}: images must hold one path, not {len(line.images)}")
        shapes = ShapeArray.from_objects(line.objects)
        canvas = Canvas(line.height, line.width)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{where}: line must be a prediction: {error}") from None
    except GeometryError as error:
        raise RecordError(f"{where}: {error}") from None
    captions = [obj.get("desc") for obj in line.objects]
    for i, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise RecordError(f"{where}: objects[{i}].desc must be a string, not {caption!r}")
    named = tuple(str(caption) for caption in captions)
    answers = str(Origin(line.source.file, line.source.line)) if line.source else ""
    return Prediction(line.images[0], canvas, shapes, named, line.text, tuple(line.problems), where, answers)


def pair_up(truth: Sequence[Path], pred: Path) -> list[Pair]:
    """Join true records with predictions by image path.

    Of several records of one image (or of one relative path in two files) each takes the prediction that names its
    file and line; the rest are joined in order.

    Raises:
        RecordError: A record or prediction is malformed, a prediction's image is not in the truth, or the two
            disagree on its size.
    """
    waiting: defaultdict[str, list[Prediction]] = defaultdict(list)
    for prediction in read_predictions(pred):
        waiting[_key(prediction.image)].append(prediction)
    pairs = [Pair(record, _named(record, waiting)) for path in truth for record in open_source(path)]
    for i, pair in enumerate(pairs):
        queue = waiting[_key(pair.truth.image)]
        if pair.pred is None and queue:
            pairs[i] = Pair(pair.truth, queue.pop(0))
    left = [prediction for queue in waiting.values() for prediction in queue]
    if left:
        raise RecordError(
            f"{left[0].where}: image must be one of the truth, not {left[0].image!r} "
            f"({counted(len(left), 'such prediction')}). Give --truth the file that was predicted."
        )
    for pair in pairs:
        if pair.pred and pair.pred.canvas != pair.truth.canvas:
            want, got = pair.truth.canvas, pair.pred.canvas
            raise RecordError(
                f"{pair.pred.where}: size must be {want.width} x {want.height} as in {pair.truth.origin}, "
                f"not {got.width} x {got.height}"
            )
    return pairs


def _named(record: Record, waiting: Mapping[str, list[Prediction]]) -> Prediction | None:
    """Take the prediction that says it answers this record."""
    queue = waiting[_key(record.image)]
    found = next((i for i, prediction in enumerate(queue) if prediction.answers == str(record.origin)), None)
    return None if found is None else queue.pop(found)


def _key(image: str) -> str:
    return posixpath.normpath(image)
