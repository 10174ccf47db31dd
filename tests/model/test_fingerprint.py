from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dcap.model.config import ModelConfig
from dcap.model.fingerprint import weights_digest
from dcap.model.load import load_model


@pytest.fixture(scope="module")
def digest(micro_folder: Path) -> str:
    return weights_digest(load_model(ModelConfig(str(micro_folder), dtype="float32"), torch.device("cpu")))


def test_the_precision_makes_no_difference(micro_folder: Path, digest: str) -> None:
    assert weights_digest(load_model(ModelConfig(str(micro_folder)), torch.device("cpu"))) == digest


def test_other_weights_of_the_same_shapes_do(micro_folder: Path, digest: str) -> None:
    model = load_model(ModelConfig(str(micro_folder), dtype="float32"), torch.device("cpu"))
    merger = dict(model.named_parameters())["model.visual.merger.linear_fc1.weight"]
    kept = merger.detach().clone()
    with torch.no_grad():
        merger += 0.01 * torch.randn(merger.shape, generator=torch.Generator().manual_seed(0))
    assert weights_digest(model) != digest
    with torch.no_grad():
        merger.copy_(kept)
    assert weights_digest(model) == digest
