"""Time of a step with a distillation term, beside the step without it and beside a second model with full logits.

One packed row of photos-like samples, forward and backward, with activation checkpointing as in the recipes. The second
model is what others do: it is loaded beside the student, runs its vision tower again, and the logits of both are there
for every token of the row. First all must find the same distance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from dcap.demo.models import ModelSize, build_micro
from dcap.model.attention import attention_kwargs
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import attach, bare_model, enable_activation_checkpointing, trainable
from dcap.train.distill_config import DistillConfig, KindWeights
from dcap.train.loss import SupervisedLoss, model_inputs, next_token_targets
from dcap.train.teacher import Teacher
from dcap.train.token_weights import teacher_weights
from support.batches import fake_sample, packed
from timing import Floors, interleaved, missed

SIZE = ModelSize(hidden_size=256, num_layers=8, vision_hidden_size=128, head_dim=32, rope_theta=1e4)
CONFIG = DistillConfig(tokens=KindWeights(coordinate=1.0))
CPU = torch.device("cpu")
MOST = {"frozen": 1.5, "trained": 1.6}
"""What fails the benchmark: how many times as long a step with the term takes, by what the vision side does.

The aims are 1.30 and 1.35; a busy machine adds to both sides of a ratio.
"""


@cache
def folder() -> Path:
    return build_micro(Path(mkdtemp()) / "model", size=SIZE)


@cache
def student(vision: str) -> SupervisedLoss:
    """A student away from where its adapters begin."""
    torch.set_num_threads(1)
    frozen = vision == "frozen"
    config = ModelConfig(
        str(folder()), dtype="float32", adapter=AdapterConfig(rank=8), freeze_vit=frozen, freeze_aligner=frozen
    )
    torch.manual_seed(0)
    model = attach(load_model(config, CPU), config)
    enable_activation_checkpointing(model)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter += 0.02 * torch.randn_like(parameter)
    return SupervisedLoss(model, teacher=Teacher(model, CONFIG, torch.float32)).train()


@cache
def second_model() -> Any:
    return load_model(ModelConfig(str(folder()), dtype="float32"), CPU).requires_grad_(False)


@cache
def row() -> Any:
    return packed([fake_sample(seed, images=((16, 16),), prompt=40, answer=90) for seed in range(5)])


def backward(loss: torch.Tensor, module: SupervisedLoss) -> None:
    module.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]


def without(vision: str) -> None:
    """The step as it is without the term."""
    module = student(vision)
    backward(module(**model_inputs(row(), CPU)).loss_sum, module)


def with_term(vision: str) -> float:
    """The step with the term; returns the sum of divergences."""
    module, batch = student(vision), row()
    output = module(**model_inputs(batch, CPU), teacher_weights=teacher_weights(batch, CONFIG))
    backward(output.loss_sum + 0.1 * output.compared.divergence_sum, module)
    return float(output.compared.divergence_sum.detach())


def naive(vision: str) -> float:
    """The step with a second model and all logits; returns the sum of divergences."""
    module, batch = student(vision), row()
    names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw")
    inputs = {name: batch[name] for name in names} | attention_kwargs(batch["cu_seqlens"])
    ours = bare_model(module.model)(**inputs, use_cache=False).logits[0].float()
    with torch.no_grad():
        theirs = second_model()(**inputs, use_cache=False).logits[0].float()
    positions, targets, weights = next_token_targets(batch["labels"], batch["loss_weights"])
    at = positions[:, 1]
    labels = (torch.nn.functional.cross_entropy(ours[at], targets, reduction="none") * weights).sum()
    each = torch.nn.functional.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="none")
    divergence = each.sum(-1)[at].sum()
    backward(labels + 0.1 * divergence, module)
    return float(divergence.detach())


@pytest.mark.parametrize("vision", ["frozen", "trained"])
def test_bench_distill(benchmark: Any, capsys: pytest.CaptureFixture[str], vision: str) -> None:
    assert with_term(vision) == pytest.approx(naive(vision), rel=1e-4)
    calls: dict[str, Callable[[], object]] = {
        "without": partial(without, vision),
        "with the term": partial(with_term, vision),
        "second model, full logits": partial(naive, vision),
    }
    floors: Floors = {("without", "with the term"): 1 / MOST[vision]}
    seconds = interleaved(calls, floors, 4.0)
    lines = [f"\nstep of one row, vision {vision}"]
    lines += [f"  {name:26} {s * 1e3:7.0f} ms  {s / seconds['without']:5.2f}x" for name, s in seconds.items()]
    with capsys.disabled():
        print("\n".join(lines))
    benchmark.extra_info["ms"] = {name: round(s * 1e3) for name, s in seconds.items()}
    benchmark.pedantic(with_term, args=(vision,), rounds=1)
    assert not missed(seconds, floors)
