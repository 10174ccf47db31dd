"""Work that processes share: the results of a function over many items, in order.

Owns the worker processes that read and plan records. Each worker has its own pipe and makes every n-th item, so results
come in order by construction. The size of a pipe bounds how far a worker runs ahead. The end of a pipe shows that its
worker died. `concurrent.futures` promises less: it hangs if a process is killed while it sends a result, and its idle
processes outlive a killed parent.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from dcap.core.cpus import usable_cores
from dcap.core.errors import DcapError, WorkerError

S = TypeVar("S")
T = TypeVar("T")

_MOST_WORKERS = 8
_LAST_BREATH_S = 10.0


def default_workers() -> int:
    """Return how many worker processes a command starts by default: one per usable core, at most 8."""
    return min(usable_cores(), _MOST_WORKERS)


def map_in_order(function: Callable[[S], T], items: Sequence[S], num_workers: int) -> Generator[T, None, None]:
    """Yield ``function(item)`` for each item, in order; worker processes share the work where there is enough.

    Each worker gets the function and the items once. When the generator ends, is closed or fails, its workers end too.

    Args:
        function: A pure function of a module, or a `functools.partial` of one. Results travel between processes.
        items: Arguments, one per call; each is work for some milliseconds.
        num_workers: Number of processes. 0 calls the function in this process; so does any number in a process that
            may not start others, such as a worker of a `torch.utils.data.DataLoader`.

    Raises:
        DcapError: What the function raised for an item, once the results before it were yielded.
        WorkerError: A worker process died.
    """
    # Processes take a moment to start, which a few items are not worth.
    if len(items) <= 2 * num_workers or not num_workers or multiprocessing.current_process().daemon:
        yield from map(function, items)
        return
    workers = _Workers()
    try:
        workers.start(function, items, num_workers)
        for i in range(len(items)):
            result, error = workers.receive(i)
            if error is not None:
                raise error
            yield result
    finally:
        workers.end()


class _Workers:
    """Processes that make the items of one call, and the pipes that their results come through."""

    def __init__(self) -> None:
        self.processes: list[BaseProcess] = []
        self.results: list[Connection[Any, Any]] = []

    def start(self, function: Callable[[S], T], items: Sequence[S], number: int) -> None:
        _stop_threads_of_opencv()
        # Python waits at its exit for its children. A generator that an uncaught error still holds must not stop it.
        atexit.register(self.end)
        for first in range(number):
            reader, writer = multiprocessing.Pipe(duplex=False)
            self.results.append(reader)
            process = multiprocessing.Process(target=_work, args=(writer, function, items, first, number), daemon=True)
            process.start()
            self.processes.append(process)
            # Only the worker holds this end now, so that its death ends the pipe.
            writer.close()

    def receive(self, i: int) -> tuple[Any, DcapError | None]:
        """Return the result of item `i`, or its error.

        Raises:
            WorkerError: The worker died.
        """
        number = len(self.processes)
        try:
            outcome: tuple[Any, DcapError | None] = self.results[i % number].recv()
        except (EOFError, OSError) as error:
            raise WorkerError(f"a worker process died {_how_it_ended(self.processes[i % number])}") from error
        return outcome

    def end(self) -> None:
        for process in self.processes:
            process.kill()  # it ignores gentler signals, and has nothing to lose
        for process in self.processes:
            process.join()
        for reader in self.results:
            reader.close()
        atexit.unregister(self.end)


def _how_it_ended(process: BaseProcess) -> str:
    process.join(_LAST_BREATH_S)
    code = process.exitcode
    if code is not None and code > 0:  # an error that nobody expected; Python has printed it
        return f"(exit code {code}). The error that ended it is printed above."
    how = f"signal {signal.Signals(-code).name}" if code else f"exit code {code}"
    return f"({how}). Most often memory ran out: use fewer workers (--workers or data.num_workers)."


def _work(results: Connection[Any, Any], function: Callable[[S], T], items: Sequence[S], first: int, step: int) -> None:
    """Send the result, or the error, of every item of a worker."""
    # A terminal and a launcher signal all processes. This one ends when its parent has decided to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A process that is not forked begins with a pool of threads of its own; so does one that imports OpenCV only now.
    _stop_threads_of_opencv()
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
    for i in range(first, len(items), step):
        try:
            result = function(items[i])
        except DcapError as error:
            results.send((None, error))
            return
        results.send((result, None))


def _stop_threads_of_opencv() -> None:
    """Let OpenCV work in the thread that calls it, if this process has loaded it; this module does without it.

    A forked worker inherits OpenCV's pool without its threads, and would wait for them for ever.
    """
    opencv = sys.modules.get("cv2")
    if opencv is not None:
        opencv.setNumThreads(0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
