"""The questions about one record: one about its image, or one about each of its tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dcap.answers.prediction import Prediction
from dcap.core.errors import ConfigError, GeometryError, RecordError
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.tiling import TilePlan, Tiling
from dcap.infer.engine import Reply
from dcap.infer.predictor import Predictor, Question, joined, windows_of
from dcap.records.files.opening import open_source
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source


@dataclass(frozen=True, slots=True)
class AskedRecord:
    """The questions about one record: one, or one for each of its tiles."""

    record: Record
    questions: list[Question]
    plan: TilePlan | None
    """The tiles. `None`: the image is not cut."""

    @property
    def names(self) -> list[str]:
        """File and line of the record for each question, with its tile."""
        windows = windows_of(self.plan)
        return [str(self.record.origin) if each is None else f"{self.record.origin} {each}" for each in windows]

    def prediction(self, predictor: Predictor, replies: Sequence[Reply]) -> Prediction:
        """Return the prediction that the replies to the questions give.

        Raises:
            RecordError: The engine could not answer one of them.
        """
        pairs, record = zip(self.questions, replies, strict=True), self.record
        parts = [predictor.prediction(question, reply, record.image, record.origin) for question, reply in pairs]
        return joined(parts, self.plan)


def ask_record(
    predictor: Predictor,
    record: Record,
    *,
    tiling: Tiling | None = None,
    root: Path | None = None,
    max_image_pixels: int = MAX_PIXELS,
) -> AskedRecord:
    """Return the questions to the model about a record. Its image is decoded once.

    Args:
        predictor: The model.
        record: Only its image is used.
        tiling: Ask about the tiles of the image. `None`: about those of the training, or the whole image without any.
        root: Folder that the image must be in. `None`: any folder.
        max_image_pixels: Refuse a larger image from its header.

    Raises:
        ImageError: The image cannot be decoded, or is too narrow for the model.
        RecordError: The image's path leaves `root`, or it has too many tiles.
    """
    tiling = tiling or predictor.tiling
    try:
        plan = None if tiling is None else tiling.plan(record.canvas)
    except GeometryError as error:
        raise RecordError(f"{record.origin}: {error}") from None
    rule = predictor.profile.sixteen_bit
    image = decode_image(image_source(record, root), record.canvas, max_image_pixels, record.origin, sixteen_bit=rule)
    questions = [predictor.question(image, record.origin, window) for window in windows_of(plan)]
    return AskedRecord(record, questions, plan)


def questions_of(asked: Iterable[AskedRecord]) -> list[Question]:
    """Return the questions about several records, one after the other."""
    return [question for each in asked for question in each.questions]


def predictions_of(predictor: Predictor, asked: Iterable[AskedRecord], replies: Iterable[Reply]) -> list[Prediction]:
    """Return the predictions that the replies to `questions_of` some records give.

    Raises:
        RecordError: The engine could not answer one of them.
    """
    left = iter(replies)
    return [each.prediction(predictor, list(islice(left, len(each.questions)))) for each in asked]


def first_records(data: Iterable[Path], number: int) -> list[Record]:
    """Return the first records of some files, to ask about. No more files are opened than that takes.

    Raises:
        ConfigError: There is none.
        RecordError: A file cannot be read, or a record breaks the contract.
    """
    files = map(open_source, data)
    found = list(islice((file[i] for file in files for i in range(len(file))), number))
    if not found:
        raise ConfigError("--data must hold at least one record, not none")
    return found
