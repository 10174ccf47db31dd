"""The teacher of a distillation term: the model itself with its adapters switched off, or another model.

Switching off sets flags and nothing else. PEFT's own ``disable_adapter`` also sets which parameters train, and where
modules overlap, more of them train afterwards. With the flags the model is the base to the bit, under DDP, FSDP and
activation checkpointing too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dcap.model.lora import bare_model
from dcap.model.towers import tower_of
from dcap.train.chunked_loss import Reference
from dcap.train.distill_config import DistillConfig


class Teacher:
    """What the student was before it was tuned, or another model.

    Args:
        student: From `dcap.model.lora.attach`.
        config: How the two are compared.
        dtype: Precision of the forward pass, as the student's.
        elsewhere: The other model. `None`: the student with its adapters off.

    Attributes:
        model: The bare model; inside `switched_on` it speaks as the teacher.
        vision: Which visual features are compared. `None`: none.
        shares_vision: Whether the vision side of both is the same, as nothing of it trains.
    """

    def __init__(self, student: Any, config: DistillConfig, dtype: torch.dtype, elsewhere: Any = None) -> None:
        self.model = bare_model(student) if elsewhere is None else elsewhere.requires_grad_(False).eval()
        trained = (name for name, p in student.named_parameters() if p.requires_grad)
        self.shares_vision = elsewhere is None and all(tower_of(name) == "llm" for name in trained)
        self.vision = config.vision
        self._config, self._dtype = config, dtype
        self._switches = _switches(self.model)
        self._head_switches = _switches(self.model.lm_head)
        self._watch = _Stopwatch()

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Let `model` speak as the teacher inside the block: no adapter, no dropout, no gradient."""
        was_training = self.model.training
        self.model.eval()
        device = next(self.model.parameters()).device
        try:
            with self._watch.running(device), self._quiet(self._switches, device):
                yield
        finally:
            self.model.train(was_training)

    def compared_at(self, hidden: torch.Tensor, weights: torch.Tensor) -> Reference:
        """Return what a student is compared with.

        Args:
            hidden: (n, H), of the teacher.
            weights: float32 (n,), of each position.
        """
        config = self._config
        return Reference(self._logits, hidden, weights, config.divergence, config.beta, config.temperature)

    def take_seconds(self) -> float:
        """Return how long the teacher's forward passes took since the last call; on a GPU this waits for them."""
        return self._watch.take()

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        with self._quiet(self._head_switches, hidden.device):
            logits: torch.Tensor = self.model.lm_head(hidden)
        return logits

    @contextmanager
    def _quiet(self, switches: Sequence[Any], device: torch.device) -> Iterator[None]:
        for each in switches:
            each._disable_adapters = True
        half = self._dtype != torch.float32
        try:
            # A copy in half precision that is made here has no gradient, and must not be there for the student.
            with torch.no_grad(), torch.autocast(device.type, dtype=self._dtype, enabled=half, cache_enabled=False):
                yield
        finally:
            for each in switches:
                each._disable_adapters = False


def _switches(model: Any) -> tuple[Any, ...]:
    """Return the modules of PEFT that have an adapter, or a copy that is trained in full."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return tuple(each for each in model.modules() if isinstance(each, BaseTunerLayer | AuxiliaryTrainingWrapper))


class _Stopwatch:
    """Adds up the time of some work, which a GPU may still be doing when the block is left."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._events: list[tuple[Any, Any]] = []

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        start = time.perf_counter()
        event: Any = torch.cuda.Event
        events = [event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        if events:
            events[0].record()
        yield
        if events:
            events[1].record()
            self._events.append((events[0], events[1]))
        else:
            self._seconds += time.perf_counter() - start

    def take(self) -> float:
        for start, end in self._events:
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1000
        seconds, self._seconds = self._seconds, 0.0
        self._events.clear()
        return seconds
