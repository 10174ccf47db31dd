from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import AutoPeftModel
from safetensors.torch import load_file, save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap.answers.profile import AnswerProfile
from dcap.augment.fit import fit_canvas
from dcap.core.errors import CheckpointError
from dcap.data.encode import grid_thw, load_tokenizer
from dcap.geometry.canvas import Canvas
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import check_source, load_model
from dcap.model.lora import attach, trainable
from dcap.model.saved_model import BaseFiles
from dcap.train import weights
from dcap.train.step import Learner
from dcap.train.weights import load_weights, save_weights

MakeLearner = Callable[..., Learner]
KINDS = [
    AdapterConfig(rank=2),
    AdapterConfig(rank=2, type="dora", modules_to_save=("merger",)),
    AdapterConfig(type="full"),
    AdapterConfig(rank=2, init="pissa"),
]


def disturbed(make_learner: MakeLearner, adapter: AdapterConfig, dtype: str = "float32") -> Learner:
    learner = make_learner(model={"adapter": adapter, "dtype": dtype})
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter += 0.1 * torch.randn_like(parameter)
    return learner


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapter", KINDS, ids=["lora", "dora", "full", "pissa"])
def test_weights_come_back_to_the_bit(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path, adapter: AdapterConfig, dtype: str
) -> None:
    learner = disturbed(make_learner, adapter, dtype)
    save_weights(learner.bare_module.model, tmp_path, BaseFiles(str(micro_folder)))
    again = make_learner(model={"adapter": adapter, "dtype": dtype}, seed=9)
    load_weights(again.bare_module.model, tmp_path)
    state, other = learner.bare_module.state_dict(), again.bare_module.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt*")) + list(tmp_path.rglob("*.pkl"))


def test_a_large_model_is_written_in_pieces_that_load_as_one(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 4 * 2304 * 64  # the position table
    monkeypatch.setattr(weights, "PIECE_BYTES", largest)
    learner = disturbed(make_learner, AdapterConfig(type="full"), "bfloat16")
    save_weights(learner.bare_module.model, tmp_path, BaseFiles(str(micro_folder)))
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    assert [file.name for file in files] == [
        f"model-{i + 1:05d}-of-{len(files):05d}.safetensors" for i in range(len(files))
    ]
    assert len(files) > 5
    assert all(sum(value.nbytes for value in load_file(file).values()) <= largest for file in files)
    again = make_learner(model={"adapter": AdapterConfig(type="full"), "dtype": "bfloat16"}, seed=9)
    load_weights(again.bare_module.model, tmp_path)
    loaded = load_model(ModelConfig(str(tmp_path), dtype="float32"), torch.device("cpu"))
    for model in (again.bare_module.model, loaded):
        assert all(
            torch.equal(learner.parameters[name], value)
            for name, value in model.named_parameters()
            if name in learner.parameters
        )
    files[2].unlink()
    with pytest.raises(CheckpointError, match=r"must hold the weights of this model, but .* is on one side only"):
        load_weights(again.bare_module.model, tmp_path)


def test_a_whole_model_is_a_folder_that_loads_anywhere(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path
) -> None:
    learner = disturbed(make_learner, AdapterConfig(type="full"), "bfloat16")
    save_weights(learner.bare_module.model, tmp_path, BaseFiles(str(micro_folder)), torch.bfloat16)
    folder = tmp_path / "model"
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (micro_folder / name).read_bytes()
    load_tokenizer(str(folder))
    # A next stage names the folder that the trainer wrote, as configs/qwen3vl-4b-stage2.yaml does.
    assert check_source(ModelConfig(str(tmp_path))) == str(folder)
    loaded = load_model(ModelConfig(str(tmp_path)), torch.device("cpu"))
    merger = "model.visual.merger.linear_fc1.weight"
    expected = dict(learner.bare_module.model.named_parameters())[merger].bfloat16()
    assert torch.equal(dict(loaded.named_parameters())[merger], expected)


ANSWER = AnswerProfile(min_pixels=4096, max_pixels=100_000)


def settings_of(folder: Path, name: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder / "model" / name).read_text())
    return tree


def test_any_runtime_shows_a_whole_model_the_images_it_saw_and_stops_where_its_answers_end(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path
) -> None:
    model = make_learner(model={"adapter": AdapterConfig(type="full")}).bare_module.model
    model.generation_config.eos_token_id = 256  # as in a base model that was never tuned to chat
    save_weights(model, tmp_path, BaseFiles(str(micro_folder), answer=ANSWER), torch.bfloat16)
    processor = Qwen2VLImageProcessorPil.from_pretrained(str(tmp_path / "model"))
    for height, width in ((300, 451), (33, 40), (2000, 900)):
        grid = processor(np.zeros((height, width, 3), np.uint8), return_tensors="np")["image_grid_thw"][0].tolist()
        seen = fit_canvas(Canvas(height, width), ANSWER.min_pixels, ANSWER.max_pixels)
        assert grid == list(grid_thw(seen))
    assert settings_of(tmp_path, "generation_config.json")["eos_token_id"] == [258, 256]
    config = settings_of(tmp_path, "config.json")
    assert "use_cache" not in config["text_config"]
    assert (config["dtype"], config["text_config"]["dtype"]) == ("bfloat16", "bfloat16")
    loaded = load_model(ModelConfig(str(tmp_path)), torch.device("cpu"), for_generation=True)
    assert loaded.config.text_config.use_cache is True


def test_the_nested_settings_of_a_processor_are_changed_too(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(micro_folder, base, ignore=shutil.ignore_patterns("*.safetensors", "*processor_config.json"))
    plain = json.loads((micro_folder / "preprocessor_config.json").read_text())
    (base / "processor_config.json").write_text(json.dumps({"image_processor": plain | {"max_pixels": 7}}))
    model = make_learner(model={"adapter": AdapterConfig(type="full")}).bare_module.model
    save_weights(model, tmp_path, BaseFiles(str(base), answer=ANSWER))
    want = {"shortest_edge": 4096, "longest_edge": 100_000}
    for settings in (
        settings_of(tmp_path, "processor_config.json")["image_processor"],
        settings_of(tmp_path, "preprocessor_config.json"),
    ):
        assert (settings["size"], settings["max_pixels"], settings["patch_size"]) == (want, 100_000, 16)


def test_an_adapter_of_a_second_stage_names_a_base_that_peft_finds(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the first stage holds its model inside, and PEFT looks for the base from wherever it runs."""
    first = make_learner(model={"adapter": AdapterConfig(type="full")}).bare_module.model
    (tmp_path / "stage1").mkdir()
    save_weights(first, tmp_path / "stage1", BaseFiles(str(micro_folder)))
    monkeypatch.chdir(tmp_path)
    config = ModelConfig("stage1", dtype="float32", adapter=AdapterConfig(rank=2))
    second = attach(load_model(config, torch.device("cpu")), config)
    save_weights(second, tmp_path, BaseFiles("stage1"))
    monkeypatch.chdir("/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's own making
        found = AutoPeftModel.from_pretrained(str(tmp_path / "adapter"))
    merger = "model.visual.merger.linear_fc1.base_layer.weight"
    weights = dict(found.named_parameters())
    assert torch.equal(
        weights[f"base_model.model.{merger}"], dict(second.named_parameters())[f"base_model.model.{merger}"]
    )


def test_the_weights_of_another_adapter_are_refused(
    make_learner: MakeLearner, micro_folder: Path, tmp_path: Path
) -> None:
    save_weights(make_learner().bare_module.model, tmp_path, BaseFiles(str(micro_folder)))
    wider = make_learner(model={"adapter": AdapterConfig(rank=4)})
    with pytest.raises(CheckpointError, match="must fit the model"):
        load_weights(wider.bare_module.model, tmp_path)
    other = make_learner(model={"freeze_aligner": True})
    with pytest.raises(CheckpointError, match="is on one side only"):
        load_weights(other.bare_module.model, tmp_path)
    full = make_learner(model={"adapter": AdapterConfig(type="full")})
    with pytest.raises(CheckpointError, match=r"must hold model/\*.safetensors, as model.adapter.type says"):
        load_weights(full.bare_module.model, tmp_path)


def test_a_missing_weight_is_refused(make_learner: MakeLearner, micro_folder: Path, tmp_path: Path) -> None:
    learner = make_learner(model={"adapter": AdapterConfig(type="full")})
    save_weights(learner.bare_module.model, tmp_path, BaseFiles(str(micro_folder)))
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("model.visual.merger.norm.weight")
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"model.visual.merger.norm.weight is on one side only"):
        load_weights(learner.bare_module.model, tmp_path)


def test_trainable_names_are_stable(make_learner: MakeLearner) -> None:
    learner = make_learner()
    assert list(learner.parameters) == list(trainable(learner.bare_module.model))
