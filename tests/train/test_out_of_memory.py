from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dcap.core.errors import TrainingError
from dcap.model.lora import enable_activation_checkpointing
from dcap.train.step import Learner, optimizer_step, validate
from support.batches import fake_sample, packed, padded

SAID = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"


def fails_at(learner: Learner, number: int) -> None:
    """Let the model run out of memory in its forward pass `number`, from 1."""
    calls: list[int] = []

    def hook(*_: Any) -> None:
        calls.append(1)
        if len(calls) == number:
            raise torch.OutOfMemoryError(SAID)

    learner.bare_module.register_forward_pre_hook(hook)


def test_the_row_and_what_to_lower_are_named(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    fails_at(learner, 2)
    rows = [packed([fake_sample(1)]), packed([fake_sample(2, images=((8, 8),)), fake_sample(3, images=())])]
    with pytest.raises(TrainingError) as caught:
        optimizer_step(learner, rows, step=7, lr_factor=1.0)
    tokens = rows[1]["input_ids"].numel()
    assert str(caught.value) == (
        f"step 7: memory of the device must hold {tokens} tokens and 64 image patches of fake.jsonl:2, fake.jsonl:3, "
        f"not less ({SAID}). Set training.activation_checkpointing=true, or lower data.global_max_length or "
        "data.answer.max_pixels; dcap inspect estimates the memory"
    )
    assert not learner.optimizer.state, "the update was not made"


def test_the_way_out_follows_the_run(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    enable_activation_checkpointing(learner.bare_module.model)
    fails_at(learner, 1)
    images = [replace(fake_sample(k, images=((16, 16),), answer=1), name=f"a.jsonl:{k}") for k in range(10)]
    with pytest.raises(TrainingError) as caught:
        validate(learner, [padded(images)])
    assert str(caught.value).startswith("validation: memory of the device must hold ")
    assert "of a.jsonl:0, a.jsonl:1" in str(caught.value)
    assert "a.jsonl:7 and 2 more samples, not less" in str(caught.value)
    assert "). Lower data.answer.max_pixels or training.per_device_batch_size;" in str(caught.value)


def test_moments_need_memory_too(make_learner: Callable[..., Learner], monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError(SAID)

    monkeypatch.setattr(learner.optimizer, "step", full)
    with pytest.raises(TrainingError, match=r"^step 1, update: memory of the device must hold"):
        optimizer_step(learner, [packed([fake_sample(1)])], step=1, lr_factor=1.0)
