"""Worker processes: the items of a data set in order, made by others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset

from dcap.core.errors import DcapError, WorkerError

T = TypeVar("T")

_END: Any = object()


def from_workers(items: Dataset[T | DcapError], num_workers: int, pin_memory: bool = False) -> Iterator[T]:
    """Yield all items of a data set in order.

    Args:
        items: A map-style data set; it returns errors as values, so that their messages arrive unwrapped.
        num_workers: Processes that make them; 0 makes them here.
        pin_memory: Whether they go through page-locked memory; for CUDA.

    Raises:
        DcapError: What an item is.
        WorkerError: A worker process died.
    """
    if num_workers:
        # A forked worker inherits OpenCV's thread pool without its threads and waits for them for ever; with the pool
        # gone, workers run one thread each, which is what they should do.
        cv2.setNumThreads(0)
    loader = DataLoader(
        items,
        batch_size=None,
        collate_fn=_as_is,
        num_workers=num_workers,
        worker_init_fn=start_worker,
        pin_memory=pin_memory,
    )
    made = iter(loader)
    try:
        while True:
            with deaths_explained():
                item = next(made, _END)
            if item is _END:
                return
            if isinstance(item, DcapError):
                raise item
            yield item
    finally:
        # This ends the workers. A raised item holds this frame, which holds them: without it they would live on, and
        # as they ignore SIGTERM, Python would wait for them at its exit for ever.
        del made


@contextmanager
def deaths_explained() -> Iterator[None]:
    """Turn torch's error about a worker process that died into ours.

    Torch raises it from a signal handler, wherever this process happens to be: in a training step as well as here.

    Raises:
        WorkerError: A worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, DcapError) or "DataLoader worker" not in str(error):
            raise
        raise WorkerError(
            f"a loader process died ({str(error).strip()}). Most often memory ran out: lower data.num_workers."
        ) from error


def start_worker(_: int) -> None:
    """Set up a worker process: one thread, and deaf to SIGTERM."""
    # A worker that is not forked, as by default from Python 3.14 on, begins with a thread pool of its own.
    cv2.setNumThreads(0)
    # Launchers signal the whole process group; the trainer still needs its rows to finish the step and save.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _as_is(item: Any) -> Any:
    return item
