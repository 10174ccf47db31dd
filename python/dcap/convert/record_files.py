"""dcap's own record files in conversions: reading good records with their places, and writing lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.core.errors import RecordError
from dcap.core.outputs import Output, check_outputs
from dcap.geometry.shapes import KEYS
from dcap.records.files.opening import Records
from dcap.records.json_line import MAX_LINE_BYTES
from dcap.records.record import Record


def common_folder(records: Records) -> Path:
    """Return the folder, resolved, that all files of the records are in or below."""
    return Path(os.path.commonpath([file.path.parent.resolve() for file in records.files]))


def good_records(records: Records, report: ConversionReport) -> Iterator[tuple[SourcePlace, Record]]:
    """Yield the good records of some files in order, each with its place.

    Args:
        records: The records.
        report: Counts broken records, and shapes that were cut at the border of their image.

    Raises:
        RecordError: A record is broken, and `report` stops at bad input.
    """
    for file in records.files:
        for i in range(len(file)):
            origin = file.origin(i)
            place = SourcePlace(origin.file, f"line {origin.line}")
            try:
                record = file[i]
            except RecordError as error:
                report.refuse(str(error).removeprefix(f"{origin}: "), place)
                continue
            _tell_cuts(record, place, report)
            yield place, record


def _tell_cuts(record: Record, place: SourcePlace, report: ConversionReport) -> None:
    for k in record.clipped:
        reason = "shape partly outside the image: cut at its border"
        report.add("changed", reason, place.of(f"objects[{k}]"))
    for k, parts in record.other_parts:
        reason = "shape that the border of its image splits: only the largest part is kept"
        report.add("dropped", reason, place.of(f"objects[{k}]"), f"1 of {1 + len(parts)} parts is kept")


def record_line(data: Mapping[str, Any]) -> bytes:
    """Return one record as JSON without a line end; of coordinates, 3.0 is written as 3.

    Raises:
        RecordError: It holds what JSON cannot, or is longer than a line may be.
    """
    objects = [{k: _whole(v) if k in KEYS else v for k, v in item.items()} for item in data["objects"]]
    try:
        line = msgspec.json.encode({**data, "objects": objects})
    except UnicodeEncodeError:
        raise RecordError("record must hold Unicode texts, not half of a surrogate pair") from None
    except (TypeError, ValueError) as error:
        raise RecordError(f"record must be JSON data: {error}") from None
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"record must have at most {MAX_LINE_BYTES} bytes, not {len(line)}")
    return line


def _whole(values: list[float]) -> list[float]:
    return [int(value) if value.is_integer() else value for value in values]


def check_target(target: Path, sources: Iterable[Path], overwrite: bool) -> None:
    """Refuse to write over an input, or over a file unless `overwrite`.

    Args:
        target: The new file.
        sources: What is read.
        overwrite: Whether an older file may be replaced.

    Raises:
        ConfigError: The file is there, or is an input itself.
    """
    check_outputs([Output("--out", target, overwrite)], sources)
