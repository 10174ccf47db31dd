"""Threads that wait for others, such as for a server: the results of a function over many items, in order.

Work of this machine's own cores is shared by processes; see `dcap.core.parallel`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

from dcap.core.errors import DcapError, WorkerError

S = TypeVar("S")
T = TypeVar("T")

_AHEAD = 4
"""Items per thread that are begun before the oldest is done, so that one slow item does not stop the others."""


def map_in_threads(function: Callable[[S], T], items: Iterable[S], num_threads: int) -> Generator[T, None, None]:
    """Yield ``function(item)`` for each item, in order; threads make them.

    A thread takes the next item as soon as it is done with one. When the generator ends, is closed or fails, no
    further item is begun. A call that is under way then ends by itself, and does not keep the process alive.

    Args:
        function: Called by several threads at once.
        items: Read by the calling thread, a few items ahead.
        num_threads: Number of threads; 1 calls the function in this thread.

    Raises:
        DcapError: What the function raised for an item, once the results before it were yielded.
        WorkerError: The function raised something else, which Python has printed.
    """
    if num_threads <= 1:
        yield from map(function, items)
        return
    todo: SimpleQueue[tuple[S, Future[T]] | None] = SimpleQueue()
    for _ in range(num_threads):
        threading.Thread(target=_work, args=(function, todo), daemon=True).start()
    begun: deque[Future[T]] = deque()
    try:
        for item in items:
            begun.append(Future())
            todo.put((item, begun[-1]))
            if len(begun) == _AHEAD * num_threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        _drop(todo)
        for _ in range(num_threads):
            todo.put(None)


def _work(function: Callable[[S], T], todo: SimpleQueue[tuple[S, Future[T]] | None]) -> None:
    while (job := todo.get()) is not None:
        item, result = job
        try:
            result.set_result(function(item))
        except DcapError as error:
            result.set_exception(error)
        finally:
            if not result.done():
                result.set_exception(WorkerError("a thread failed. The error that ended it stands above."))


def _drop(todo: SimpleQueue[tuple[S, Future[T]] | None]) -> None:
    try:
        while True:
            todo.get_nowait()
    except Empty:
        pass
