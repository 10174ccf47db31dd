"""A mixture of experts goes through the whole job, from packing to an export, and refuses what it does not take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from dcap.cli.__main__ import main
from dcap.core.errors import ConfigError
from dcap.model.attention import self_test
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import blank_model, check_source, load_exact, load_model
from dcap.model.lora import attach, load_adapter, trainable
from dcap.model.merge import merge_adapter
from support.experts import build_experts
from support.tuned import logits_of, share_apart

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # of PEFT itself

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experts(micro_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_experts(micro_folder, tmp_path_factory.mktemp("experts") / "model")


def plain(folder: Path) -> ModelConfig:
    return ModelConfig(str(folder), dtype="float32")


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_packed_is_separate(experts: Path, dtype: Any, most: float) -> None:
    model = load_model(ModelConfig(str(experts), dtype=dtype), CPU)
    assert type(model).__name__ == "Qwen3VLMoeForConditionalGeneration"
    assert self_test(model) < most


def test_adapters_are_in_the_attention_and_experts_stay(experts: Path) -> None:
    config = ModelConfig(str(experts), dtype="float32", adapter=AdapterConfig(rank=2, layers={"llm": "last 1"}))
    model = load_model(config, CPU)
    last = model.config.text_config.num_hidden_layers - 1
    tuned = attach(model, config)
    adapted = {name.split(".lora_")[0] for name in trainable(tuned) if ".layers." in name}
    parts = {f"base_model.model.model.language_model.layers.{last}.self_attn.{part}_proj" for part in "qkvo"}
    assert adapted == parts
    held = [name for name, _ in tuned.named_parameters() if ".experts." in name or ".mlp.gate." in name]
    assert len(held) == 3 * (last + 1)
    assert not {*held} & trainable(tuned).keys()
    assert trainable(attach(blank_model(config), config)).keys() == trainable(tuned).keys()


@pytest.mark.parametrize(
    ("adapter", "named"),
    [
        ({"target_modules": ("q_proj", "gate")}, r"layers\.0\.mlp\.gate"),
        ({"target_modules": r".*\.experts"}, r"layers\.0\.mlp\.experts"),
        ({"modules_to_save": ("mlp",)}, r"layers\.0\.mlp\.experts"),
        ({"modules_to_save": ("language_model.layers.1",)}, r"layers\.1\.mlp\.experts"),
    ],
)
def test_router_and_experts_are_not_adapted(experts: Path, adapter: dict[str, Any], named: str) -> None:
    config = ModelConfig(str(experts), dtype="float32", adapter=AdapterConfig(**adapter))
    with pytest.raises(ConfigError, match=rf"^model\.adapter: model\.language_model\.{named} must stay as it is"):
        attach(blank_model(config), config)


def test_a_mixture_is_not_trained_in_full(experts: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.adapter\.type must be lora, dora or rslora for .* not full"):
        check_source(ModelConfig(str(experts), adapter=AdapterConfig(type="full")))
    aligner = ModelConfig(str(experts), dtype="float32", freeze_llm=True, adapter=AdapterConfig(type="full"))
    assert all(".visual." in name for name in trainable(attach(load_model(aligner, CPU), aligner)))


def test_adapters_of_experts_that_others_trained_are_merged(experts: Path, tmp_path: Path) -> None:
    wanted = LoraConfig(
        r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    )
    theirs = get_peft_model(load_model(plain(experts), CPU, for_generation=True), wanted)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trainable(theirs).values():
            parameter += 0.02 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    tuned, base = logits_of(theirs.get_base_model()), logits_of(load_model(plain(experts), CPU, for_generation=True))
    assert share_apart(tuned, base) > 0.01
    merged, survival = merge_adapter(load_adapter(load_exact(plain(experts)), tmp_path, for_merge=True), torch.float32)
    assert share_apart(tuned, logits_of(merged)) < 1e-5
    assert {each.layer for each in survival} == {f"layers.{i}" for i in range(len(merged.model.language_model.layers))}


def run(*arguments: str | Path) -> None:
    assert main([str(each) for each in arguments]) == 0


def test_a_run_resumes_predicts_and_is_exported_with_a_proof(
    experts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = "builtin:scenes?num=4&seed=1&level=single"
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
model: {{name_or_path: {experts}, dtype: float32, adapter: {{rank: 2}}}}
data: {{train: "{data}", num_workers: 0, answer: {{min_pixels: 4096, max_pixels: 8192}}, global_max_length: 1024}}
training:
  {{output_dir: {tmp_path}/whole, max_steps: 2, effective_batch_size: 1, learning_rate: 0.01, lr_schedule: constant,
    trackers: []}}
"""
    )
    run("train", config)
    run("train", config, f"training.output_dir={tmp_path}/parts", "training.max_steps=1")
    run("train", config, f"training.output_dir={tmp_path}/parts")
    whole, parts = (tmp_path / name / "final" for name in ("whole", "parts"))
    weights = Path("adapter", "adapter_model.safetensors")
    assert (whole / weights).read_bytes() == (parts / weights).read_bytes()
    tuned = ["--model", experts, "--adapter", whole]
    capsys.readouterr()
    run("inspect", config, "--json")
    assert json.loads(capsys.readouterr().out)["memory"]["activations"] > 0
    few = ["--max-new-tokens", "4"]
    run("predict", *tuned, "--data", data, "--out", tmp_path / "pred.jsonl", "--limit", "1", *few)
    out = tmp_path / "merged"
    run("export", *tuned, "--out", out, "--dtype", "float32", "--check", "2", "--data", data, *few)
    tuned_logits, base, merged = (
        logits_of(each)
        for each in (
            load_adapter(load_model(plain(experts), CPU, for_generation=True), whole / "adapter").get_base_model(),
            load_model(plain(experts), CPU, for_generation=True),
            load_model(plain(out), CPU, for_generation=True),
        )
    )
    assert share_apart(tuned_logits, base) > 1e-4
    assert share_apart(tuned_logits, merged) < 1e-5


def test_experts_are_not_put_into_4_bits(experts: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"model\.quantization must be none for .*, a mixture of experts, not nf4: .* Set"
    ):
        check_source(ModelConfig(str(experts), quantization="nf4"))
