from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.core.errors import ConfigError
from dcap.model.attention import attention_kwargs
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import check_source, load_model
from dcap.model.lora import attach, bare_model, enable_activation_checkpointing, load_adapter, trainable
from dcap.model.towers import TOWERS, count_parameters, tower_of
from support.batches import fake_sample, packed

CPU = torch.device("cpu")


def config(**kwargs: Any) -> ModelConfig:
    adapter = AdapterConfig(**kwargs.pop("adapter", {}))
    return ModelConfig(**{"name_or_path": "builtin:micro", "dtype": "float32", "adapter": adapter, **kwargs})


def hidden(model: Any, grad: bool = False) -> torch.Tensor:
    batch = packed([fake_sample(0), fake_sample(1, images=()), fake_sample(2, images=((4, 8), (8, 4)))])
    names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw")
    inputs: dict[str, Any] = {name: batch[name] for name in names}  # type: ignore[literal-required]
    with torch.set_grad_enabled(grad):
        out = bare_model(model).model(**inputs, use_cache=False, **attention_kwargs(batch["cu_seqlens"]))
    states: torch.Tensor = out.last_hidden_state
    return states


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = bare_model(model).lm_head(hidden(model))
    return out


def disturb(model: Any) -> None:
    """Move adapters away from the identity at which they start."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter += 0.05 * torch.randn_like(parameter)


FLAGS = [
    (llm, vit, aligner)
    for llm in (False, True)
    for vit in (False, True)
    for aligner in (False, True)
    if not (llm and vit and aligner)
]


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("flags", FLAGS)
def test_exactly_the_towers_that_are_not_frozen_train(model: Any, kind: str, flags: tuple[bool, bool, bool]) -> None:
    chosen = config(
        freeze_llm=flags[0], freeze_vit=flags[1], freeze_aligner=flags[2], adapter={"type": kind, "rank": 2}
    )
    tuned = attach(model, chosen)
    assert [bool(count.trainable) for count in count_parameters(tuned)] == [not flag for flag in flags]
    hidden(tuned, grad=True).square().sum().backward()
    touched = {tower_of(n) for n, p in tuned.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {tower for tower, frozen in zip(TOWERS, flags, strict=True) if not frozen}


def test_all_frozen_is_refused() -> None:
    with pytest.raises(ConfigError, match="freeze_llm, freeze_vit and freeze_aligner must not all be true"):
        config(freeze_llm=True, freeze_aligner=True)


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
def test_a_new_adapter_changes_nothing(model: Any, kind: str) -> None:
    before = hidden(model)
    after = hidden(attach(model, config(freeze_vit=False, adapter={"type": kind, "rank": 4})))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "lora"},
        {"type": "dora"},
        {"type": "rslora"},
        {"type": "lora", "modules_to_save": ("merger", "deepstack_merger_list")},
    ],
)
def test_reload_and_merge_equal_what_was_trained(
    micro_folder: Path, tmp_path: Path, model: Any, adapter: dict[str, Any]
) -> None:
    base = logits(model)
    tuned = attach(model, config(freeze_vit=False, adapter={"rank": 4, **adapter})).eval()
    disturb(tuned)
    expected = logits(tuned)
    assert (expected - base).abs().max() > 0.01, "the adapter must do something"
    tuned.save_pretrained(tmp_path, save_embedding_layers=False)
    plain = ModelConfig(str(micro_folder), dtype="float32")
    reloaded = load_adapter(load_model(plain, CPU), tmp_path)
    torch.testing.assert_close(logits(reloaded), expected, rtol=0, atol=0)
    merged = load_adapter(load_model(plain, CPU), tmp_path).merge_and_unload()
    noise = 1e-5 * float(expected.abs().max())  # a merged weight is rounded, and every logit sums thousands of them
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=noise)
    merged.save_pretrained(tmp_path / "merged")
    whole = load_model(ModelConfig(str(tmp_path / "merged"), dtype="float32"), CPU)
    torch.testing.assert_close(logits(whole), expected, rtol=0, atol=noise)


def test_saved_adapter_names_a_base_that_others_have(tmp_path: Path, model: Any) -> None:
    attach(model, config(adapter={"rank": 2})).save_pretrained(tmp_path, save_embedding_layers=False)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == "builtin:micro"


def test_target_names_stay_inside_the_towers_that_train(model: Any) -> None:
    tuned = attach(model, config(freeze_llm=True, adapter={"target_modules": ("linear_fc1", "q_proj"), "rank": 2}))
    adapted = {name.split(".lora_")[0] for name in trainable(tuned)}
    assert adapted == {
        f"base_model.model.model.visual.{part}.linear_fc1"
        for part in ("merger", *(f"deepstack_merger_list.{i}" for i in range(3)))
    }


def test_target_pattern_is_a_full_match(model: Any) -> None:
    pattern = r".*language_model\.layers\.[01]\.self_attn\.q_proj|.*merger\.linear_fc2"
    tuned = attach(model, config(adapter={"target_modules": pattern, "rank": 2}))
    adapted = {name.split(".lora_")[0].removeprefix("base_model.model.model.") for name in trainable(tuned)}
    assert adapted == {
        "language_model.layers.0.self_attn.q_proj",
        "language_model.layers.1.self_attn.q_proj",
        "visual.merger.linear_fc2",
    }


def layers_of(names: Iterable[str]) -> dict[str, set[int]]:
    """Return the numbers of the layers in names of modules, by tower."""
    found: dict[str, set[int]] = {}
    for name in names:
        match = re.search(r"language_model\.layers\.(\d+)|visual\.blocks\.(\d+)", name)
        number = None if match is None else next(int(each) for each in match.groups() if each is not None)
        found.setdefault(tower_of(name), set()).update(() if number is None else {number})
    return found


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_only_the_chosen_layers_train(model: Any, kind: str) -> None:
    adapter = {"type": kind, "rank": 2, "layers": {"llm": "last 1", "vit": [0, "2-3"]}}
    tuned = attach(model, config(freeze_vit=False, adapter=adapter))
    count = model.config.text_config.num_hidden_layers
    assert layers_of(trainable(tuned)) == {"llm": {count - 1}, "vit": {0, 2, 3}, "aligner": set()}
    outside = [n for n in trainable(tuned) if not re.search(r"\.(layers|blocks)\.\d", n) and tower_of(n) != "aligner"]
    assert not outside, "no embedding, norm or head"


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # of PEFT itself
def test_chosen_layers_are_those_that_peft_would_take(micro_folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    plain = ModelConfig(str(micro_folder), dtype="float32")
    names = ("q_proj", "down_proj")
    wanted = {"rank": 2, "target_modules": names, "layers": {"llm": "0, 2"}}
    ours = trainable(attach(load_model(plain, CPU), config(freeze_aligner=True, adapter=wanted)))
    settings = LoraConfig(r=2, target_modules=list(names), layers_to_transform=[0, 2], layers_pattern="layers")
    assert set(ours) == set(trainable(get_peft_model(load_model(plain, CPU).requires_grad_(False), settings)))


@pytest.mark.parametrize("choice", ["last 9", "first 5", 4, "0-4", [1, 7]])
def test_more_layers_than_there_are_are_refused_before_the_weights(micro_folder: Path, choice: Any) -> None:
    chosen = replace(config(adapter={"layers": {"llm": choice}}), name_or_path=str(micro_folder))
    with pytest.raises(
        ConfigError, match=r"^model\.adapter\.layers\.llm must (be at most the 4 layers|name layers 0 to)"
    ):
        check_source(chosen)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            {"aligner": "all"},
            'must name llm or vit, whose layers have numbers, not "aligner". To leave it out',
        ),
        ({"vlt": "all"}, "did you mean vit"),
        ({"llm": "last"}, r"^layers\.llm must be all, first N, last N, or numbers and ranges"),
        ({"llm": "3-1"}, 'numbers and ranges such as 0-3, 8, not "3-1"'),
        ({"llm": "last 0"}, r"^layers\.llm must be last N with N at least 1, not last 0$"),
        ({"llm": True}, r"layers\.llm must be a string, an integer or a list, not true"),
        ({"llm": [0, True]}, r"layers\.llm\[1\] must be an integer or a string, not true"),
        ({"llm": ()}, "must name at least one layer"),
        ({"vit": "all"}, r"adapter\.layers\.vit must not be given where model\.freeze_vit is true"),
    ],
)
def test_impossible_layers(layers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(adapter={"layers": layers})


def test_modules_to_save_train_in_full(model: Any) -> None:
    tuned = attach(model, config(freeze_llm=True, adapter={"modules_to_save": ("merger",), "rank": 2}))
    merger = [name for name in trainable(tuned) if ".visual.merger." in name]
    assert len(merger) == 6
    assert all("modules_to_save" in name for name in merger)
    assert any("deepstack_merger_list.0.linear_fc1.lora_A" in name for name in trainable(tuned))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter": {"target_modules": ("linear_fc1",)}}, "model.freeze_llm must be true when nothing of the llm"),
        ({"adapter": {"target_modules": ("no_such_layer",)}}, "target_modules must name a layer of a tower"),
        ({"adapter": {"target_modules": "(("}}, "must be names or a regular expression"),
        ({"adapter": {"target_modules": ".*norm"}}, "model.adapter: Target module"),
        ({"adapter": {"modules_to_save": ("nothing",)}}, "modules_to_save: 'nothing' must name a module"),
        (
            {"freeze_aligner": True, "adapter": {"modules_to_save": ("merger",)}},
            "model.freeze_aligner must be false when",
        ),
        ({"freeze_aligner": True, "adapter": {"target_modules": ("lm_head",)}}, "head and embedding share"),
        ({"adapter": {"modules_to_save": ("embed_tokens",)}}, "head and embedding share"),
        ({"adapter": {"modules_to_save": ("language_model",)}}, r"language_model\.embed_tokens must not be adapted"),
        (
            {"adapter": {"modules_to_save": ("merger", "norm")}},
            r"modules_to_save must not name model\.visual\.merger\.norm beside model\.visual\.merger, which holds it",
        ),
    ],
)
def test_impossible_targets(model: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        attach(model, config(**change))


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_what_trains_is_float32_and_the_rest_is_not(micro_folder: Path, kind: str) -> None:
    chosen = config(dtype="bfloat16", adapter={"type": kind, "rank": 2})
    tuned = attach(load_model(ModelConfig(str(micro_folder)), CPU), chosen)
    assert {p.dtype for p in trainable(tuned).values()} == {torch.float32}
    assert {p.dtype for p in tuned.parameters() if not p.requires_grad} == {torch.bfloat16}
    inner = bare_model(tuned)
    assert inner.lm_head.weight is inner.model.language_model.embed_tokens.weight


def test_checkpointed_activations_change_no_gradient(model: Any) -> None:
    tuned = attach(model, config(freeze_vit=False, adapter={"rank": 2})).train()
    disturb(tuned)
    hidden(tuned, grad=True).square().sum().backward()
    expected = {name: p.grad.clone() for name, p in trainable(tuned).items() if p.grad is not None}
    tuned.zero_grad()
    enable_activation_checkpointing(tuned)
    hidden(tuned, grad=True).square().sum().backward()
    assert set(expected) == set(trainable(tuned))
    for name, parameter in trainable(tuned).items():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, expected[name]), name


def test_adapter_folder_problems_are_named(tmp_path: Path, model: Any) -> None:
    with pytest.raises(ConfigError, match=r"adapter must be a folder with adapter_config.json"):
        load_adapter(model, tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "target_modules": ["q_proj"]}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="must fit the model"):
        load_adapter(model, tmp_path)
