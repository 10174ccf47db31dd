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


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_4_bits_take_a_quarter_of_the_linear_layers_of_the_language_model(size: PublishedSize) -> None:
    width, feed_forward, layers, heads = size.text
    linear = layers * width * (2 * 128 * (heads + 8) + 3 * feed_forward)
    plain, quantised = (
        published_memory(
            size, ModelConfig("m", quantization=name), tokens=64, patches=64, supervised=8, checkpointing=True
        )
        for name in ("none", "nf4")
    )
    saved = plain.weights.frozen - quantised.weights.frozen
    assert saved / linear == pytest.approx(2 - (0.5 + 1 / 64 + 4 / 64 / 256), rel=1e-3)
    assert plain.weights.trained == quantised.weights.trained


def test_checkpointing_takes_less_and_the_weights_the_same() -> None:
    config = ModelConfig("m")
    without, with_it = (
        published_memory(SIZES[-1], config, tokens=4096, patches=8192, supervised=1024, checkpointing=checkpointing)
        for checkpointing in (False, True)
    )
    assert with_it.total < without.total / 2
    assert with_it.weights == without.weights
    assert with_it.weights.frozen == 2 * 2_127_532_032
