"""No output of a command is its input, another output, or a file of somebody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcap.core.errors import ConfigError
from dcap.core.outputs import Output, check_folder, check_outputs, outputs_given

MARK = b"made by dcap"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    return path


def named(records: Path, how: str) -> Path:
    """Return another name of the same file."""
    other = records.with_name("other.jsonl")
    if how == "symbolic link":
        other.symlink_to(records)
    elif how == "hard link":
        os.link(records, other)
    return records.parent / "x" / ".." / records.name if how == "dots" else other


@pytest.mark.parametrize("how", ["symbolic link", "hard link", "dots"])
@pytest.mark.parametrize("replaces", [MARK, True, False])
def test_an_input_is_no_output_by_any_name(records: Path, how: str, replaces: bytes | bool) -> None:
    (records.parent / "x").mkdir()
    with pytest.raises(ConfigError, match=r"^--html must be another file than the input, .*a\.jsonl$"):
        check_outputs([Output("--html", named(records, how), replaces)], [records])


def test_two_outputs_are_two_files(tmp_path: Path, records: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new.json")  # which leads to nothing yet
    outputs = outputs_given(("--out", tmp_path / "new.json", True), ("--report", tmp_path / "link", MARK))
    with pytest.raises(ConfigError, match=r"^--report must be another file than that of --out, "):
        check_outputs(outputs, [records])
    twice = outputs_given(
        ("--json", Path(os.devnull), MARK), ("--html", Path(os.devnull), MARK), ("--sheet", None, MARK)
    )
    check_outputs(twice, [records])


def test_what_may_be_replaced(tmp_path: Path, records: Path) -> None:
    (tmp_path / "report").write_bytes(b"<head>" + MARK)
    (tmp_path / "empty").touch()
    for name in ("report", "empty", "absent"):
        check_outputs([Output("--html", tmp_path / name, MARK)], ())
    check_outputs([Output("--out", tmp_path / "empty", False), Output("--sheet", records, True)], ())
    with pytest.raises(
        ConfigError, match=r"^--html must be a new file, or replace an older report of dcap, and .*a\.json"
    ):
        check_outputs([Output("--html", records, MARK)], ())
    with pytest.raises(ConfigError, match=r"^--out must be a new file, and .* exists\. Give --overwrite"):
        check_outputs([Output("--out", records, False)], ())
    with pytest.raises(ConfigError, match=r"^--html must be a file, not a folder: "):
        check_outputs([Output("--html", tmp_path, True)], ())


def test_a_folder_to_write_into_is_no_file(records: Path) -> None:
    check_folder("--out", records.parent / "new" / "deep")
    for folder in (records, records / "deep"):
        with pytest.raises(
            ConfigError, match=r"^--out must be a folder to write into, and .*a\.jsonl is a file\. Name"
        ):
            check_folder("--out", folder)
