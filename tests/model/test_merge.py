"""The merge of an adapter: what the weights become, and how much of the update is left after the cast."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from dcap.core.errors import ConfigError
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.lora import attach, bare_model
from dcap.model.merge import Survival, merge_adapter

QUERY = "model.language_model.layers.1.self_attn.q_proj"


def adapted(model: Any, **adapter: Any) -> Any:
    """Put an adapter of rank 2 on a model whose B is not 0 any more."""
    config = ModelConfig("unused", dtype="float32", adapter=AdapterConfig(rank=2, **adapter))
    tuned = attach(model, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return tuned


@pytest.mark.parametrize(("kind", "scale"), [("lora", 32 / 2), ("rslora", 32 / 2**0.5)])
def test_a_weight_becomes_w_plus_scale_b_a(model: Any, kind: str, scale: float) -> None:
    tuned = adapted(model, type=kind)
    layer = bare_model(tuned).get_submodule(QUERY)
    before = layer.base_layer.weight.detach().clone()
    b, a = layer.lora_B["default"].weight.detach(), layer.lora_A["default"].weight.detach()
    merged, survival = merge_adapter(tuned, torch.float32)
    assert torch.equal(merged.get_submodule(QUERY).weight, before + scale * (b @ a))
    assert [each.share for each in survival] == [1.0] * len(survival)
    assert not any(parameter.requires_grad for parameter in merged.parameters())


def test_what_the_cast_takes_is_measured(model: Any) -> None:
    """All weights of a layer are 256; of an update of 1.25, bfloat16 keeps 2 or 0, as it has no number between."""
    config = ModelConfig(
        "unused",
        dtype="float32",
        freeze_aligner=True,
        adapter=AdapterConfig(rank=1, alpha=1, target_modules=("q_proj",)),
    )
    tuned = attach(model, config)
    with torch.no_grad():
        for number in range(4):
            layer = bare_model(tuned).get_submodule(f"model.language_model.layers.{number}.self_attn.q_proj")
            layer.base_layer.weight.fill_(256.0)
            layer.lora_A["default"].weight.fill_(1.0)
            layer.lora_B["default"].weight.fill_((1.25, 2.0, 0.5, 0.0)[number])
    merged, survival = merge_adapter(tuned, torch.bfloat16)
    assert survival == (
        Survival("llm", "layers.0", 1 - 0.75 / 1.25),
        Survival("llm", "layers.1", 1.0),
        Survival("llm", "layers.2", 0.0),
        Survival("llm", "layers.3", 1.0),
    )
    weights = [merged.get_submodule(f"model.language_model.layers.{k}.self_attn.q_proj").weight for k in range(4)]
    assert [float(weight[0, 0]) for weight in weights] == [258.0, 258.0, 256.0, 256.0]
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_modules_trained_in_full_take_the_place_of_the_old_ones(model: Any) -> None:
    tuned = adapted(model, modules_to_save=("merger",))
    merger = bare_model(tuned).model.visual.merger.modules_to_save["default"]
    with torch.no_grad():
        merger.linear_fc1.weight.fill_(1.0)
    merged, survival = merge_adapter(tuned, torch.float32)
    assert merged.model.visual.merger.linear_fc1.weight.unique().tolist() == [1.0]
    assert ("aligner", "merger") in {(each.tower, each.layer) for each in survival}
    assert not [name for name, _ in merged.named_modules() if "lora" in name or "modules_to_save" in name]


def test_positions_are_still_counted_in_float32(model: Any) -> None:
    """The tables that turn queries are no weights: a merged model that goes on training must have them as they were."""
    before = model.model.language_model.rotary_emb.inv_freq.clone()
    merged, _ = merge_adapter(adapted(model), torch.bfloat16)
    assert torch.equal(merged.model.language_model.rotary_emb.inv_freq, before)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"target_modules": ["lm_head"]}, "lm_head"),
        ({"target_modules": ["linear_fc1"], "modules_to_save": ["language_model"]}, r".*language_model\.embed_tokens"),
    ],
)
def test_one_of_two_tied_weights_is_not_merged(model: Any, settings: dict[str, Any], name: str) -> None:
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT says that a merge would go wrong; dcap refuses it
        tuned = get_peft_model(model, LoraConfig(r=2, **settings))
    with pytest.raises(ConfigError, match=f"adapter must leave {name} as it is, as head and embedding of this model"):
        merge_adapter(tuned, torch.float32)


def test_weights_that_are_not_finite_are_named(model: Any) -> None:
    tuned = adapted(model)
    bare_model(tuned).get_submodule(QUERY).lora_B["default"].weight.data[0, 0] = float("nan")
    with pytest.raises(ConfigError, match=f"adapter must give finite weights, and those of {QUERY} are not"):
        merge_adapter(tuned, torch.float32)
