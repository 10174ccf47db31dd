"""Records in, prediction lines out: what ``dcap predict`` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dcap.answers.prediction import Prediction, read_predictions
from dcap.core.errors import CheckpointError, ConfigError, RecordError
from dcap.core.log import get_logger
from dcap.core.manifest import digest_file
from dcap.core.progress import LoggedProgress
from dcap.core.words import counted
from dcap.geometry.canvas import MAX_PIXELS
from dcap.infer.prediction_file import LeftOut, PredictionFile, read_left_out, write_left_out
from dcap.infer.predictor import AskedMode, DType, Predictor, Question, choose_device
from dcap.infer.source import find_source
from dcap.records.checking import CheckedRecords, ImageRules, check_records
from dcap.records.files.opening import open_source
from dcap.records.images import decode_image
from dcap.records.record import Origin, Record, image_source
from dcap.records.sixteen_bit import SixteenBit
from dcap.view.draw import Pixels
from dcap.view.sheet import Tile, answer_note, compare, contact_sheet

log = get_logger(__name__)

SHEET_SIDE = 560
"""Longer side of a picture on a sheet, in pixels."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """One run of ``dcap predict``."""

    model: str
    """``builtin:tiny``, hub id or folder."""
    data: tuple[Path, ...]
    """Annotation files; only their images are used."""
    out: Path
    """Prediction file; continued when it exists."""
    adapter: Path | None = None
    """Folder of the adapter, or the one that ``dcap train`` wrote."""
    revision: str | None = None
    """Hub revision of the model. `None`: the newest."""
    batch_size: int = 4
    """Number of images at a time."""
    max_new_tokens: int = 4096
    """Stop an answer after this many tokens."""
    limit: int | None = None
    """Predict only the first records. `None`: all."""
    dataset: str | None = None
    """Data set of a mixture; its prompts and answer format are used. `None`: those of ``data.answer``."""
    mode: AskedMode | None = None
    """Kind of answer. `None`: the kind that the model was trained for; objects if it was trained for both."""
    dtype: DType | None = None
    """Precision. `None`: bfloat16 on CUDA, float32 on the CPU."""
    device: str | None = None
    """``cuda``, ``cuda:1`` or ``cpu``. `None`: CUDA if there is one, else the CPU."""
    root: Path | None = None
    """Folder that image paths must stay in. `None`: any path."""
    on_bad_record: Literal["error", "skip"] = "error"
    """Stop at a bad record or image; or leave it out, count it and list it."""
    max_image_pixels: int = MAX_PIXELS
    """Refuse larger images from their header."""
    overwrite: bool = False
    """Start anew even if the prediction file exists."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_new_tokens", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run of ``dcap predict``.

    Attributes:
        written: Lines written by this run.
        kept: Lines that were there from an earlier run.
        unclean: Of the written ones, answers with a problem.
        left_out: Records without a prediction, those of an earlier run included.
        sixteen_bit: How images of 16 bits were decoded: as in training.
    """

    written: int
    kept: int
    unclean: int
    left_out: tuple[LeftOut, ...]
    sixteen_bit: SixteenBit


def predict(options: PredictOptions) -> Outcome:
    """Predict the records of some files and write one line each, in their order.

    An interrupted run is continued where it stopped, with the same bytes as one that was not interrupted.

    Raises:
        ConfigError: The model, the adapter or an option cannot work.
        CheckpointError: The prediction file was made with something else.
        RecordError: A record or image is bad and `on_bad_record` is ``error``.
    """
    rules = ImageRules(options.root, options.max_image_pixels)
    records = check_records(options.data, options.on_bad_record, rules)
    log.info("%s", records.summary())
    source = find_source(options.model, options.adapter, options.dataset)
    device, dtype = choose_device(options.device, options.dtype)
    mode = options.mode or source.mode
    made_with = {
        **source.fingerprint(),
        "revision": options.revision,
        "data": [[str(path), digest_file(path)] for path in options.data],
        "max-new-tokens": options.max_new_tokens,
        "dtype": dtype,
        "mode": mode,
    }
    with PredictionFile(options.out, made_with, options.overwrite) as file:
        total = min(len(records), options.limit or len(records))
        places = _places(records)
        first = _next_record(places, file)
        # What failed after the last answer is tried again; what failed before it is not.
        earlier = [each for each in read_left_out(options.out) if places.get(each.origin, total) < first]
        left_out = [*map(LeftOut.of_check, records.bad), *earlier]
        write_left_out(options.out, left_out)
        if first >= total:
            log.info("%s is complete: %s", options.out, counted(file.kept, "prediction"))
            return Outcome(0, file.kept, 0, tuple(left_out), source.profile.sixteen_bit)
        if file.kept:
            log.info("%s is continued after %s", options.out, counted(file.kept, "prediction"))
        predictor = Predictor.load(
            source,
            mode=mode,
            device=device,
            dtype=dtype,
            revision=options.revision,
            max_new_tokens=options.max_new_tokens,
        )
        written = unclean = 0
        for lines, lost in _batches(predictor, records, options, first, total):
            if lost:
                left_out += lost
                write_left_out(options.out, left_out)
            file.append(lines)
            written += len(lines)
            unclean += sum(bool(line.problems) for line in lines)
    return Outcome(written, file.kept, unclean, tuple(left_out), source.profile.sixteen_bit)


def _places(records: CheckedRecords) -> dict[Origin, int]:
    """Return the index of each good record by its file and line."""
    rows = zip(records.file_index.tolist(), records.row_index.tolist(), strict=True)
    return {records.files[f].origin(i): k for k, (f, i) in enumerate(rows)}


def _next_record(places: Mapping[Origin, int], file: PredictionFile) -> int:
    """Return the index of the first record that the file does not answer yet."""
    if file.last is None:
        return 0
    if file.last not in places:
        raise CheckpointError(
            f"{file.path}: last line must answer a record of the data, and {file.last.file}:{file.last.line} is none. "
            "Give --overwrite to start anew."
        )
    return places[file.last] + 1


def _batches(
    predictor: Predictor, records: CheckedRecords, options: PredictOptions, first: int, total: int
) -> Iterator[tuple[list[Prediction], list[LeftOut]]]:
    """Yield, batch by batch, the predictions and the records that were left out.

    Batches start at multiples of the batch size, so that a continued run has the batches of a whole one.
    """
    size = options.batch_size
    with LoggedProgress(total, first, "images") as progress:
        for start in range(first - first % size, total, size):
            wanted = range(start, min(start + size, total))
            lines, lost = predict_records(predictor, [records[k] for k in wanted], options)
            yield [line for line, k in lines if wanted[k] >= first], lost
            progress.advance(sum(k >= first for k in wanted))


def predict_records(
    predictor: Predictor, records: Sequence[Record], options: PredictOptions
) -> tuple[list[tuple[Prediction, int]], list[LeftOut]]:
    """Return, for one batch, the predictions with their indices, and the reasons why other records were left out.

    Raises:
        RecordError: An image is bad and `on_bad_record` is ``error``.
    """
    asked: list[tuple[int, Question]] = []
    lost = []
    for k, record in enumerate(records):
        try:
            asked.append((k, ask_record(predictor, record, options)))
        except RecordError as error:
            if options.on_bad_record == "error":
                raise
            lost.append(LeftOut.of_error(record.origin, error))
            log.warning("left out: %s", error)
    answers = predictor.answers([question for _, question in asked])
    lines = [
        (predictor.prediction(question, answer, records[k].image, records[k].origin), k)
        for (k, question), answer in zip(asked, answers, strict=True)
    ]
    return lines, lost


def ask_record(predictor: Predictor, record: Record, options: PredictOptions) -> Question:
    """Return the question to the model about a record.

    Raises:
        ImageError: The image cannot be decoded, or is too narrow for the model.
        RecordError: The image's path leaves `root`.
    """
    source = image_source(record, options.root)
    rule = predictor.profile.sixteen_bit
    image = decode_image(source, record.canvas, options.max_image_pixels, record.origin, sixteen_bit=rule)
    return predictor.question(image, record.origin)


def prediction_sheet(
    out: Path,
    data: Sequence[Path],
    num_images: int,
    root: Path | None = None,
    sixteen_bit: SixteenBit = "full",
) -> Pixels | None:
    """Return a contact sheet of the first predictions of a file beside the truth. `None`: the file is empty.

    Args:
        out: The prediction file.
        data: The records it was made from.
        num_images: Number of images to draw.
        root: Folder that the images must be in. `None`: any folder.
        sixteen_bit: How images of 16 bits are decoded.

    Raises:
        RecordError: A line is no prediction of a record of `data`, or an image is missing or not what its record says.
    """
    records = {file.origin(i): (file, i) for file in map(open_source, data) for i in range(len(file))}
    tiles: list[Tile] = []
    for _, line in zip(range(num_images), read_predictions(out), strict=False):
        if line.source not in records:
            raise RecordError(f"{line.where}: source must name a record of the data, not {line.source}")
        file, i = records[line.source]
        notes = [*line.problems, *([] if line.captions else [answer_note(line.text)])]
        tiles += compare(file[i], line.shapes, line.captions, notes, SHEET_SIDE, root, sixteen_bit)
    return contact_sheet(tiles, 2, SHEET_SIDE) if tiles else None
