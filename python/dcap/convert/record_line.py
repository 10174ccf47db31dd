"""Records to lines of JSONL: compact, and whole numbers as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dcap.core.errors import RecordError
from dcap.geometry.objects import KEYS
from dcap.records.json_line import MAX_LINE_BYTES


def record_line(data: Mapping[str, Any]) -> bytes:
    """Return one record as JSON without a line end; of coordinates, 3.0 is written as 3.

    Raises:
        RecordError: It holds what JSON cannot, or is longer than a line may be.
    """
    objects = [{k: _whole(v) if k in KEYS else v for k, v in item.items()} for item in data["objects"]]
    try:
        line = msgspec.json.encode({**data, "objects": objects})
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise RecordError(f"record must be JSON data: {error}") from None
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"record must have at most {MAX_LINE_BYTES} bytes, not {len(line)}")
    return line


def _whole(values: list[float]) -> list[float]:
    return [int(value) if value.is_integer() else value for value in values]
