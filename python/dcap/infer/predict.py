"""Records in, predictions out: what ``dcap predict`` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcap.core.errors import CheckpointError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.infer.left_out import LeftOut, read_list, write_list
from dcap.infer.options import PredictOptions, choose_device
from dcap.infer.outfile import Place, PredictionFile
from dcap.infer.predictor import load_predictor
from dcap.infer.source import digest_file, find_source
from dcap.records.checking import CheckedRecords, ImageRules, check_records

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of ``dcap predict`` did.

    Attributes:
        written: Lines written by this run.
        kept: Lines that were there from an earlier run.
        unclean: Of the written ones, answers with a problem.
        left_out: Records without a prediction, those of an earlier run included.
    """

    written: int
    kept: int
    unclean: int
    left_out: tuple[LeftOut, ...]


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
    mode = options.mode or ("summary" if source.profile.mode == "summary" else "dense")
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
        earlier = [item for item in read_list(options.out) if places.get((item.file, item.line), total) < first]
        left_out = [*map(LeftOut.of_check, records.bad), *earlier]
        write_list(options.out, left_out)
        if first >= total:
            log.info("%s is complete: %s", options.out, counted(file.kept, "prediction"))
            return Outcome(0, file.kept, 0, tuple(left_out))
        if file.kept:
            log.info("%s is continued after %s", options.out, counted(file.kept, "prediction"))
        predictor = load_predictor(source, mode, options, device, dtype)
        written = unclean = 0
        for lines, lost in predictor.run(records, first, total):
            if lost:
                left_out += lost
                write_list(options.out, left_out)
            file.append(lines)
            written += len(lines)
            unclean += sum(bool(line["problems"]) for line in lines)
    return Outcome(written, file.kept, unclean, tuple(left_out))


def _places(records: CheckedRecords) -> dict[Place, int]:
    """Return the index of each good record by its file and line."""
    rows = zip(records.file_index.tolist(), records.row_index.tolist(), strict=True)
    origins = (records.files[f].origin(i) for f, i in rows)
    return {(origin.file, origin.line): k for k, origin in enumerate(origins)}


def _next_record(places: Mapping[Place, int], file: PredictionFile) -> int:
    """Return the index of the first record that the file does not answer yet."""
    if file.last is None:
        return 0
    if file.last not in places:
        raise CheckpointError(
            f"{file.path}: last line must answer a record of the data, and {file.last[0]}:{file.last[1]} is none. "
            "Give --overwrite to start anew."
        )
    return places[file.last] + 1
