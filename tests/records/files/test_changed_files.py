"""Files that change behind the back of their index or of who reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcap.core.errors import RecordError
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.line_index import LineIndex, load_lines
from dcap.records.files.saved_index import SUFFIX, ContentKey

LINE = b'{"images": ["a.png"], "width": 4, "height": 3, "objects": []}'


def index_of(path: Path) -> LineIndex | None:
    """What lies beside a file and belongs to it."""
    with path.open("rb") as file:
        return load_lines(path.with_name(path.name + SUFFIX), ContentKey.of(file.fileno()))


def numbers_of(path: Path) -> list[int]:
    file = JsonlFile(path, index_from=1)
    assert [file.line(i) for i in range(len(file))] == [LINE] * len(file)
    return [file.origin(i).line for i in range(len(file))]


@pytest.mark.parametrize("years", [-30, 30])
def test_no_clock_is_believed(tmp_path: Path, years: int) -> None:
    """A file may be older than the index of what it replaced, or come from the future."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINE + b"\n" + LINE)
    assert numbers_of(path) == [1, 2]
    path.write_bytes(b"\n" + LINE + b"\n\n" + LINE)
    moment = path.stat().st_mtime_ns + years * 365 * 86_400 * 10**9
    os.utime(path, ns=(moment, moment))
    assert index_of(path) is None
    assert numbers_of(path) == numbers_of(path) == [2, 4]
    assert index_of(path) is not None


@pytest.mark.parametrize("change", ["cut", "joined", "same lines"])
def test_a_change_that_no_key_shows_is_found_by_the_reader(tmp_path: Path, change: str) -> None:
    """In the middle of a file that keeps its size and time: a record less or more, or others in the same places."""
    data = (LINE + b"\n") * 1000
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    assert len(JsonlFile(path, index_from=1)) == 1000
    stamp, start = path.stat(), 500 * (len(LINE) + 1)
    small = b'{"images": ["b.png"]}\n'
    new = {
        "cut": small + b"{" + b" " * (len(LINE) - len(small) - 2) + b"}\n",
        "joined": LINE + b" ",
        "same lines": LINE.replace(b"a.png", b"b.png") + b"\n",
    }[change]
    path.write_bytes(data[:start] + new + data[start + len(LINE) + 1 :])
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    file = JsonlFile(path, index_from=1)
    assert index_of(path) is not None
    if change == "same lines":
        assert file.line(500) == new[:-1]
        return
    wrong = 500 if change == "cut" else 501
    assert file.line(wrong - 1)[: len(LINE)] == LINE
    with pytest.raises(RecordError, match=rf"a\.jsonl:{wrong + 1}: line must be where .* says, .* touch .*a\.jsonl$"):
        file.line(wrong)
    path.touch()
    again = JsonlFile(path, index_from=1)
    assert b"".join(again.line(i) + b"\n" for i in range(len(again))) == path.read_bytes()
