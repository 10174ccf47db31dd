"""Pairs of true records and their predictions."""

from __future__ import annotations

import posixpath
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcap.answers.prediction import Prediction, read_predictions
from dcap.core.errors import RecordError
from dcap.core.words import counted
from dcap.records.files.opening import open_records
from dcap.records.record import Record


@dataclass(frozen=True, slots=True)
class Pair:
    """One true record and its prediction. `None`: the predictions lack its image."""

    truth: Record
    pred: Prediction | None


def pair_up(truth: Sequence[str | Path], pred: str | Path) -> list[Pair]:
    """Join true records with predictions by image path.

    Several records may have one image, or one relative path in two files. Each then takes the prediction that names its
    file and line; the rest are joined in order.

    Args:
        truth: Files of records, folders or patterns; see `dcap.records.files.opening.expand_sources`.
        pred: The same, of predictions.

    Raises:
        RecordError: A record or prediction is malformed, there is no prediction, a prediction's image is not in the
            truth, or the two disagree on its size.
        ConfigError: A name means no file.
    """
    predictions = list(read_predictions(pred))
    records = list(open_records(truth))
    if records and not predictions:
        raise RecordError(
            f"{pred}: predictions must be at least one line, not an empty file. dcap predict writes one line per "
            f"image; {Path(pred).name}.bad_records.jsonl beside it lists those that it left out."
        )
    chosen = _choose(records, predictions)
    left = [predictions[k] for k in sorted(set(range(len(predictions))) - set(chosen))]
    if left:
        raise RecordError(_no_place(left, records))
    pairs = [Pair(record, None if k is None else predictions[k]) for record, k in zip(records, chosen, strict=True)]
    for pair in pairs:
        if pair.pred and pair.pred.canvas != pair.truth.canvas:
            want, got = pair.truth.canvas, pair.pred.canvas
            raise RecordError(
                f"{pair.pred.where}: size must be {want.width} x {want.height} as in {pair.truth.origin}, "
                f"not {got.width} x {got.height}"
            )
    return pairs


def _no_place(left: Sequence[Prediction], records: Sequence[Record]) -> str:
    first = left[0]
    if any(_key(record.image) == _key(first.image) for record in records):
        more = f"image must have one prediction for each of its records, and {first.image!r} has more. Delete a line."
        return f"{first.where}: {more}"
    many = counted(len(left), "such prediction")
    return (
        f"{first.where}: image must be one of the truth, not {first.image!r} ({many}). Give --truth the file that was "
        "predicted."
    )


def _choose(records: Sequence[Record], predictions: Sequence[Prediction]) -> list[int | None]:
    """Return the index of each record's prediction: the one that names the record, else the next of its image."""
    by_place: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
    by_image: defaultdict[str, deque[int]] = defaultdict(deque)
    for k, prediction in enumerate(predictions):
        by_place[_key(prediction.image), str(prediction.source)].append(k)
    places = [by_place.get((_key(record.image), str(record.origin))) for record in records]
    chosen = [place.popleft() if place else None for place in places]
    taken = set(chosen)
    for k, prediction in enumerate(predictions):
        if k not in taken:
            by_image[_key(prediction.image)].append(k)
    queues = [by_image.get(_key(record.image)) for record in records]
    return [queue.popleft() if k is None and queue else k for k, queue in zip(chosen, queues, strict=True)]


def _key(image: str) -> str:
    return posixpath.normpath(image)
