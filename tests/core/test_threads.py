"""Threads that wait for others: results in order, errors in their place, and no more begun than the window holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest

from dcap.core.errors import RecordError, WorkerError
from dcap.core.threads import map_in_threads


@pytest.mark.parametrize("threads", [0, 1, 2, 8])
@pytest.mark.parametrize("number", [0, 1, 7, 50])
def test_results_come_in_order(threads: int, number: int) -> None:
    assert list(map_in_threads(lambda i: i * i, range(number), threads)) == [i * i for i in range(number)]


def test_calls_run_at_the_same_time() -> None:
    barrier = threading.Barrier(8)

    def wait_for_the_others(i: int) -> int:
        barrier.wait(30)
        return i

    assert list(map_in_threads(wait_for_the_others, range(16), 8)) == list(range(16))


def test_one_slow_item_does_not_stop_the_others() -> None:
    gate, seen = threading.Event(), []

    def slow_first(i: int) -> int:
        if i == 0:
            gate.wait(30)
        seen.append(i)
        if len(seen) == 7:
            gate.set()
        return i

    assert list(map_in_threads(slow_first, range(8), 2)) == list(range(8))
    assert seen[-1] == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_arrives_after_the_results_before_it(threads: int) -> None:
    def fail_at_five(i: int) -> int:
        if i == 5:
            raise RecordError("no")
        return i

    made = map_in_threads(fail_at_five, range(20), threads)
    assert list(islice(made, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(RecordError, match=r"^no$"):
        next(made)


def test_a_bug_in_a_thread_is_told_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    before, told = set(threading.enumerate()), []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with pytest.raises(WorkerError, match="a thread failed"):
        list(map_in_threads(lambda i: 1 // i, range(3), 2))
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert [each.exc_type for each in told] == [ZeroDivisionError]


def test_items_are_read_a_few_ahead_by_the_calling_thread() -> None:
    readers = set()

    def endless() -> Iterator[int]:
        for i in count():
            readers.add(threading.current_thread())
            yield i

    items = endless()
    made = map_in_threads(lambda i: i, items, 2)
    assert next(made) == 0
    made.close()
    assert next(items) <= 10
    assert readers == {threading.main_thread()}


def test_a_generator_that_is_closed_begins_nothing_more() -> None:
    before, gate, begun = set(threading.enumerate()), threading.Event(), []

    def wait(i: int) -> int:
        begun.append(i)
        if i:
            gate.wait(30)
        return i

    made = map_in_threads(wait, range(100), 2)
    assert next(made) == 0
    made.close()
    gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert sorted(begun) in ([0, 1], [0, 1, 2])
