from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from dcap.core.errors import ConfigError
from dcap.model.config import AdapterConfig, AdapterInit, ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import attach, bare_model, load_adapter, save_adapter, trainable
from dcap.model.merge import merge_adapter
from dcap.model.principal_adapter import principal_part
from dcap.model.towers import count_parameters
from support.batches import fake_sample, packed

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # of PEFT itself

CPU = torch.device("cpu")
INITS: tuple[AdapterInit, ...] = ("pissa", "olora")


@pytest.fixture
def plain(micro_folder: Path) -> ModelConfig:
    return ModelConfig(str(micro_folder), dtype="float32")


def config(init: AdapterInit, rank: int = 3, **adapter: Any) -> ModelConfig:
    return ModelConfig("builtin:micro", dtype="float32", adapter=AdapterConfig(rank=rank, init=init, **adapter))


def hidden(model: Any) -> torch.Tensor:
    batch = packed([fake_sample(0), fake_sample(2, images=((4, 8), (8, 4)))])
    names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw")
    inputs: dict[str, Any] = {name: batch[name] for name in names}  # type: ignore[literal-required]
    from dcap.model.attention import attention_kwargs

    out = bare_model(model).model(**inputs, use_cache=False, **attention_kwargs(batch["cu_seqlens"]))
    states: torch.Tensor = out.last_hidden_state
    return states


def of_peft(plain: ModelConfig, ours: Any, init: str) -> Any:
    """Return PEFT's own adapter of the same layers, which changes the weights of the base."""
    settings = ours.peft_config["default"]
    wanted = LoraConfig(r=3, lora_alpha=32, target_modules=settings.target_modules, init_lora_weights=init)  # type: ignore[arg-type]
    return get_peft_model(load_model(plain, CPU), wanted)


def test_the_frozen_start_is_not_counted(plain: ModelConfig) -> None:
    """What is saved is LoRA on the base, and the table of a run counts that."""
    common, ours = (attach(load_model(plain, CPU), config(init)) for init in ("default", "olora"))
    assert count_parameters(ours) == count_parameters(common)


def disturb(model: Any) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter += 0.02 * torch.randn_like(parameter)


@pytest.mark.parametrize("init", INITS)
def test_it_begins_where_peft_begins_and_leaves_the_base_as_it_is(
    plain: ModelConfig, model: Any, init: AdapterInit
) -> None:
    base = hidden(model).detach()
    kept = {name: p.clone() for name, p in model.named_parameters()}
    ours = attach(model, config(init))
    theirs = of_peft(plain, ours, init)
    assert set(trainable(ours)) == set(trainable(theirs))
    for name, parameter in trainable(ours).items():
        torch.testing.assert_close(parameter, trainable(theirs)[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(hidden(ours).detach(), base, rtol=0, atol=1e-5 * float(base.abs().max()))
    assert all(
        torch.equal(p, kept[n.replace("base_layer.", "")])
        for n, p in bare_model(ours).named_parameters()
        if "lora_" not in n
    )


@pytest.mark.parametrize("init", INITS)
def test_its_gradients_are_those_of_peft(plain: ModelConfig, model: Any, init: AdapterInit) -> None:
    ours = attach(model, config(init))
    theirs = of_peft(plain, ours, init)
    states = []
    for each in (ours, theirs):
        disturb(each)
        states.append(hidden(each))
        slope = torch.randn(states[-1].shape, generator=torch.Generator().manual_seed(1))
        (states[-1] * slope).sum().backward()
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=5e-5 * float(states[1].detach().abs().max()))
    for name, parameter in trainable(theirs).items():
        found, wanted = trainable(ours)[name].grad, parameter.grad
        assert found is not None
        assert wanted is not None
        assert torch.linalg.vector_norm(found - wanted) < 1e-4 * torch.linalg.vector_norm(wanted), name


@pytest.mark.parametrize("init", INITS)
def test_what_is_saved_is_an_ordinary_adapter_of_the_same_base(
    plain: ModelConfig, tmp_path: Path, model: Any, init: AdapterInit
) -> None:
    base = hidden(model).detach()
    tuned = attach(model, config(init)).eval()
    disturb(tuned)
    expected = hidden(tuned).detach()
    save_adapter(tuned, tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["init_lora_weights"]) == (6, 64, True)
    noise = 2e-5 * float(expected.abs().max())
    assert (expected - base).abs().max() > 100 * noise
    for loaded in (
        load_adapter(load_model(plain, CPU), tmp_path),
        PeftModel.from_pretrained(load_model(plain, CPU), tmp_path),
    ):
        torch.testing.assert_close(hidden(loaded), expected, rtol=0, atol=noise)
    merged, _ = merge_adapter(tuned, torch.float32)
    torch.testing.assert_close(hidden(merged), expected, rtol=0, atol=noise)


def test_the_fast_start_is_near_the_exact_one() -> None:
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(40, 8))
    v, _ = torch.linalg.qr(torch.randn(30, 8))
    weight = u * torch.tensor([9.0, 7, 5, 3, 1, 0.5, 0.2, 0.1]) @ v.T
    exact, fast = (principal_part(weight, 3, 2.0, init) for init in ("pissa", "pissa_niter_16"))
    torch.testing.assert_close(2 * fast[1] @ fast[0], 2 * exact[1] @ exact[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"rank": 99}, r"^model\.adapter\.rank must be at most \d+, the smaller side of model\.\S+, with adapter.init"),
        ({"target_modules": r".*embed_tokens|.*q_proj"}, "embed_tokens must not be adapted"),
        (
            {"target_modules": r".*patch_embed\.proj|.*q_proj|.*fc1"},
            r"init must be default where model\.visual\.patch_embed\.proj is adapted, which is no linear layer",
        ),
    ],
)
def test_layers_without_a_start_are_refused(model: Any, adapter: dict[str, Any], message: str) -> None:
    from dataclasses import replace

    with pytest.raises(ConfigError, match=message):
        attach(model, replace(config("pissa", **adapter), freeze_vit=False))


@pytest.mark.parametrize("kind", ["dora", "rslora", "full"])
def test_other_adapters_have_no_such_start(kind: Any) -> None:
    with pytest.raises(ConfigError, match=rf"init must be default with type {kind}, not pissa. Set adapter.type=lora"):
        AdapterConfig(type=kind, init="pissa")


def test_an_adapter_that_is_trained_further_has_its_own_start() -> None:
    with pytest.raises(ConfigError, match=r"adapter.init must be default where init_adapter is trained further"):
        ModelConfig("builtin:micro", adapter=AdapterConfig(init="olora"), init_adapter="runs/a")
    ModelConfig("builtin:micro", adapter=AdapterConfig(init="olora"), init_adapter={"path": "runs/a", "merge": True})  # type: ignore[arg-type]
