from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
from rich.console import Console

from dcap.core.errors import ConfigError
from dcap.model.config import ModelConfig
from dcap.model.towers import (
    LINEAR,
    MODULES,
    TOWERS,
    TowerCount,
    check_training_towers,
    count_parameters,
    frozen_towers,
    parameter_table,
    tower_of,
)


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("model.language_model.layers.0.self_attn.q_proj.weight", "llm"),
        ("model.language_model.embed_tokens.weight", "llm"),
        ("lm_head.weight", "llm"),
        ("model.visual.blocks.3.mlp.linear_fc1.weight", "vit"),
        ("model.visual.patch_embed.proj.bias", "vit"),
        ("model.visual.pos_embed.weight", "vit"),
        ("model.visual.merger.norm.weight", "aligner"),
        ("model.visual.deepstack_merger_list.0.linear_fc2.weight", "aligner"),
        ("base_model.model.model.visual.merger.modules_to_save.default.linear_fc1.weight", "aligner"),
        ("model.base_model.model.model.visual.blocks.0.attn.qkv.lora_A.default.weight", "vit"),
        ("model.visual.merger", "aligner"),
        ("visual.merger.linear_fc1", "aligner"),
    ],
)
def test_tower_of(name: str, tower: str) -> None:
    assert tower_of(name) == tower


def test_patterns_and_tower_of_agree_on_every_module(model: Any) -> None:
    names = [name for name, _ in model.named_modules() if name.count(".") >= 2 or name == "lm_head"]
    for name in names:
        matching = {tower for tower in TOWERS if re.fullmatch(MODULES[tower], name)}
        assert matching == {tower_of(name)}, name
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    matched = {tower: {n for n in linear if re.fullmatch(LINEAR[tower], n)} for tower in TOWERS}
    assert [len(matched[tower]) for tower in TOWERS] == [28, 16, 8]
    assert set().union(*matched.values()) == linear - {"lm_head"}


def test_counts_add_up(model: Any) -> None:
    model.requires_grad_(False)
    model.model.visual.merger.requires_grad_(True)
    counts = {count.tower: count for count in count_parameters(model)}
    assert sum(count.total for count in counts.values()) == sum(p.numel() for p in model.parameters())
    merger = sum(p.numel() for p in model.model.visual.merger.parameters())
    assert [counts[t].trainable for t in TOWERS] == [0, 0, merger]


@pytest.mark.parametrize(("llm", "vit", "aligner"), [*itertools.product([False, True], repeat=3)][:-1])
def test_flags_are_independent(llm: bool, vit: bool, aligner: bool) -> None:
    config = ModelConfig("x", freeze_llm=llm, freeze_vit=vit, freeze_aligner=aligner)
    expected = {name for name, flag in (("llm", llm), ("vit", vit), ("aligner", aligner)) if flag}
    assert frozen_towers(config) == expected


def test_a_tower_that_trains_nothing_or_too_much_is_refused() -> None:
    config = ModelConfig("x")  # llm and aligner train
    good = (TowerCount("llm", 9, 1), TowerCount("vit", 9, 0), TowerCount("aligner", 9, 1))
    check_training_towers(good, config)
    with pytest.raises(ConfigError, match=r"model.freeze_aligner must be true when nothing of the aligner trains"):
        check_training_towers((*good[:2], TowerCount("aligner", 9, 0)), config)
    with pytest.raises(ConfigError, match=r"model.freeze_vit must be false"):
        check_training_towers((good[0], TowerCount("vit", 9, 2), good[2]), config)


def test_table_names_what_trains() -> None:
    counts = (TowerCount("llm", 1000, 20), TowerCount("vit", 500, 0), TowerCount("aligner", 100, 100))
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(parameter_table(counts, {"llm": 1e-4, "vit": 2e-5, "aligner": 3e-4}))
        console.print(parameter_table(counts, {"llm": 1e-4, "vit": 2e-5, "aligner": 3e-4}, lora_plus_ratio=16.0))
    rows = [re.sub(r"[│┃]", " ", line).split() for line in capture.get().splitlines()]
    assert ["llm", "1,000", "20", "2.00", "%", "0.0001,", "B", "0.0016"] in rows
    assert ["llm", "1,000", "20", "2.00", "%", "0.0001"] in rows
    assert ["vit", "500", "0", "frozen", "-"] in rows
    assert ["aligner", "100", "100", "100.00", "%", "0.0003"] in rows
