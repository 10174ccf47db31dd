"""Records in, prediction lines out: what ``dcap predict`` does."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from dcap.answers.prediction import Prediction, read_predictions
from dcap.core.config import to_tree
from dcap.core.errors import CheckpointError, ConfigError, RecordError, ServerError
from dcap.core.log import get_logger
from dcap.core.manifest import digest_file
from dcap.core.progress import LoggedProgress
from dcap.core.shard import Shard, ShardFolder
from dcap.core.threads import map_in_threads
from dcap.core.words import counted
from dcap.evaluate.repeats import Pruning, prune
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.tiling import Tiling
from dcap.infer.asked_record import AskedRecord, ask_record, questions_of
from dcap.infer.engine import Reply
from dcap.infer.loading import EngineOptions, open_predictor
from dcap.infer.prediction_file import LeftOut, PredictionFile, of_shards, read_left_out, write_left_out
from dcap.infer.predictor import AskedMode, Predictor
from dcap.infer.source import ModelSource, find_source
from dcap.model.decoding import Decoding
from dcap.records.checking import CheckedRecords, ImageRules, check_records
from dcap.records.files.generated import is_generated
from dcap.records.files.opening import open_source
from dcap.records.record import Origin, Record
from dcap.records.sixteen_bit import SixteenBit
from dcap.records.source_names import SourceNames
from dcap.view.draw import Pixels
from dcap.view.sheet import Tile, answer_note, compare, contact_sheet

log = get_logger(__name__)

SHEET_SIDE = 560
"""Longer side of a picture on a sheet, in pixels."""
_AHEAD = 4
"""Batches that are asked about at a time: where an answer ends, the next image takes its place. A killed run loses so
many at most."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """One run of ``dcap predict``."""

    model: str
    """Built-in model, hub id or folder."""
    data: tuple[Path, ...]
    """Annotation files; only their images are used."""
    out: Path
    """Prediction file; continued when it exists."""
    adapter: Path | None = None
    """Folder of the adapter, or the one that ``dcap train`` wrote."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Where the model runs."""
    decoding: Decoding = field(default_factory=Decoding)
    """How answers are written."""
    limit: int | None = None
    """Predict only the first records. `None`: all."""
    dataset: str | None = None
    """Data set of a mixture; its prompts and answer format are used. `None`: those of ``data.answer``."""
    mode: AskedMode | None = None
    """Kind of answer. `None`: the kind that the model was trained for; objects if it was trained for both."""
    root: Path | None = None
    """Folder that image paths must stay in. `None`: any path."""
    on_bad_record: Literal["error", "skip"] = "error"
    """Stop at a bad record or image; or leave it out, count it and list it."""
    max_image_pixels: int = MAX_PIXELS
    """Refuse larger images from their header."""
    pruning: Pruning = field(default_factory=Pruning)
    """Objects that are left out of the predictions; the text of the answer keeps them."""
    tiling: Tiling | None = None
    """Ask about the tiles of each image, and merge the answers. `None`: about those of the training, or whole images
    without any."""
    overwrite: bool = False
    """Start anew even if the prediction file exists."""
    shard: ShardFolder | None = None
    """Predict only this part of the records, into its folder. `None`: all, into `out`."""

    @property
    def place(self) -> Path:
        """The file that is written."""
        return self.out if self.shard is None else self.shard.pieces

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, not {self.limit}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run of ``dcap predict``.

    Attributes:
        written: Lines written by this run.
        kept: Lines that were there from an earlier run.
        unclean: Of the written ones, answers with a problem.
        left_out: Records without a prediction, those of an earlier run included.
        sixteen_bit: How images of 16 bits were decoded: as in training.
        objects: Objects in the lines written by this run.
        dropped: Objects that `PredictOptions.pruning` has left out of these lines.
        unscored: Objects in these lines without a score.
        seconds: Time from the first question to the last answer.
    """

    written: int
    kept: int
    unclean: int
    left_out: tuple[LeftOut, ...]
    sixteen_bit: SixteenBit
    objects: int = 0
    dropped: int = 0
    unscored: int = 0
    seconds: float = field(default=0.0, compare=False)


def predict(options: PredictOptions) -> Outcome:
    """Predict the records of some files and write one line each, in their order.

    An interrupted run is continued where it stopped, with the same bytes as one that was not interrupted.

    Raises:
        ConfigError: The model, the adapter or an option cannot work.
        CheckpointError: The prediction file was made with something else.
        RecordError: A record or image is bad and `on_bad_record` is ``error``.
        ServerError: The server of the model does not answer, or not as agreed. What was written is kept.
    """
    # First, so that a missing model or device is an error before many records are read.
    source = find_source(
        options.model,
        options.adapter,
        options.dataset,
        needs_weights=not options.engine.is_server,
        quantization=options.engine.quantization,
    )
    engine = options.engine.resolved()
    rules = ImageRules(options.root, options.max_image_pixels)
    records = check_records(options.data, options.on_bad_record, rules)
    log.info("%s", records.summary())
    mode = options.mode or source.mode
    made_with = {
        **source.fingerprint(),
        "revision": engine.revision,
        # Records that are made are known by their name.
        "data": [[str(path), "" if is_generated(path) else digest_file(path)] for path in options.data],
        "max-new-tokens": options.decoding.max_new_tokens,
        **engine.made_with(),
        "mode": mode,
        **_other_decoding(options.decoding),
        **({} if options.pruning == Pruning() else {"pruning": to_tree(options.pruning)}),
        **({} if options.tiling is None else {"tiles": to_tree(options.tiling)}),
    }
    if options.tiling is not None and mode == "summary":
        raise ConfigError("--tiles must go with the mode dense: a summary is about the whole image")
    total = min(len(records), options.limit or len(records))
    shard = options.shard
    if shard is None:
        with PredictionFile(options.out, made_with, options.overwrite) as file:
            return _fill(file, options, source, engine, mode, records, range(total))
    # The batches of a shard are batches of the whole run.
    tiling = options.tiling or (source.profile.tiles if mode == "dense" else None)
    span = _span(shard.shard, total, _batch_size(options, tiling))
    settings = {**made_with, **of_shards(options.limit, len(records.bad), options.engine.batch_size)}
    if not options.overwrite and shard.is_whole(settings):
        kept = sum(1 for _ in read_predictions(shard.pieces))
        return Outcome(0, kept, 0, tuple(read_left_out(shard.pieces)), source.profile.sixteen_bit)
    part = {**settings, "part": [span.start, span.stop, total]}
    with PredictionFile(shard.pieces, part, options.overwrite) as file:
        outcome = _fill(file, options, source, engine, mode, records, span)
        shard.finish(settings, span, total)
    return outcome


def _fill(
    file: PredictionFile,
    options: PredictOptions,
    source: ModelSource,
    engine: EngineOptions,
    mode: AskedMode,
    records: CheckedRecords,
    span: range,
) -> Outcome:
    """Write the predictions of some of the records. Those that an earlier run has written are kept."""
    out = options.place
    places = _places(records, span.start)
    first = max(span.start, _next_record(places, file))
    # What failed after the last answer is tried again; what failed before it is not.
    earlier = [each for each in read_left_out(out) if _is_before(each, places, first)]
    # The first shard has what the check refused, for all of them.
    refused = records.bad if options.shard is None or not options.shard.shard.index else ()
    left_out = [*map(LeftOut.of_check, refused), *earlier]
    if first >= span.stop:
        _begin(file, options, left_out)
        log.info("%s is complete: %s", out, counted(file.kept, "prediction"))
        return Outcome(0, file.kept, 0, tuple(left_out), source.profile.sixteen_bit)
    if file.kept:
        log.info("%s is continued after %s", out, counted(file.kept, "prediction"))
    predictor = open_predictor(source, engine, options.decoding, mode)
    _begin(file, options, left_out)
    return _write(file, predictor, records, options, range(first, span.stop), left_out)


def _begin(file: PredictionFile, options: PredictOptions, left_out: Sequence[LeftOut]) -> None:
    """Begin the files, now that nothing is left that could keep the model from being asked."""
    if options.shard is not None:
        options.shard.begin()
    file.begin()
    write_left_out(options.place, left_out)


def _other_decoding(decoding: Decoding) -> dict[str, Any]:
    """Return what differs from greedy decoding, as plain data; nothing else changes an answer."""
    tree, greedy = to_tree(decoding), to_tree(Decoding())
    changed = {name: value for name, value in tree.items() if value != greedy[name] and name != "max_new_tokens"}
    return {"decoding": changed} if changed else {}


def _write(
    file: PredictionFile,
    predictor: Predictor,
    records: CheckedRecords,
    options: PredictOptions,
    wanted: range,
    left_out: list[LeftOut],
) -> Outcome:
    """Append the predictions of some records to the file, and list those that get none."""
    written = unclean = objects = dropped = unscored = 0
    begin = time.monotonic()
    try:
        for lines, lost in _batches(predictor, records, options, wanted.start, wanted.stop):
            if lost:
                left_out += lost
                write_left_out(options.place, left_out)
            file.append(lines)
            written += len(lines)
            unclean += sum(bool(line.problems) for line in lines)
            objects += sum(len(line.shapes) for line in lines)
            dropped += sum(line.dropped.total for line in lines)
            unscored += sum(len(line.shapes) - sum(score is not None for score in line.scores) for line in lines)
    except ServerError as error:
        raise ServerError(
            f"{str(error).rstrip('.')}. {options.place} keeps {counted(file.kept + written, 'prediction')}: start "
            "again with the same options to go on"
        ) from None
    rule = predictor.profile.sixteen_bit
    seconds = time.monotonic() - begin
    return Outcome(written, file.kept, unclean, tuple(left_out), rule, objects, dropped, unscored, seconds)


Places = Mapping[Origin, Sequence[int]]
"""The indices of good records by file and line, from the first of a shard on; several for a file that is named several
times."""


def _places(records: CheckedRecords, start: int) -> Places:
    places: dict[Origin, list[int]] = {}
    rows = zip(records.file_index[start:].tolist(), records.row_index[start:].tolist(), strict=True)
    for k, (f, i) in enumerate(rows, start):
        places.setdefault(records.files[f].origin(i), []).append(k)
    return places


def _is_before(left: LeftOut, places: Places, first: int) -> bool:
    """Whether a record that was left out earlier is one that is not tried again."""
    found = places.get(left.origin)
    return found is not None and found[0] < first


def _next_record(places: Places, file: PredictionFile) -> int:
    """Return the index of the first record that the file does not answer yet."""
    if file.last is None:
        return 0
    if file.last not in places:
        raise CheckpointError(
            f"{file.path}: last line must answer a record of the data, and {file.last.file}:{file.last.line} is none. "
            "Give --overwrite to start anew."
        )
    several = places[file.last]
    if len(several) == 1:
        return several[0] + 1
    answers = sum(line.source == file.last for line in read_predictions(file.path))
    return several[answers - 1] + 1


def _span(shard: Shard, total: int, batch: int) -> range:
    """Return the records of a shard, in whole batches, and say so where it has none."""
    span = shard.of(total, batch)
    if total and not span:
        log.info("shard %s gets none of %s: shards have whole batches of %d", shard, counted(total, "record"), batch)
    return span


def _batch_size(options: PredictOptions, tiling: Tiling | None) -> int:
    """Return how many records are asked about at a time."""
    # A server makes batches of its own, and the tiles of an image are batches.
    return 1 if options.engine.is_server or tiling is not None else _AHEAD * options.engine.batch_size


def _batches(
    predictor: Predictor, records: CheckedRecords, options: PredictOptions, first: int, total: int
) -> Iterator[tuple[list[Prediction], list[LeftOut]]]:
    """Yield, for some batches at a time, the predictions and the records that were left out.

    They start at multiples of one size, so that a continued run has the batches of a whole one.
    """
    size = _batch_size(options, options.tiling or predictor.tiling)
    batches = [range(start, min(start + size, total)) for start in range(first - first % size, total, size)]
    made = predict_batches(predictor, ([records[k] for k in wanted] for wanted in batches), options)
    waits_for = "the server" if options.engine.is_server else ""
    with LoggedProgress(total, first, "images", waits_for=waits_for) as progress, closing(made):
        for wanted, (lines, lost) in zip(batches, made, strict=True):
            # The first batch of a continued run may begin with records that an earlier run is done with.
            yield [line for line, k in lines if wanted[k] >= first], [each for each, k in lost if wanted[k] >= first]
            progress.advance(sum(k >= first for k in wanted))


def predict_batches(
    predictor: Predictor, batches: Iterable[Sequence[Record]], options: PredictOptions
) -> Generator[tuple[list[tuple[Prediction, int]], list[tuple[LeftOut, int]]], None, None]:
    """Yield, for each batch, the predictions and the reasons why other records were left out, with their indices.

    An engine that answers several calls at a time is asked about the next batches while it answers the first.

    Raises:
        RecordError: An image is bad, or the engine cannot answer about it, and `on_bad_record` is ``error``. Batches
            before it have been yielded.
    """
    stop = options.on_bad_record == "error"

    def answered(asked: _Asked) -> tuple[_Asked, list[Reply]]:
        if asked.bad and stop:
            raise asked.bad[min(asked.bad)]
        return asked, predictor.answers(questions_of(asked.questions.values()))

    # Files of records are for one thread: this one reads them.
    asked = (_ask(predictor, batch, options) for batch in batches)
    # The tiles of one image are asked about at a time; memory is for no more.
    made = map_in_threads(answered, asked, 1 if _is_cut(predictor, options) else predictor.engine.num_parallel)
    with closing(made):
        for batch, replies in made:
            lines, bad, left = [], dict(batch.bad), iter(replies)
            for k, about in batch.questions.items():
                own = list(islice(left, len(about.questions)))
                try:
                    line = about.prediction(predictor, own)
                    lines.append((prune(line, options.pruning), k))
                except RecordError as problem:
                    bad[k] = problem
            if bad and stop:
                raise bad[min(bad)]
            for error in bad.values():
                log.warning("left out: %s", error)
            yield lines, [(LeftOut.of_error(batch.records[k].origin, bad[k]), k) for k in sorted(bad)]


def _is_cut(predictor: Predictor, options: PredictOptions) -> bool:
    """Whether images are cut into tiles."""
    return (options.tiling or predictor.tiling) is not None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch of records: questions about some, by index, and why there is none about others."""

    records: Sequence[Record]
    questions: dict[int, AskedRecord]
    bad: dict[int, RecordError]


def _ask(predictor: Predictor, records: Sequence[Record], options: PredictOptions) -> _Asked:
    asked = _Asked(records, {}, {})
    for k, record in enumerate(records):
        try:
            asked.questions[k] = ask_record(
                predictor, record, tiling=options.tiling, root=options.root, max_image_pixels=options.max_image_pixels
            )
        except RecordError as error:
            asked.bad[k] = error
    return asked


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
    drawn: list[tuple[Record, Prediction]] = []
    for _, line in zip(range(num_images), read_predictions(out), strict=False):
        if line.source not in records:
            raise RecordError(f"{line.where}: source must name a record of the data, not {line.source}")
        file, i = records[line.source]
        drawn.append((file[i], line))
    sources, tiles = SourceNames.of(record for record, _ in drawn), list[Tile]()
    for record, line in drawn:
        notes = [*line.problems, *([] if line.captions else [answer_note(line.text)])]
        place = sources.place(record)
        tiles += compare(record, line.shapes, line.captions, place, notes, SHEET_SIDE, root, sixteen_bit)
    return contact_sheet(tiles, 2, SHEET_SIDE, heading=sources.legend) if tiles else None
