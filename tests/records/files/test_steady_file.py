"""Files in use: missing, changed, cut short, opened by another process; and how many of them are kept open."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import RecordError
from dcap.records.files import steady_file
from dcap.records.files.steady_file import Recent, SteadyFile


def written(path: Path, data: bytes = b"abc") -> SteadyFile:
    path.write_bytes(data)
    return SteadyFile(path)


def test_each_process_opens_for_itself(tmp_path: Path) -> None:
    file = written(tmp_path / "a")
    other = pickle.loads(pickle.dumps(file))
    assert other.fd() != file.fd()
    assert os.pread(other.fd(), 9, 1) == b"bc"
    assert file.size == 3


def test_more_files_than_a_process_may_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_file._OPEN, "bound", 5)
    before = len(os.listdir("/proc/self/fd")) - len(steady_file._OPEN)
    files = [written(tmp_path / f"{i}", b"%d" % i) for i in range(20)]
    for _ in range(2):
        assert [os.pread(file.fd(), 9, 0) for file in files] == [b"%d" % i for i in range(20)]
    assert len(os.listdir("/proc/self/fd")) <= before + 5
    (tmp_path / "0").write_bytes(b"changed")
    with pytest.raises(RecordError, match="must not change"):
        files[0].fd()
    del files
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("change", ["longer", "shorter", "touched"])
def test_a_change_is_an_error_in_every_process(tmp_path: Path, change: str) -> None:
    file = written(tmp_path / "a")
    sent = pickle.dumps(file)
    if change == "touched":
        os.utime(tmp_path / "a", ns=(0, 1))
    else:
        os.truncate(tmp_path / "a", {"longer": 4, "shorter": 2}[change])
    for each in (file, pickle.loads(sent)):
        with pytest.raises(RecordError, match=r"a: file must not change while it is in use. Start again."):
            each.fd()


def test_a_file_that_was_made_from_another_names_that(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    file = SteadyFile(tmp_path / "a", tmp_path / "a.gz")
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(RecordError, match=r"a.gz: file must not change"):
        file.fd()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("nowhere", "exist"), ("", "be a .* not a folder"), ("pipe", "be a .* not a pipe or device")):
        with pytest.raises(RecordError, match=f"file must {message}"):
            SteadyFile(tmp_path / name)


def not_again() -> int:
    raise AssertionError("it is kept")


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 25))
def test_the_last_used_are_kept_within_the_bound(keys: list[int], bound: int) -> None:
    """Things are their keys and cost as much; a list is the model."""
    closed: list[int] = []
    recent: Recent[int] = Recent(bound, cost=int, close=closed.append)
    model: list[int] = []
    for key in keys:
        assert recent.get(key, lambda key=key: key) == key
        model = [each for each in model if each != key] + [key]
        while sum(model) > bound and len(model) > 1:
            del model[0]
        assert len(recent) == len(model)
        for each in model:
            assert recent.get(each, not_again) == each
    for key in model:
        recent.drop(key)
        recent.drop(key)
    assert len(recent) == 0
    assert closed[len(closed) - len(model) :] == model
