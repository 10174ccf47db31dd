"""What every reader offers, from the three things that it brings along."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import RecordError
from dcap.records.files.source import RecordSource
from dcap.records.record import Origin

LINES = [
    b'{"images": ["a.png"], "width": 4, "height": 3, "objects": []}',
    b'{"images": [], "width": 0, "height": 3, "objects": []}',
    b"nonsense",
]


class Lines(RecordSource):
    path = Path("d/a.x")

    def __len__(self) -> int:
        return len(LINES)

    def line(self, i: int) -> bytes:
        return LINES[i]

    def origin(self, i: int) -> Origin:
        return Origin("d/a.x", i + 1)


def test_a_good_record() -> None:
    record, problems = Lines().explain(0)
    assert problems == ()
    assert record == Lines()[0]
    assert record.image == "a.png"
    assert record.embedded is None


def test_all_problems_are_explained_and_the_first_one_is_raised() -> None:
    record, problems = Lines().explain(1)
    assert record is None
    assert [problem.field for problem in problems] == ["images", "width"]
    with pytest.raises(RecordError, match=r"^a.x:2: images must be a list of one path, not \[\]$"):
        Lines()[1]
    with pytest.raises(RecordError, match=r"^a.x:3: column 1: line must be JSON"):
        Lines()[2]
