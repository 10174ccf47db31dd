"""Memory and time of the loss against the length of the prompt, beside transformers' own ``labels=`` path.

Forward and backward of one row with 256 supervised tokens on the tiny
model, whose vocabulary is the real one: nearly all of the memory is logits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import attach, bare_model
from dcap.train.loss import SupervisedLoss

ANSWER = 256
PROMPTS = (256, 768, 1792)
MIB = 2**20


@cache
def module() -> SupervisedLoss:
    config = ModelConfig("builtin:tiny", dtype="float32", adapter=AdapterConfig(rank=4))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return SupervisedLoss(attach(load_model(config, device), config).train(), chunk_tokens=256)


@cache
def row(prompt: int) -> dict[str, torch.Tensor]:
    length = prompt + ANSWER
    device = next(module().parameters()).device
    ids = torch.randint(0, 150_000, (1, length), generator=torch.Generator().manual_seed(prompt))
    labels = ids.clone()
    labels[:, :prompt] = -100
    positions = torch.arange(length).expand(4, 1, length)
    tensors = {"input_ids": ids, "labels": labels, "position_ids": positions}
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def chunked(prompt: int) -> torch.Tensor:
    """Mean loss by dcap: head on supervised positions, chunk by chunk."""
    inputs = row(prompt)
    output = module()(**inputs, loss_weights=torch.ones_like(inputs["labels"], dtype=torch.float32))
    return output.loss_sum / ANSWER


def full_logits(prompt: int) -> torch.Tensor:
    """Mean loss by transformers: head on every position, all logits at once."""
    loss: torch.Tensor = bare_model(module().model)(**row(prompt), use_cache=False).loss
    return loss


METHODS: dict[str, Callable[[int], torch.Tensor]] = {"dcap": chunked, "transformers labels=": full_logits}


def gradients(method: Callable[[int], torch.Tensor], prompt: int) -> tuple[float, dict[str, torch.Tensor]]:
    module().zero_grad(set_to_none=True)
    loss = method(prompt)
    loss.backward()
    found = {name: p.grad for name, p in module().named_parameters() if p.grad is not None}
    return float(loss.detach()), found


def check_equal(prompt: int) -> None:
    """Stop unless both methods give the same loss and gradients."""
    (ours, our_grads), (theirs, their_grads) = (gradients(method, prompt) for method in METHODS.values())
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0.0)
    for name, grad in their_grads.items():
        scale = float(grad.abs().max())
        torch.testing.assert_close(our_grads[name], grad, rtol=1e-4, atol=1e-5 * scale, msg=name)


def peak_mib(run: Callable[[], Any]) -> float:
    """Return the most memory that `run` held above what was held before, in MiB."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    if not sys.platform.startswith("linux"):
        pytest.skip("peak memory of a process is read from /proc")
    before = _proc_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    run()
    return (_proc_status("VmHWM") - before) / 1024


def _proc_status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


class Cost(NamedTuple):
    """What forward and backward take: memory in MiB at their peak, and seconds."""

    mib: float
    seconds: float


@cache
def costs(prompt: int) -> dict[str, Cost]:
    """Return what each method takes; the better time of two runs."""
    found = {}
    for name, method in METHODS.items():
        run = partial(gradients, method, prompt)
        begin = time.perf_counter()
        mib = peak_mib(run)
        middle = time.perf_counter()
        run()
        found[name] = Cost(mib, min(middle - begin, time.perf_counter() - middle))
    return found


@pytest.mark.parametrize("prompt", PROMPTS)
def test_bench_loss(benchmark: Any, capsys: pytest.CaptureFixture[str], prompt: int) -> None:
    check_equal(prompt)
    found = costs(prompt)
    lines = [f"\nloss and gradient, prompt {prompt} + answer {ANSWER} tokens"]
    for name, (mib, seconds) in found.items():
        ratio = f"{seconds / found['dcap'].seconds:5.1f}x time {mib / found['dcap'].mib:6.1f}x memory"
        lines.append(f"  {name:24} {mib:6.0f} MiB  {ratio}")
    with capsys.disabled():
        print("\n".join(lines))
    benchmark.extra_info["peak_mib"] = {name: round(cost.mib) for name, cost in found.items()}
    benchmark.pedantic(gradients, args=(chunked, prompt), rounds=2)


def test_memory_does_not_grow_with_the_prompt(benchmark: Any) -> None:
    ours, theirs = ([costs(prompt)[name].mib for prompt in PROMPTS] for name in METHODS)
    assert ours[-1] < ours[0] + 100
    assert theirs[-1] > theirs[0] + 1000
    benchmark.pedantic(gradients, args=(chunked, PROMPTS[-1]), rounds=1)
