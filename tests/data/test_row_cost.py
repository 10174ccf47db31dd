from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from dcap.data.packing import SampleSizes
from dcap.data.steps import RowCost

SIZES = st.lists(st.tuples(st.integers(1, 12_000), st.integers(0, 4096)), min_size=1, max_size=30)


def weights(module: torch.nn.Module) -> int:
    """Multiply-adds that the linear layers spend on one row of their input."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Linear))


def test_the_defaults_are_those_of_the_model() -> None:
    # The published config.json of Qwen3-VL-4B-Instruct.
    text = {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    vision = {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2560,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision)).model
    per_token = weights(model.language_model.layers)
    patches, merges = weights(model.visual.blocks), weights(model.visual.merger)
    merges += weights(model.visual.deepstack_merger_list)
    cost = RowCost()
    assert cost.image_token == pytest.approx((4 * patches + merges) / per_token)
    # Scores and their sum over values take as many multiply-adds per pair as a token has numbers in all heads.
    assert cost.token_squared == pytest.approx(36 * 2 * 32 * 128 / 2 / per_token)
    assert cost.image_token_squared == pytest.approx(24 * 2 * 1024 * 4**2 / per_token)


@given(SIZES, st.integers(1, 5), st.booleans())
def test_a_row_costs_what_its_samples_cost(sizes: list[tuple[int, int]], per_row: int, padded: bool) -> None:
    rows = [list(range(i, min(i + per_row, len(sizes)))) for i in range(0, len(sizes), per_row)]
    table = np.array(sizes).T
    cost = RowCost()
    found = cost.of_rows(rows, SampleSizes(table[0], table[1]), padded)
    for row, value in zip(rows, found.tolist(), strict=True):
        longest = max(sizes[i][0] for i in row)
        expected = 0.0
        for i in row:
            tokens, image = longest if padded else sizes[i][0], sizes[i][1]
            expected += tokens + cost.token_squared * tokens**2
            expected += cost.image_token * image + cost.image_token_squared * image**2
        assert abs(value - expected) <= len(row) / 2 + 1e-6


def test_a_frozen_vision_tower_costs_a_third_and_the_language_model_the_same() -> None:
    tokens, image = np.array([3000]), np.array([2000])
    whole, frozen, text = (
        float(cost.of_samples(tokens, pixels)[0])
        for cost, pixels in ((RowCost(), image), (RowCost().frozen_vision(), image), (RowCost(), np.array([0])))
    )
    assert (frozen - text) * 3 == pytest.approx(whole - text, abs=3)


def test_no_row_no_cost() -> None:
    assert RowCost().of_rows([], SampleSizes(np.empty(0, np.int64), np.empty(0, np.int64))).shape == (0,)
