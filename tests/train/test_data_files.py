"""Data files that were replaced between a run and its resume."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import CheckpointError, RecordError
from dcap.train.data_files import changed_files, check_data, data_files


def test_a_copy_with_another_name_and_time_is_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text("{}\n")
    shutil.copyfile(first, second)
    os.utime(second, (5, 5))
    assert changed_files(data_files([first]), data_files([second])) is None


@pytest.mark.parametrize("place", [0, 70_000, 5_000_000, -1])
def test_a_changed_byte_is_noticed_wherever_the_whole_file_is_read(tmp_path: Path, place: int) -> None:
    path, data = tmp_path / "a.jsonl", bytearray(6_000_000)
    path.write_bytes(data)
    before = data_files([path])
    data[place] = 1
    path.write_bytes(data)
    assert changed_files(before, data_files([path])) == f"{path} has other bytes"


@pytest.mark.parametrize("whole_bytes", [1, 1 << 20])
def test_of_a_large_file_its_size_its_ends_and_what_lies_between_are_looked_at(
    tmp_path: Path, whole_bytes: int
) -> None:
    path, data = tmp_path / "a.tar", bytearray(4_000_000)

    def seen() -> Any:
        path.write_bytes(data)
        return data_files([path], whole_bytes)

    before = seen()
    for place in (0, -1):
        data[place] = 1
        assert changed_files(before, seen()) == f"{path} has other bytes"
        data[place] = 0
    if whole_bytes > 1:
        data[1_000_000:1_300_000] = b"\1" * 300_000
        assert changed_files(before, seen()) is not None
        data[1_000_000:1_300_000] = bytes(300_000)
    data.append(0)
    assert changed_files(before, seen()) == f"{path} had 4000000 bytes and has 4000001"


def test_what_changed_is_told_with_a_way_on(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        path.write_text("{}\n")
    before = {"train": data_files(paths)}
    check_data(before, before)
    for path in paths:
        path.write_text("[]\n")
    with pytest.raises(
        CheckpointError, match=r"a\.jsonl has other bytes \(2 files changed\).*=restart_epoch, or start"
    ):
        check_data(before, {"train": data_files(paths)})
    with pytest.raises(CheckpointError, match="there were 2 files and are 1"):
        check_data(before, {"train": data_files([paths[0]])})


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"gone\.jsonl: file must be readable"):
        data_files([tmp_path / "gone.jsonl"])
