"""Runs of records: each record once, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcap.records.files.jsonl import JsonlFile
from dcap.records.scan import runs_of

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_each_record_is_in_one_run(write_jsonl: Write, make_record: Make) -> None:
    files = [JsonlFile(write_jsonl([make_record()] * n, f"{n}.jsonl")) for n in (5, 0, 4)]
    runs = runs_of(files, 2)
    assert [(run.file, row) for run in runs for row in run.rows] == [
        (f, i) for f, n in ((0, 5), (2, 4)) for i in range(n)
    ]
    assert max(len(run.rows) for run in runs) == 2
