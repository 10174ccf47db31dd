"""The recipes in ``configs/``: each is a config, and what it adapts is in the model that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from dcap.core.config import read_yaml
from dcap.model.lora import attach, trainable
from dcap.model.sizes import MIXTURES, SIZES, published_memory
from dcap.model.towers import frozen_towers, tower_of
from dcap.train.config import RunConfig, build_run_config

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(CONFIGS.glob("*.yaml"))
GUIDE = Path(__file__).parents[2] / "python/dcap/guide/training.md"


def load(name: str) -> RunConfig:
    return build_run_config(read_yaml(CONFIGS / name), (), name)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_config_that_the_guide_names(path: Path) -> None:
    config = load(path.name)
    assert config.training.output_dir.startswith("runs/")
    assert f"configs/{path.name}" in path.read_text().split("\n\n", 1)[0], "its head says how to run it"
    short = f"-{path.stem.rpartition('-')[2]}.yaml"  # behind the name of its first stage
    assert f"`{path.name}`" in GUIDE.read_text() or f"`{short}`" in GUIDE.read_text()


def test_each_recipe_has_a_run_folder_of_its_own() -> None:
    folders = [load(path.name).training.output_dir for path in RECIPES]
    assert len(set(folders)) == len(folders)


def test_the_last_layers_of_the_published_model_are_adapted() -> None:
    model = load("qwen3vl-8b-dora-last.yaml").model
    size = next(each for each in SIZES if each.name == model.name_or_path)
    adapted = trainable(attach(size.blank(torch.bfloat16), model))
    numbers = {
        tower: sorted({int(n) for name in adapted for n in re.findall(rf"{stem}\.(\d+)\.", name)})
        for tower, stem in (("llm", "language_model.layers"), ("vit", "visual.blocks"))
    }
    assert numbers == {"llm": list(range(18, 36)), "vit": list(range(21, 27))}
    assert {tower_of(name) for name in adapted} == {"llm", "vit", "aligner"} - frozen_towers(model)


def test_the_largest_model_in_4_bits_fits_a_gpu_with_24_gb() -> None:
    name = "qwen3vl-8b-nf4.yaml"
    config = load(name)
    size = next(each for each in SIZES if each.name == config.model.name_or_path)
    row = config.data.global_max_length
    found = published_memory(
        size,
        config.model,
        tokens=row,
        patches=4 * row // 2,
        supervised=row // 2,
        checkpointing=config.training.activation_checkpointing,
        moments_in_8_bits=config.training.optimizer == "adamw8bit",
    )
    said = re.search(r"estimates ([\d.]+) GiB", (CONFIGS / name).read_text())
    assert said is not None
    assert found.total / 2**30 == pytest.approx(float(said[1]), abs=0.1)
    assert found.total < 0.85 * 24e9, "the estimate was never compared with a GPU"


@pytest.mark.parametrize("path", [path for path in RECIPES if path.name.startswith("qwen3vl")], ids=lambda p: p.stem)
def test_a_recipe_for_real_work_names_a_published_model_or_an_earlier_stage(path: Path) -> None:
    config = load(path.name)
    earlier = {f"{load(other.name).training.output_dir}/final" for other in RECIPES}
    assert config.model.name_or_path in {size.name for size in (*SIZES, *MIXTURES)} | earlier
