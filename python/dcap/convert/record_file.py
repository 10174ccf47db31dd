"""The records of a file as conversions take them: each good one with its place, what is lost counted."""

from __future__ import annotations

from collections.abc import Iterator

from dcap.convert.losses import Losses, Place
from dcap.core.errors import RecordError
from dcap.records.files.source import RecordSource
from dcap.records.record import Record


def good_records(file: RecordSource, losses: Losses) -> Iterator[tuple[Place, Record]]:
    """Yield the good records of a file in order, each with its place.

    Args:
        file: The records.
        losses: Counts broken records, and shapes that were cut at the border of their image.

    Raises:
        RecordError: A record is broken, and `losses` stops at bad input.
    """
    for i in range(len(file)):
        origin = file.origin(i)
        place = Place(origin.file, f"line {origin.line}")
        try:
            record = file[i]
        except RecordError as error:
            losses.refuse(str(error).removeprefix(f"{origin}: "), place)
            continue
        for k in record.clipped:
            reason = "shape partly outside the image: cut at its border"
            losses.add("changed", reason, place.of(f"objects[{k}]"))
        yield place, record
