"""A log of lines: what an interrupted writer leaves, and what is not continued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcap.core.errors import CheckpointError
from dcap.core.line_log import LineLog, meta_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with LineLog(tmp_path / "new" / "log", {"a": (1, 2)}) as log:
        assert (log.kept, log.last_line) == (0, b"")
        log.write(b"1\n2\n")
        log.write(b"3\n", durable=False)
    return tmp_path / "new" / "log"


def test_lines_are_continued_after_the_last_whole_one(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"torn")
    with LineLog(path, {"a": [1, 2]}) as log:
        assert (log.kept, log.last_line) == (3, b"3\n")
        log.write(b"4\n")
    assert path.read_bytes() == b"1\n2\n3\n4\n"
    assert json.loads(meta_path(path).read_text())["made_with"] == {"a": [1, 2]}


def test_a_log_without_lines_begins_with_its_meta(tmp_path: Path) -> None:
    with LineLog(tmp_path / "log", {"a": 1}) as log:
        assert not meta_path(log.path).exists()
        log.begin()
        assert meta_path(log.path).exists()
    with LineLog(tmp_path / "log", {"a": 2}) as log:
        assert log.kept == 0


def test_another_option_is_named(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"same a, but a was .* Give another --report, or --overwrite to start"):
        LineLog(path, {"a": 3}, option="--report")
    with LineLog(path, {"a": 3}, overwrite=True) as log:
        log.write(b"x\n")
    assert path.read_bytes() == b"x\n"


def test_one_writer_at_a_time(path: Path) -> None:
    with LineLog(path, {"a": [1, 2]}), pytest.raises(CheckpointError, match="by one run at a time"):
        LineLog(path, {"a": [1, 2]}, overwrite=True)
    assert path.read_bytes() == b"1\n2\n3\n"
