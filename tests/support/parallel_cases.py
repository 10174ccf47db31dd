"""Functions that worker processes of any start method can import."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dcap.core.errors import RecordError
from dcap.core.parallel import map_in_order


class Made(NamedTuple):
    value: int
    process: int


class Data:
    """Something large that a function holds; it notes in a folder how often it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__dict__.update(state)
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()


def harmless(i: int) -> Made:
    return Made(i * i, os.getpid())


def square(i: int) -> Made:
    if i == 90:
        raise RecordError("a.jsonl:90: no")
    return harmless(i)


def square_with(data: Data, i: int) -> Made:
    assert data.folder.is_dir()
    return square(i)


def uneven(gate: Path, i: int) -> Made:
    """Squares of 0 to 19. The first of two workers begins when the other has finished; `gate` is a named pipe."""
    if i == 0:
        gate.read_bytes()
    if i == 19:
        gate.write_bytes(b"")
    return square(i)


def large(folder: Path, i: int) -> bytes:
    """A result that no pipe holds."""
    (folder / str(i)).touch()
    return bytes(1 << 20)


def map_and_send(results: Connection[list[Made], None], num_workers: int) -> None:
    """Make 30 items from within a process, and send them."""
    results.send(list(map_in_order(square, range(30), num_workers)))


def deadly(i: int) -> Made:
    """A process that is killed in its third item."""
    if i == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(i)


def faulty(i: int) -> Made:
    if i == 5:
        raise KeyError("a bug")
    return square(i)


def blurred(image: npt.NDArray[np.uint8], _: int) -> int:
    """Number of threads with which OpenCV blurs an image."""
    cv2.GaussianBlur(image, (9, 9), 3)
    return cv2.getNumThreads()
