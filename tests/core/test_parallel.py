"""Work that processes share: results in order, errors as they were, and no process that stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from dcap.core.errors import RecordError, WorkerError
from dcap.core.parallel import default_workers, map_in_order
from support import parallel_cases as cases

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def method(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every way in which Python starts a process, as this process's default."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize(("number", "workers", "makers"), [(30, 0, 0), (4, 2, 0), (30, 2, 2), (7, 3, 3)])
def test_results_come_in_order(number: int, workers: int, makers: int) -> None:
    made = list(map_in_order(cases.square, range(number), workers))
    assert [value for value, _ in made] == [i * i for i in range(number)]
    assert len({process for _, process in made} - {os.getpid()}) == makers


def test_slow_items_do_not_change_the_order(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    made = list(map_in_order(partial(cases.uneven, tmp_path / "gate"), range(20), 2))
    assert [value for value, _ in made] == [i * i for i in range(20)]


def test_every_start_method_gives_the_function_to_each_worker_once(method: str, tmp_path: Path) -> None:
    made = list(map_in_order(partial(cases.square_with, cases.Data(tmp_path)), range(30), 2))
    assert [value for value, _ in made] == [i * i for i in range(30)]
    assert len(list(tmp_path.iterdir())) == (0 if method == "fork" else 2)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_arrives_as_it_was_after_the_results_before_it(workers: int) -> None:
    made = map_in_order(cases.square, range(80, 100), workers)
    assert [value for value, _ in islice(made, 10)] == [i * i for i in range(80, 90)]
    with pytest.raises(RecordError, match=r"^a\.jsonl:90: no$"):
        next(made)
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_a_clear_error(method: str) -> None:
    made = map_in_order(cases.deadly, range(30), 2)
    assert [value for value, _ in islice(made, 5)] == [0, 1, 4, 9, 16]
    with pytest.raises(WorkerError, match=r"a worker process died \(signal SIGKILL\)\. .* use fewer workers"):
        next(made)
    assert multiprocessing.active_children() == []


def test_a_worker_killed_while_it_sends_is_a_clear_error(tmp_path: Path) -> None:
    made = map_in_order(partial(cases.large, tmp_path), range(30), 2)
    next(made)
    wait_for(lambda: (tmp_path / "2").exists())
    for worker in multiprocessing.active_children():
        worker.kill()
    with pytest.raises(WorkerError, match="signal SIGKILL"):
        list(made)


def test_a_bug_in_a_worker_is_told_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    message = r"^a worker process died \(exit code 1\)\. The error that ended it is printed above\.$"
    with pytest.raises(WorkerError, match=message):
        list(map_in_order(cases.faulty, range(30), 2))
    assert "KeyError: 'a bug'" in capfd.readouterr().err


def test_a_process_that_may_not_start_others_does_the_work_itself() -> None:
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=cases.map_and_send, args=(writer, 2), daemon=True)
    process.start()
    writer.close()
    made = reader.recv()
    process.join()
    assert [(value, maker) for value, maker in made] == [(i * i, process.pid) for i in range(30)]


def test_workers_run_ahead_only_as_far_as_their_pipes_hold(tmp_path: Path) -> None:
    made = map_in_order(partial(cases.large, tmp_path), range(1000), 2)
    next(made)
    wait_for(lambda: (tmp_path / "2").exists())
    workers = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
    wait_for(lambda: all(worker.status() == psutil.STATUS_SLEEPING for worker in workers))
    assert len(list(tmp_path.iterdir())) <= 4
    made.close()


def test_a_generator_that_is_closed_ends_its_workers(method: str) -> None:
    made = map_in_order(cases.square, range(30), 2)
    process = next(made).process
    assert psutil.pid_exists(process)
    made.close()
    assert not psutil.pid_exists(process)
    assert multiprocessing.active_children() == []


HELD = """
import signal
from dcap.core.parallel import map_in_order
from support.parallel_cases import harmless
made = map_in_order(harmless, range(10**6), 2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell begins without it
print(next(made).process, flush=True)
{then}
"""


def program(then: str) -> subprocess.Popen[str]:
    """Start a program in a session of its own that has begun to map, and does something then."""
    return subprocess.Popen(
        [sys.executable, "-c", HELD.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        start_new_session=True,
    )


def test_an_uncaught_error_that_holds_the_generator_lets_the_program_end() -> None:
    run = program("raise KeyError(made)")
    out, err = run.communicate(timeout=240)
    assert run.returncode == 1
    assert err.count("Traceback") == 1
    assert not psutil.pid_exists(int(out))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(number: signal.Signals) -> None:
    with program("signal.pause()") as run:
        assert run.stdout
        worker = int(run.stdout.readline())
        run.send_signal(number)
        run.wait(240)
        wait_for(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)


def test_ctrl_c_ends_all_and_only_the_parent_says_so() -> None:
    run = program("list(made)")
    assert run.stdout
    worker = int(run.stdout.readline())
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=240)
    assert run.returncode == -signal.SIGINT
    assert err.count("KeyboardInterrupt") == 1
    assert not psutil.pid_exists(worker)


def test_a_worker_uses_opencv_though_its_parent_did() -> None:
    image = np.zeros((2000, 2000, 3), np.uint8)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        cv2.GaussianBlur(image, (9, 9), 3)
        sizes = list(map_in_order(partial(cases.blurred, image), range(10), 2))
    finally:
        cv2.setNumThreads(before)
    assert sizes == [1] * 10


LATE = """
import sys
from dcap.core.parallel import map_in_order

def threads(_):
    import cv2
    return cv2.getNumThreads()

print("cv2" in sys.modules, *map_in_order(threads, range(5), 2))
"""


def test_a_worker_that_imports_opencv_later_has_one_thread_too() -> None:
    run = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=240, check=True)
    assert run.stdout.split() == ["False", *["1"] * 5]


def test_a_command_takes_the_cores_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert default_workers() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert default_workers() == 1


def wait_for(event: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not event():
        assert time.monotonic() < end
        time.sleep(0.01)
