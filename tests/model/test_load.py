from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLForConditionalGeneration

from dcap.core.errors import ConfigError
from dcap.model.config import ModelConfig
from dcap.model.load import load_model

CPU = torch.device("cpu")


def load(name: str | Path, **kwargs: Any) -> Any:
    return load_model(ModelConfig(str(name), dtype=kwargs.pop("dtype", "float32"), **kwargs), CPU)


def copied(micro_folder: Path, target: Path) -> Path:
    shutil.copytree(micro_folder, target)
    return target


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype_attention_and_cache_are_as_asked(micro_folder: Path, dtype: str) -> None:
    model = load(micro_folder, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert model.config.text_config._attn_implementation == "dcap_segments"
    assert model.config.vision_config._attn_implementation == "dcap_segments"
    assert model.config.text_config.use_cache is False
    assert not model.training


def test_generation_uses_an_attention_that_knows_padding(micro_folder: Path) -> None:
    model = load_model(ModelConfig(str(micro_folder), dtype="float32"), CPU, for_generation=True)
    assert model.config.text_config._attn_implementation == "sdpa"
    assert model.config.text_config.use_cache is True


def test_weights_are_those_of_the_file(micro_folder: Path) -> None:
    model = load(micro_folder)
    weights = load_file(micro_folder / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.items())
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


@pytest.mark.parametrize("name", ["/nowhere/at/all", "nowhere", "./a/b", "builtin:huge", "../x"])
def test_what_is_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"model.name_or_path must be an existing folder, a hub id, builtin:tiny, builtin:micro or "
    ):
        load(name)


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no model could be read from some-org/none: .* without a network"):
        load("some-org/none")


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model could be read from .*: it has no config\.json$"):
        load(tmp_path)


def test_another_kind_of_model(micro_folder: Path, tmp_path: Path) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen2_5_vl"}))
    with pytest.raises(ConfigError, match=r"must be a Qwen3-VL \(model type qwen3_vl or qwen3_vl_moe\), not qwen2"):
        load(folder)


def test_weights_that_are_not_safetensors(micro_folder: Path, tmp_path: Path) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="must hold loadable safetensors weights"):
        load(folder)


def test_torn_weights(micro_folder: Path, tmp_path: Path) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match="must hold loadable safetensors weights"):
        load(folder)


def test_missing_weights(micro_folder: Path, tmp_path: Path) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.visual.merger.linear_fc1.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"1 are missing, first model.visual.merger.linear_fc1.weight"):
        load(folder)


def test_weights_without_a_place(micro_folder: Path, tmp_path: Path) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] -= 1
    config["text_config"].pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"and no others, but \d+ have no place, first model\.language_model\.layers"):
        load(folder)


def changed_text(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**config, "text_config": {**config["text_config"], **more}}


@pytest.mark.parametrize(
    "change",
    [
        lambda config: [1],
        lambda config: changed_text(config, num_hidden_layers="x"),
        lambda config: changed_text(config, num_attention_heads=0),
        lambda config: changed_text(config, hidden_act="none"),
        lambda config: {**config, "text_config": []},
        lambda config: {**config, "quantization_config": "x"},
    ],
)
def test_a_damaged_config(micro_folder: Path, tmp_path: Path, change: Any) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(change(config)))
    with pytest.raises(ConfigError, match=r"^model\.name_or_path: "):
        load(folder)


@pytest.mark.parametrize("text", ["[]", "{}"])
def test_a_damaged_list_of_weights(micro_folder: Path, tmp_path: Path, text: str) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ConfigError, match="must hold loadable safetensors weights"):
        load(folder)


def test_weights_of_other_shapes(micro_folder: Path, tmp_path: Path) -> None:
    folder = copied(micro_folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    wider = changed_text(config, intermediate_size=config["text_config"]["intermediate_size"] * 2)
    (folder / "config.json").write_text(json.dumps(wider))
    with pytest.raises(ConfigError, match=r"some have other shapes than its config\.json says"):
        load(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "fp8"},
    ],
)
def test_quantised_weights(micro_folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    config = json.loads((micro_folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    with pytest.raises(ConfigError, match=rf"not quantised ones \({settings['quant_method']}\)\. Give the model that"):
        load(folder)


def test_quantised_weights_may_answer_if_the_package_of_their_method_is_there(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they can be read is for transformers to say."""
    folder = tmp_path / "m"
    folder.mkdir()
    config = json.loads((tiny_folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))

    def no_package(*_: Any, **__: Any) -> None:
        raise ImportError("AWQ needs a package: pip install it")

    monkeypatch.setattr(Qwen3VLForConditionalGeneration, "from_pretrained", no_package)
    with pytest.raises(ConfigError, match="must hold loadable safetensors weights: AWQ needs a package"):
        load_model(ModelConfig(str(folder)), torch.device("cpu"), for_generation=True, may_be_quantised=True)


def test_a_folder_that_is_missing_is_not_asked_for_at_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match=r"not runs/stage1: the folder runs is here, and stage1 is not in it\."):
        load("runs/stage1")
    for name in ("runs/stage1/final", "~/models", "./gone", f"/{'x' * 300}"):
        with pytest.raises(ConfigError, match=r"a hub id, builtin:tiny, .*, not .*\. There is no such folder"):
            load(name)
    with monkeypatch.context() as patch:  # but what the cache has is a hub id
        patch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "cached")
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(ConfigError, match="no model could be read from runs/stage1"):
            load("runs/stage1")
    with pytest.raises(ConfigError) as caught:
        load("x" * 5000)
    assert len(str(caught.value)) < 400
