"""A device without enough memory: which row it was, and what to lower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dcap.core.errors import TrainingError
from dcap.core.words import counted, first_line
from dcap.data.collate import Batch
from dcap.model.lora import bare_model

NAMES_SHOWN = 8
"""Samples that a message names."""


@contextmanager
def memory_named(model: Any, batches: Sequence[Batch], what: str) -> Iterator[None]:
    """Turn torch's error about memory into one with the row and a way out.

    Args:
        model: What runs, bare or with adapters.
        batches: What it runs on.
        what: What runs, such as ``step 7``, for the message.

    Raises:
        TrainingError: The device has too little memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = first_line(error).rstrip(".")
        raise TrainingError(f"{what}: {_row(batches)}, not less ({reason}). {_way_out(model, batches)}") from None


def _row(batches: Sequence[Batch]) -> str:
    tokens, patches = _sizes(batches)
    names = [sample.sample_id for batch in batches for sample in batch["samples"]]
    more = f" and {counted(len(names) - NAMES_SHOWN, 'more sample')}" if len(names) > NAMES_SHOWN else ""
    return (
        f"memory of the device must hold {counted(tokens, 'token')} and {patches} image "
        f"{'patch' if patches == 1 else 'patches'} of {', '.join(names[:NAMES_SHOWN])}{more}"
    )


def _sizes(batches: Sequence[Batch]) -> tuple[int, int]:
    tokens = sum(batch["input_ids"].numel() for batch in batches)
    return tokens, sum(len(batch["pixel_values"]) for batch in batches if "pixel_values" in batch)


def _way_out(model: Any, batches: Sequence[Batch]) -> str:
    """Return what to change; what makes most of the row comes first."""
    tokens, patches = _sizes(batches)
    packed = any("cu_seqlens" in batch for batch in batches)
    fields = ["data.global_max_length" if packed else "training.per_device_batch_size", "data.answer.max_pixels"]
    if patches > 2 * tokens:  # four patches are a token, so more than half of the tokens are images
        fields.reverse()
    lower = f"ower {' or '.join(fields)}; dcap inspect estimates the memory"
    recomputes = bare_model(model).is_activation_checkpointing
    return f"L{lower}" if recomputes else f"Set training.activation_checkpointing=true, or l{lower}"
