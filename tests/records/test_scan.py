"""Runs of records: each record once, in order, and the same results whoever makes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import RecordError
from dcap.records.files.jsonl import JsonlFile
from dcap.records.scan import default_workers, map_in_order, runs_of

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def square(i: int) -> tuple[int, int]:
    if i == 90:
        raise RecordError("a.jsonl:90: no")
    return i * i, os.getpid()


def test_each_record_is_in_one_run(write_jsonl: Write, make_record: Make) -> None:
    files = [JsonlFile(write_jsonl([make_record()] * n, f"{n}.jsonl")) for n in (5, 0, 4)]
    runs = runs_of(files, 2)
    assert [(run.file, row) for run in runs for row in run.rows] == [
        (f, i) for f, n in ((0, 5), (2, 4)) for i in range(n)
    ]
    assert max(len(run.rows) for run in runs) == 2


@pytest.mark.parametrize(("number", "workers", "makers"), [(30, 0, 0), (4, 2, 0), (30, 2, 2)])
def test_results_come_in_order(number: int, workers: int, makers: int) -> None:
    made = list(map_in_order(square, range(number), workers))
    assert [value for value, _ in made] == [i * i for i in range(number)]
    assert len({process for _, process in made} - {os.getpid()}) == makers


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_arrives_as_it_was(workers: int) -> None:
    with pytest.raises(RecordError, match=r"^a\.jsonl:90: no$"):
        list(map_in_order(square, range(80, 100), workers))


def test_a_command_takes_the_cores_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert default_workers() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert default_workers() == 1
