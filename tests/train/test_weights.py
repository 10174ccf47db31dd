from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcap.core.errors import CheckpointError
from dcap.data.encode import load_tokenizer
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import check_source, load_model
from dcap.model.lora import trainable
from dcap.train.step import Learner
from dcap.train.weights import load_weights, save_weights

MakeLearner = Callable[..., Learner]
KINDS = [
    AdapterConfig(rank=2),
    AdapterConfig(rank=2, type="dora", modules_to_save=("merger",)),
    AdapterConfig(type="full"),
]


def disturbed(make_learner: MakeLearner, adapter: AdapterConfig, dtype: str = "float32") -> Learner:
    learner = make_learner(model={"adapter": adapter, "dtype": dtype})
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter += 0.1 * torch.randn_like(parameter)
    return learner


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapter", KINDS, ids=["lora", "dora", "full"])
def test_weights_come_back_to_the_bit(
    make_learner: MakeLearner, tiny_folder: Path, tmp_path: Path, adapter: AdapterConfig, dtype: str
) -> None:
    learner = disturbed(make_learner, adapter, dtype)
    save_weights(learner.bare_module.model, tmp_path, str(tiny_folder))
    again = make_learner(model={"adapter": adapter, "dtype": dtype}, seed=9)
    load_weights(again.bare_module.model, tmp_path)
    state, other = learner.bare_module.state_dict(), again.bare_module.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt*")) + list(tmp_path.rglob("*.pkl"))


def test_a_whole_model_is_a_folder_that_loads_anywhere(
    make_learner: MakeLearner, tiny_folder: Path, tmp_path: Path
) -> None:
    learner = disturbed(make_learner, AdapterConfig(type="full"), "bfloat16")
    save_weights(learner.bare_module.model, tmp_path, str(tiny_folder), torch.bfloat16)
    folder = tmp_path / "model"
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    for name in ("chat_template.jinja", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (tiny_folder / name).read_bytes()
    load_tokenizer(str(folder))
    # A next stage names the folder that the trainer wrote, as configs/qwen3vl-4b-stage2.yaml does.
    assert check_source(ModelConfig(str(tmp_path))) == str(folder)
    loaded = load_model(ModelConfig(str(tmp_path)), torch.device("cpu"))
    merger = "model.visual.merger.linear_fc1.weight"
    expected = dict(learner.bare_module.model.named_parameters())[merger].bfloat16()
    assert torch.equal(dict(loaded.named_parameters())[merger], expected)


def test_the_weights_of_another_adapter_are_refused(
    make_learner: MakeLearner, tiny_folder: Path, tmp_path: Path
) -> None:
    save_weights(make_learner().bare_module.model, tmp_path, str(tiny_folder))
    wider = make_learner(model={"adapter": AdapterConfig(rank=4)})
    with pytest.raises(CheckpointError, match="must fit the model"):
        load_weights(wider.bare_module.model, tmp_path)
    other = make_learner(model={"freeze_aligner": True})
    with pytest.raises(CheckpointError, match="is on one side only"):
        load_weights(other.bare_module.model, tmp_path)
    full = make_learner(model={"adapter": AdapterConfig(type="full")})
    with pytest.raises(CheckpointError, match=r"must hold model/\*.safetensors, as model.adapter.type says"):
        load_weights(full.bare_module.model, tmp_path)


def test_a_missing_weight_is_refused(make_learner: MakeLearner, tiny_folder: Path, tmp_path: Path) -> None:
    learner = make_learner(model={"adapter": AdapterConfig(type="full")})
    save_weights(learner.bare_module.model, tmp_path, str(tiny_folder))
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("model.visual.merger.norm.weight")
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"model.visual.merger.norm.weight is on one side only"):
        load_weights(learner.bare_module.model, tmp_path)


def test_trainable_names_are_stable(make_learner: MakeLearner) -> None:
    learner = make_learner()
    assert list(learner.parameters) == list(trainable(learner.bare_module.model))
