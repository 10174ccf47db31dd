"""An adapter that the trainer saved: it changes what is generated, and what does not fit is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dcap.core.errors import ConfigError
from dcap.data.encode import Encoder, grid_thw, patchify
from dcap.geometry.canvas import Canvas
from dcap.model import adapter_patterns
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.generation import Generator, Prompt
from dcap.model.load import load_model
from dcap.model.lora import attach, bare_model, load_adapter
from dcap.model.saved_adapter import find_adapter

Load = Callable[[], Any]


@pytest.fixture
def config(micro_folder: Path) -> ModelConfig:
    return ModelConfig(str(micro_folder), dtype="float32", adapter=AdapterConfig(rank=4))


@pytest.fixture
def load(config: ModelConfig) -> Load:
    return lambda: load_model(config, torch.device("cpu"), for_generation=True)


@pytest.fixture
def adapter(config: ModelConfig, load: Load, tmp_path: Path) -> Path:
    """Folder of an adapter that changes the model, as the trainer saves it."""
    adapted = attach(load(), config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    adapted.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    return tmp_path / "adapter"


def answer(model: Any, tokenizer: Any) -> str:
    canvas = Canvas(64, 64)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    prompt = Prompt(Encoder(tokenizer).prompt_ids(None, "what?", canvas), patchify(image), grid_thw(canvas))
    return Generator(model, tokenizer, 10).generate([prompt])[0].text


def test_adapter_changes_what_is_generated(load: Load, adapter: Path, generator: Any) -> None:
    plain = load()
    before = answer(plain, generator.tokenizer)
    adapted = bare_model(load_adapter(plain, adapter))
    assert type(adapted).__name__ == "Qwen3VLForConditionalGeneration"
    assert answer(adapted.eval(), generator.tokenizer) != before


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_weight_without_a_place_or_place_without_a_weight_is_an_error(load: Load, adapter: Path, change: str) -> None:
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    tensor = weights.pop(name) if change == "missing" else weights[name]
    if change == "surplus":
        weights[name.replace("layers.0", "layers.99").replace("blocks.0", "blocks.99")] = tensor.clone()
        assert len(weights) > len(load_file(path))
    save_file(weights, path)
    says = "is not in the file" if change == "missing" else "has no place in the model"
    with pytest.raises(ConfigError, match=says):
        load_adapter(load(), adapter)


def test_adapter_of_another_size_is_an_error(load: Load, adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    weights = {name: torch.cat([tensor, tensor]) for name, tensor in load_file(path).items()}
    save_file(weights, path)
    with pytest.raises(ConfigError, match=r"must fit the model: size mismatch for base_model\."):
        load_adapter(load(), adapter)


def changed(adapter: Path, **settings: Any) -> Path:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return adapter


HOSTILE = "(x+x+)+y|(([a-z_.0-9])+)+!"


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": HOSTILE},
        {"exclude_modules": HOSTILE},
        {"modules_to_save": [HOSTILE]},
        {"rank_pattern": {HOSTILE: 2}},
        {"alpha_pattern": {HOSTILE: 2}},
        {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": HOSTILE},
    ],
)
def test_an_expression_without_an_end_is_refused(
    load: Load, adapter: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_patterns, "MOST_SECONDS", 0.5)
    with pytest.raises(ConfigError, match=r"matched within 0\.5 seconds.* Write the names as a list"):
        load_adapter(load(), changed(adapter, **settings))


@pytest.mark.parametrize("expression", ["(", "a{99999999999}"])
def test_a_wrong_expression_is_named_by_peft(load: Load, adapter: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match="must fit the model"):
        load_adapter(load(), changed(adapter, target_modules=expression))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"r": 10**9}, "r is 1000000000, and the largest rank of its weights 4"),
        ({"r": 10**9, "rank_pattern": {"q_proj": 4}}, "r is 1000000000,"),
        ({"rank_pattern": {"q_proj": 10**9}}, r"rank_pattern\.q_proj is 1000000000, and the largest rank"),
    ],
)
def test_a_huge_rank_is_refused_before_room_is_made_for_it(
    load: Load, adapter: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load_adapter(load(), changed(adapter, **settings))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((), r"lora_A\.weight must be a matrix, not of shape \[\]"),
        ((0, 8), r"not of shape \[0, 8\]"),
        (None, "no weight of"),
    ],
)
def test_weights_that_have_no_rank_are_refused_before_room_is_made(
    load: Load, adapter: Path, shape: tuple[int, ...] | None, says: str
) -> None:
    path = adapter / "adapter_model.safetensors"
    weights = {"other": torch.ones(1)}
    if shape is not None:
        weights = load_file(path)
        weights[next(name for name in sorted(weights) if ".lora_A." in name)] = torch.ones(shape)
    save_file(weights, path)
    with pytest.raises(ConfigError, match=rf"must fit the model: .*{says}"):
        load_adapter(load(), changed(adapter, r=10**9))


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(load: Load, adapter: Path, kind: torch.dtype) -> None:
    path = adapter / "adapter_model.safetensors"
    save_file({name: weight.to(kind) for name, weight in load_file(path).items()}, path)
    with pytest.raises(ConfigError, match=r"must hold weights of a type F64, F32, F16, BF16, and .* is (I64|BOOL|C64)"):
        load_adapter(load(), adapter)


def test_what_peft_does_not_find_is_named(load: Load, adapter: Path) -> None:
    with pytest.raises(ConfigError, match=r"must fit the model: PEFT finds no ODD$"):
        load_adapter(load(), changed(adapter, peft_type="ODD"))


def test_ranks_by_pattern_are_loaded(load: Load, adapter: Path) -> None:
    """A common rank that no module has is fine."""
    load_adapter(load(), changed(adapter, r=16, rank_pattern={r".*": 4}))


def test_torn_weights_are_an_error(load: Load, adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match="must fit the model"):
        load_adapter(load(), adapter)


SETTINGS = {"peft_type": "LORA", "r": 4, "rank_pattern": {"merger": 9}, "modules_to_save": ["merger"]}


@pytest.mark.parametrize(
    ("change", "kind"),
    [({}, "lora"), ({"use_rslora": True}, "rslora"), ({"use_dora": True, "use_rslora": True}, "dora"),
     ({"peft_type": "IA3"}, "ia3")],
)  # fmt: skip
def test_an_adapter_describes_itself(tmp_path: Path, change: dict[str, Any], kind: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(SETTINGS | change))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    saved = find_adapter(tmp_path)
    assert (saved.kind, saved.rank, saved.modules_to_save, saved.base) == (kind, 9, ("merger",), None)
    assert saved.digest() == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be JSON"),
        ('{"r": "\xff"}'.encode("latin-1"), "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[1]", r"must be a JSON object, not \[1\]"),
        ({"r": "4"}, 'r must be an integer, not "4"'),
        ({"rank_pattern": [1]}, "rank_pattern must be "),
        ({"rank_pattern": {"merger": "x"}}, "rank_pattern.merger must be an integer"),
        ({"lora_alpha": "x"}, "lora_alpha must be a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be "),
        ({"lora_dropout": "x"}, 'lora_dropout must be a number, not "x"'),
        ({"modules_to_save": 5}, "modules_to_save must be "),
        ({"target_modules": [1]}, r"target_modules.* must be "),
        ({"peft_type": ["LORA"]}, "peft_type must be "),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path must be "),
    ],
)
def test_damaged_settings_are_named(tmp_path: Path, text: str | bytes | dict[str, Any], says: str) -> None:
    text = json.dumps(SETTINGS | text) if isinstance(text, dict) else text
    (tmp_path / "adapter_config.json").write_bytes(text.encode() if isinstance(text, str) else text)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConfigError, match=rf"adapter_config\.json: (.|\n)*{says}(.|\n)*Restore the file"):
        find_adapter(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "pissa_niter_4"}, 'not "pissa_niter_4"'),
        ({"init_lora_weights": "olora"}, "init_lora_weights must leave the model as it is"),
        ({"init_lora_weights": ["loftq"]}, "init_lora_weights must leave the model as it is"),
        ({"alora_invocation_tokens": [1, 2]}, r"alora_invocation_tokens must be null, not \[1, 2\]"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer_replication must be null"),
        ({"r": None}, "r must be the rank of the adapter, not null"),
        ({"lora_alpha": -1e300}, r"lora_alpha must be at most 1e\+06, not -1e\+300"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(SETTINGS | change))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConfigError, match=rf"adapter_config\.json: .*{says}"):
        find_adapter(tmp_path)


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal"])
def test_an_adapter_is_taken_however_it_began(tmp_path: Path, start: bool | str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(SETTINGS | {"init_lora_weights": start}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    assert find_adapter(tmp_path).settings["init_lora_weights"] == start


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_that_is_not_finite_is_refused(load: Load, adapter: Path, value: float) -> None:
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[1]
    weights[name][0, 0] = value
    save_file(weights, path)
    with pytest.raises(ConfigError, match=f"must hold finite weights, and {name} does not"):
        load_adapter(load(), adapter)


@pytest.mark.parametrize("change", [{"target_modules": "(("}, {"layers_to_transform": "a"}])
def test_settings_that_peft_cannot_use_are_an_error(load: Load, adapter: Path, change: dict[str, Any]) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": ["q_proj"]} | change))
    with pytest.raises(ConfigError, match="must fit the model"):
        load_adapter(load(), adapter)


def test_the_name_of_the_field_is_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"^model.init_adapter must be a folder with .* as model\.name_or_path\."):
        find_adapter(tmp_path, "model.init_adapter")
