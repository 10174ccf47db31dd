from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import cv2
import pytest
from torch.utils.data import Dataset

from dcap.core.errors import DcapError, RecordError, WorkerError
from dcap.data.workers import deaths_explained, from_workers, start_worker


class Squares(Dataset[tuple[int, int] | DcapError]):
    """Squares with the process that made them; some items may be errors or end their process."""

    def __init__(self, wrong: int = -1, deadly: int = -1) -> None:
        self.wrong, self.deadly = wrong, deadly

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> tuple[int, int] | DcapError:
        if i == self.deadly:
            os._exit(9)
        if i == self.wrong:
            return RecordError("r.jsonl:3: it is wrong")
        if i == len(self):
            raise IndexError(i)
        return i * i, os.getpid()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_come_in_order(num_workers: int) -> None:
    made = list(from_workers(Squares(), num_workers))
    assert [square for square, _ in made] == [0, 1, 4, 9, 16, 25]
    assert len({process for _, process in made} - {os.getpid()}) == num_workers


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_arrives_as_it_was_and_no_worker_stays(num_workers: int) -> None:
    seen = []
    with pytest.raises(RecordError, match=r"^r\.jsonl:3: it is wrong$") as caught:
        seen += list(from_workers(Squares(wrong=3), num_workers))
    assert caught.tb is not None
    assert multiprocessing.active_children() == []


def test_a_dead_worker_is_a_clear_error() -> None:
    with pytest.raises(WorkerError, match=r"a loader process died .*lower data\.num_workers"):
        list(from_workers(Squares(deadly=2), 1))


def kill_a_worker() -> None:
    worker = multiprocessing.active_children()[0]
    os.kill(worker.pid or 0, signal.SIGKILL)
    threading.Event().wait(30)  # until torch's signal handler ends it by its error


def test_a_death_is_explained_wherever_torch_tells_of_it() -> None:
    items = from_workers(Squares(), 1)
    assert next(items)[0] == 0
    with pytest.raises(WorkerError, match="a loader process died"), deaths_explained():
        kill_a_worker()


@pytest.mark.parametrize("error", [RuntimeError("other"), WorkerError("a loader process died (DataLoader worker 1)")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, deaths_explained():
        raise error
    assert caught.value is error


def test_a_worker_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        start_worker(0)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
