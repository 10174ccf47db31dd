"""A process of a run that ends before its time ends the others, soon and with the reason."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcap.core.errors import ConfigError, DcapError, TrainingError
from dcap.train import ranks
from dcap.train.ranks import watched
from support.forks import Forks
from support.ports import free_port

Body = Callable[[threading.Event], None]


PATIENCE_S = 60.0
"""What no test waits for, if all is well."""


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[BaseException | None]]:
    """Run a body per rank, each in a thread of its own, and return what each raised."""
    # Threads of a loaded machine may rest for seconds.
    for name in ("GRACE_S", "CONNECT_S", "_WORD_S", "_NOTICE_S"):
        monkeypatch.setattr(ranks, name, PATIENCE_S)

    def run(*bodies: Body) -> list[BaseException | None]:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(len(bodies)))
        places: list[queue.Queue[Any]] = [queue.Queue() for _ in bodies]
        mine, raised = threading.local(), list[BaseException | None]([None] * len(bodies))

        def broadcast(found: list[Any]) -> None:
            if mine.rank == 0:
                for place in places[1:]:
                    place.put(list(found))
            else:
                found[:] = places[mine.rank].get(timeout=PATIENCE_S)

        monkeypatch.setattr(ranks, "broadcast_object_list", broadcast)
        over = threading.Event()

        def rank(number: int, body: Body) -> None:
            mine.rank = number
            accelerator: Any = SimpleNamespace(
                num_processes=len(bodies),
                process_index=number,
                is_main_process=number == 0,
                end_training=lambda: None,
            )
            try:
                with watched(accelerator):
                    body(over)
            except (DcapError, RuntimeError) as error:
                raised[number] = error

        threads = [threading.Thread(target=rank, args=item, name=f"rank {item[0]}") for item in enumerate(bodies)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        over.set()
        return raised

    return run


def ends_with(error: BaseException) -> Body:
    def body(_: threading.Event) -> None:
        raise error

    return body


def fails_as_a_collective(_: threading.Event) -> None:
    threading.Event().wait(0.2)
    raise RuntimeError("[../third_party/gloo/...] Connection closed by peer [127.0.0.1]:1234")


def goes_on(_: threading.Event) -> None:
    pass


def test_ranks_that_end_as_they_should_disturb_nobody(together: Any) -> None:
    assert together(goes_on, goes_on, goes_on) == [None] * 3


@pytest.mark.parametrize("who", [0, 1])
def test_the_error_of_one_rank_is_the_reason_of_the_others(together: Any, who: int) -> None:
    bodies: list[Body] = [fails_as_a_collective] * 3
    bodies[who] = ends_with(ConfigError("data.train: a.jsonl:3: image must be whole"))
    raised = together(*bodies)
    for number, error in enumerate(raised):
        assert isinstance(error, ConfigError if number == who else TrainingError)
        assert str(error).endswith("data.train: a.jsonl:3: image must be whole")
        if number != who:
            assert str(error).startswith(f"rank {who}")


def test_a_rank_that_connects_after_the_error_of_another_one_learns_of_it_too(
    together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, lost = socket.create_connection, ranks._Watch._lose
    is_known = threading.Event()

    def late(*args: Any, **options: Any) -> socket.socket:
        if threading.current_thread().name == "rank 2":
            assert is_known.wait(PATIENCE_S)
        return connect(*args, **options)

    def lose(watch: ranks._Watch, reason: str) -> None:
        lost(watch, reason)
        is_known.set()

    monkeypatch.setattr(socket, "create_connection", late)
    monkeypatch.setattr(ranks._Watch, "_lose", lose)
    raised = together(fails_as_a_collective, ends_with(ConfigError("image must be whole")), fails_as_a_collective)
    assert isinstance(raised[2], TrainingError)
    assert str(raised[2]).endswith("image must be whole")


def test_an_error_of_a_collective_that_has_no_such_reason_stays_what_it_is(
    together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "_NOTICE_S", 0.3)
    raised = together(fails_as_a_collective, lambda _: threading.Event().wait(1.0))
    assert str(raised[0]).startswith("[../third_party/gloo")


def test_a_rank_that_waits_for_ever_is_ended_with_the_reason(
    together: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: queue.Queue[int] = queue.Queue()
    monkeypatch.setattr(ranks, "GRACE_S", 0.05)
    monkeypatch.setattr(os, "_exit", ended.put)
    codes: list[int] = []
    together(
        lambda _: codes.append(ended.get(timeout=PATIENCE_S)), ends_with(TrainingError("step 4: loss must be finite"))
    )
    assert codes == [1]
    assert "ended with an error: step 4: loss must be finite" in capsys.readouterr().err


def test_strangers_at_the_port_are_sent_away(together: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, answers = socket.create_connection, []

    def after_a_stranger(address: tuple[str, int], timeout: float) -> socket.socket:
        with connect(address, timeout=timeout) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n")
            answers.append(stranger.recv(1))
        return connect(address, timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", after_a_stranger)
    assert together(goes_on, goes_on) == [None, None]
    assert answers == [b""]


def test_a_stranger_that_says_nothing_does_not_take_the_time_of_the_ranks(
    together: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect, answers, patience = socket.create_connection, [], ranks._WORD_S
    monkeypatch.setattr(ranks, "_WORD_S", 0.1)

    def after_a_stranger(address: tuple[str, int], timeout: float) -> socket.socket:
        with connect(address, timeout=timeout / 2) as stranger:
            answers.append(stranger.recv(1))  # it is sent away, long before the ranks give up
        monkeypatch.setattr(ranks, "_WORD_S", patience)
        return connect(address, timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", after_a_stranger)
    assert together(goes_on, goes_on) == [None, None]
    assert answers == [b""]
    assert "cannot be reached" not in caplog.text


SCRIPT = """
import os, signal, sys
from accelerate import Accelerator
from dcap.core.errors import DcapError
from dcap.core.log import print_error
from dcap.train.ranks import on_first_rank, watched

accelerator = Accelerator(cpu=True)
try:
    with watched(accelerator):
        accelerator.wait_for_everyone()
        if accelerator.process_index == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        on_first_rank(accelerator, lambda: None)
        accelerator.wait_for_everyone()
except DcapError as error:
    print_error(error)
    os._exit(1)
"""


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_ends_the_other_one_soon(killed: int, forks: Forks, tmp_path: Path) -> None:
    env = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        forks.start(SCRIPT, str(killed), folder=tmp_path, RANK=rank, LOCAL_RANK=rank, **env) for rank in ("0", "1")
    ]
    done = [rank.wait() for rank in started]
    assert [rank.returncode for rank in done] == [-signal.SIGKILL if r == killed else 1 for r in (0, 1)]
    last = done[1 - killed].stderr.splitlines()[-1]
    assert f"rank {killed}" in last
    assert "ended without a word: it was killed, or its machine is gone. The same command resumes" in last
