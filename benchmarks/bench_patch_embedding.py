"""The patch embedding from bytes, forward and backward: one product over one time step, beside transformers' ways.

Its rivals take both time steps: transformers' convolution, and the product of its fusion ``patch_embeddings``. The
width is that of Qwen3-VL-2B and 4B, float32. In bfloat16 a CPU's convolution is a hundred times slower than that, so
that it is left out here. Run with ``pytest benchmarks/bench_patch_embedding.py --benchmark-only``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from dcap.data.collate import normalised, one_time_step
from dcap.model.patch_embedding import PatchEmbedding
from timing import interleaved, missed

PATCHES, WIDTH = 512, 1024
KERNEL = (2, 16, 16)
CONVOLUTION, FUSED = "convolution", "product over both time steps"
# What fails the benchmark: about half of what an idle machine shows.
FLOORS = {(CONVOLUTION, "dcap"): 1.5, (FUSED, "dcap"): 1.0}


def by_convolution(projection: torch.nn.Conv3d, values: torch.Tensor) -> torch.Tensor:
    embedded: torch.Tensor = projection(normalised(values).view(-1, 3, *KERNEL))
    return embedded.flatten(1)


def by_product(projection: torch.nn.Conv3d, values: torch.Tensor) -> torch.Tensor:
    return PatchEmbedding(projection)(normalised(values))


def by_one_time_step(projection: torch.nn.Conv3d, values: torch.Tensor) -> torch.Tensor:
    return PatchEmbedding(projection)(one_time_step(values))


METHODS = {"dcap": by_one_time_step, FUSED: by_product, CONVOLUTION: by_convolution}


def trained(method: Callable[..., torch.Tensor], projection: torch.nn.Conv3d, values: torch.Tensor) -> Any:
    projection.zero_grad(set_to_none=True)
    embedded = method(projection, values)
    embedded.backward(torch.ones_like(embedded))
    return embedded.detach()


def test_patch_embedding(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    projection = torch.nn.Conv3d(3, WIDTH, KERNEL, stride=KERNEL)
    values = torch.randint(0, 256, (PATCHES, 768), dtype=torch.uint8)
    calls = {name: partial(trained, method, projection, values) for name, method in METHODS.items()}
    found = {}
    for name, call in calls.items():
        embedded, weight = call(), projection.weight
        assert weight.grad is not None
        found[name] = embedded, weight.grad.clone()
    for embedded, slope in found.values():
        assert torch.allclose(embedded, found["dcap"][0], atol=1e-5)
        assert torch.allclose(slope, found["dcap"][1], atol=1e-5 * float(slope.abs().max()))
    seconds = interleaved(calls, FLOORS)
    benchmark(calls["dcap"])
    with capsys.disabled():
        print(f"\n{PATCHES} patches to {WIDTH} numbers, forward and backward, one thread")
        for name in METHODS:
            print(f"  {name:30s} {seconds[name] * 1e3:8.1f} ms  {seconds[name] / seconds['dcap']:6.2f}x")
    assert missed(seconds, FLOORS) == {}
