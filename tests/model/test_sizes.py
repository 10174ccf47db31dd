"""The published sizes: their numbers of weights, and the memory that follows."""

from __future__ import annotations

import pytest
import torch

from dcap.model.config import ModelConfig
from dcap.model.sizes import MIXTURES, SIZES, PublishedSize, published_memory

# Weights that the cards on the hub give, in billions.
BILLIONS = {"8B": 8.77, "4B": 4.44, "2B": 2.13, "30B": 31.07}


@pytest.mark.parametrize("size", [*SIZES, *MIXTURES], ids=lambda size: size.name)
def test_a_size_has_the_published_number_of_weights(size: PublishedSize) -> None:
    model = size.blank(torch.bfloat16)
    (wanted,) = [count for name, count in BILLIONS.items() if f"-{name}-" in size.name]
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(wanted, rel=0.005)
    assert all(p.device.type == "meta" for p in model.parameters())


def test_checkpointing_takes_less_and_the_weights_the_same() -> None:
    config = ModelConfig("m")
    without, with_it = (
        published_memory(SIZES[-1], config, tokens=4096, patches=8192, supervised=1024, checkpointing=checkpointing)
        for checkpointing in (False, True)
    )
    assert with_it.total < without.total / 2
    assert with_it.weights == without.weights
    assert with_it.weights.frozen == 2 * 2_127_532_032
