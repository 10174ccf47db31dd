"""The list of what a run left out: complete, each thing once, and kept over a resume."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcap.records.checking import BadRecordList, check_records

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_skip_counts_and_lists(write_jsonl: Write, make_record: Make, tmp_path: Path) -> None:
    path = write_jsonl([make_record(), b'{"torn": ' + b"\xff", make_record(width=0, height=0), make_record()])
    checked = check_records([path], on_bad_record="skip")
    assert [checked[k].origin.line for k in range(len(checked))] == [1, 4]
    assert checked.summary() == "2 records, 2 bad ones skipped"
    listed = BadRecordList(tmp_path)
    listed.start(checked)
    assert listed.path == tmp_path / "bad_records.jsonl"
    items = [json.loads(line) for line in listed.path.read_text("utf-8").splitlines()]
    assert [(item["file"], item["line"]) for item in items] == [(str(path), 2), (str(path), 3)]
    assert items[0]["text"] == '{"torn": \ufffd'
    assert items[1]["errors"] == [
        "width must be a whole number of pixels >= 1, not 0",
        "height must be a whole number of pixels >= 1, not 0",
    ]
    listed.add("r.jsonl:4: image must be whole")
    assert len(listed) == 3
    listed.start()
    assert len(listed) == 1


def test_a_resume_keeps_what_was_found_later(write_jsonl: Write, make_record: Make, tmp_path: Path) -> None:
    listed = BadRecordList(tmp_path)
    checked = check_records([write_jsonl([make_record(), b"{}"])], on_bad_record="skip")
    listed.start(checked)
    listed.add("r.jsonl:1: image must be whole")
    whole = listed.path.read_bytes()
    listed.path.write_bytes(whole + b'{"errors": ["cut by a cra')
    listed.start(checked)
    assert listed.path.read_bytes() == whole


@pytest.mark.parametrize("damaged", [b'{"errors": \xff}', b"[1", b"7", b"[" * 5000])
def test_a_damaged_line_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, damaged: bytes
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    listed = BadRecordList(tmp_path)
    listed.add("r.jsonl:1: image must be whole")
    whole = listed.path.read_bytes()
    listed.path.write_bytes(damaged + b"\n" + whole)
    listed.start()
    assert listed.path.read_bytes() == whole
    assert f"{listed.path}:1: line must be a JSON object, and is damaged; left out" in caplog.messages


def test_a_full_disk_leaves_the_list_as_it_was(
    write_jsonl: Write, make_record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = BadRecordList(tmp_path)
    listed.add("r.jsonl:1: image must be whole")
    before = listed.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        listed.start(check_records([write_jsonl([make_record(), b"{}"])], on_bad_record="skip"))
    assert listed.path.read_bytes() == before


def test_an_image_that_fails_in_every_epoch_is_listed_once(tmp_path: Path) -> None:
    listed = BadRecordList(tmp_path)
    for message in (
        "a.jsonl:1: image must be whole",
        "a.jsonl:2: image must be whole",
        "a.jsonl:1: image must be whole",
    ):
        listed.add(message)
    assert len(listed) == 2


def test_without_bad_records_no_list_is_written(write_jsonl: Write, make_record: Make, tmp_path: Path) -> None:
    BadRecordList(tmp_path).start(check_records([write_jsonl([make_record()])], "skip"))
    assert not (tmp_path / "bad_records.jsonl").exists()


def test_long_lines_are_listed_by_their_beginning(write_jsonl: Write, tmp_path: Path) -> None:
    BadRecordList(tmp_path).start(check_records([write_jsonl([b"x" * 100_000])], "skip"))
    assert (tmp_path / "bad_records.jsonl").stat().st_size < 3000
