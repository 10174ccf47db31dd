"""How many threads torch uses for a model on the CPU.

The threads of an operation wait for each other at its end, and each of them may wait for its core too. A small layer is
done before that pays; with other work on the same two cores, two threads take many times as long as one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from dcap.core.cpus import usable_cores
from dcap.core.errors import DcapError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.demo.models import resolve_model

log = get_logger(__name__)

SMALL_HIDDEN_SIZE = 512
"""Width of a language model up to which one thread is used."""
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cpu_threads(hidden_size: int | None) -> int:
    """Return the number of threads for a model; the same on the same machine, so that a run resumes to the same bits.

    What ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` say counts. Without them, a small model gets one thread, and another
    one those that torch would take, but no more than there are usable cores.

    Args:
        hidden_size: Width of the language model. `None`: not known, and taken for large.
    """
    if any(os.environ.get(name) for name in _VARIABLES):
        return torch.get_num_threads()
    small = hidden_size is not None and hidden_size <= SMALL_HIDDEN_SIZE
    return 1 if small else min(torch.get_num_threads(), usable_cores())


def set_cpu_threads(model: str, device: str | None = None) -> None:
    """Let torch use `cpu_threads` where a model runs on the CPU.

    It is for commands. Python code that wants another number than torch's own calls ``torch.set_num_threads``.

    Args:
        model: Hub id, folder or built-in model. A model that cannot be found is for its loading to complain about.
        device: Where the model goes. `None`: CUDA if there is one, else the CPU.
    """
    if device == "cpu" or (device is None and not torch.cuda.is_available()):
        torch.set_num_threads(cpu_threads(_hidden_size(model)))


def log_cpu_threads(device: torch.device) -> None:
    """Log how many threads a model has, if `device` is the CPU."""
    if device.type == "cpu":
        log.info("CPU: %s; OMP_NUM_THREADS changes it", counted(torch.get_num_threads(), "thread"))


def _hidden_size(model: str) -> int | None:
    try:
        config = Path(resolve_model(model)) / "config.json"
        return int(json.loads(config.read_text("utf-8"))["text_config"]["hidden_size"])
    except (DcapError, OSError, ValueError, KeyError, TypeError):  # of the hub, or broken
        return None
