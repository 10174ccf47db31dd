"""Pairs of true records and their predictions."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
    waiting: defaultdict[str, list[Prediction]] = defaultdict(list)
    for prediction in read_predictions(pred):
        waiting[_key(prediction.image)].append(prediction)
    any_line = bool(waiting)
    pairs = [Pair(record, _named(record, waiting)) for record in open_records(truth)]
    if pairs and not any_line:
        raise RecordError(
            f"{pred}: predictions must be at least one line, not an empty file. dcap predict writes one line per "
            f"image; {Path(pred).name}.bad_records.jsonl beside it lists those that it left out."
        )
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
    found = next((i for i, prediction in enumerate(queue) if str(prediction.source) == str(record.origin)), None)
    return None if found is None else queue.pop(found)


def _key(image: str) -> str:
    return posixpath.normpath(image)
