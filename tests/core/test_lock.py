"""One owner of a folder: refused while it lives, whatever kind of file system, and taken over when it does not."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dcap.core import lock
from dcap.core.errors import CheckpointError
from dcap.core.lock import FILE_NAME, Owner, owned

HOLD = """
import os, sys
from pathlib import Path
from dcap.core.lock import owned
with owned(Path(sys.argv[1]), "Wait."):
    child = os.fork() if sys.argv[2] == "fork" else 1
    if child:
        print(child, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, kind: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns the folder, and the process that it forked, if any."""
    command = [sys.executable, "-c", HOLD, str(folder), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if kind == "fork":
                os.kill(child, signal.SIGKILL)


def test_a_folder_has_one_owner_and_then_none(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        with (
            pytest.raises(
                CheckpointError, match=rf"one owner at a time, and process {process.pid} on .* owns it. Wait."
            ),
            owned(tmp_path, "Wait."),
        ):
            pass
        with pytest.raises(CheckpointError), owned(tmp_path, "Wait."):
            pass  # the look at the file did not free it
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert list(tmp_path.iterdir()) == []
    with owned(tmp_path, "Wait."):
        owner = json.loads((tmp_path / FILE_NAME).read_text())
        assert (owner["pid"], owner["start"] != "") == (os.getpid(), Path("/proc").is_dir())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["alone", "fork"])
def test_a_killed_owner_is_replaced_at_once_even_if_its_children_live(tmp_path: Path, kind: str) -> None:
    with holder(tmp_path, kind) as (process, _):
        process.kill()
        process.wait()
        with owned(tmp_path, "Wait."):
            assert json.loads((tmp_path / FILE_NAME).read_text())["pid"] == os.getpid()


def test_a_second_claim_of_this_process_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    attempt = (
        f"from dcap.core.lock import owned; from pathlib import Path\nwith owned(Path({str(tmp_path)!r}), ''): pass"
    )
    with owned(tmp_path, "Wait."):
        with pytest.raises(CheckpointError, match="this process owns it already"), owned(tmp_path / ".", "Wait."):
            pass
        done = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
        assert f"process {os.getpid()} on" in done.stderr


def left(folder: Path, **changes: Any) -> None:
    """Write the lock file that an owner left."""
    (folder / FILE_NAME).write_text(json.dumps(asdict(replace(Owner.this_process(), **changes))))


ELSEWHERE = {"host": "node7", "boot": "another"}


def test_an_owner_on_another_machine_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 0.2)
    left(tmp_path, **ELSEWHERE)
    with owned(tmp_path, "Wait."):
        pass
    left(tmp_path, **ELSEWHERE)
    touching = threading.Timer(0.05, lambda: os.utime(tmp_path / FILE_NAME))
    touching.start()
    with (
        pytest.raises(
            CheckpointError, match=r"on node7 since .* owns it\. Wait\. If that machine is gone .*, delete .*\.lock"
        ),
        owned(tmp_path, "Wait."),
    ):
        pass
    touching.join()


def test_an_owner_that_ends_while_it_is_watched_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 60.0)
    left(tmp_path, **ELSEWHERE)
    ending = threading.Timer(0.05, (tmp_path / FILE_NAME).unlink)
    ending.start()
    with owned(tmp_path, "Wait."):
        assert (tmp_path / FILE_NAME).is_file()
    ending.join()


def test_an_owner_touches_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with owned(tmp_path, "Wait."):
        os.utime(tmp_path / FILE_NAME, (1, 1))
        waited = threading.Event()
        for _ in range(6000):
            if (tmp_path / FILE_NAME).stat().st_mtime > 1:
                break
            waited.wait(0.01)
        assert (tmp_path / FILE_NAME).stat().st_mtime > 1


def no_locks(*_: Any) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("changes", "lives"),
    [({}, True), ({"start": "1"}, False), ({"pid": 2**22 + 5}, False)],
    ids=["alive", "number come again", "dead"],
)
def test_without_locks_the_number_and_the_start_of_the_process_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], lives: bool
) -> None:
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    left(tmp_path, **changes)
    claim: Callable[[], Any] = owned(tmp_path, "Wait.").__enter__
    if lives:
        with pytest.raises(CheckpointError, match=f"process {os.getpid()} on"):
            claim()
    else:
        with owned(tmp_path, "Wait."):
            assert json.loads((tmp_path / FILE_NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"host": 1}', '{"pid": "x"}'])
def test_a_torn_file_of_a_dead_owner_is_no_obstacle(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with owned(tmp_path, "Wait."):
        pass
