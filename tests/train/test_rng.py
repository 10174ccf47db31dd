from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dcap.train.checkpoint import restore_rng, rng_tensors


def draw() -> list[float]:
    return [
        float(torch.rand(())),
        float(np.random.rand()),  # noqa: NPY002 - the global one is meant
        float(np.random.randn()),  # noqa: NPY002
        random.random(),
        random.gauss(0, 1),
    ]


@pytest.mark.parametrize("draws_before", [0, 1, 2])
def test_all_generators_go_on_where_they_were(tmp_path: Path, draws_before: int) -> None:
    for _ in range(draws_before):  # odd counts leave a second Gaussian waiting
        draw()
    save_file(rng_tensors(), tmp_path / "rng.safetensors")
    expected = [draw(), draw()]
    draw()
    restore_rng(load_file(tmp_path / "rng.safetensors"))
    assert [draw(), draw()] == expected
