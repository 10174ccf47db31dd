"""What a worker of a data loader does, as functions that another process can import."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import torch

from augment_rivals import Dcap
from dcap.geometry import ShapeArray

_NOISE = bytes(range(256)) * 4096
_ready: list[Dcap] = []


def start(path: Path, shapes: ShapeArray) -> None:
    """Prepare this process for `samples` of one photo, on one thread."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _ready[:] = [Dcap(path, shapes)]


def samples(first: int) -> int:
    """Make 6 samples and return how many patches they have."""
    return sum(len(_ready[0].sample(seed)[0]) for seed in range(first, first + 6))


def checksum(seed: int) -> int:
    """Work about as long on what one core has to itself."""
    for _ in range(100):
        seed = zlib.crc32(_NOISE, seed)
    return seed
