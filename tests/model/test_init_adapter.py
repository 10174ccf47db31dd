"""The adapter that training begins with: every bit of it, or folded into the model as an export would write it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from dcap.core.config import build, to_tree
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.manifest import seal
from dcap.model.config import InitAdapter, ModelConfig
from dcap.model.fingerprint import weights_digest
from dcap.model.init_adapter import continue_adapter, find_init_adapter, load_trained
from dcap.model.load import load_exact, load_model
from dcap.model.lora import attach, load_adapter
from dcap.model.merge import merge_adapter
from support.tuned import CPU, KINDS, write_half, write_tuned


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory, micro_folder: Path) -> Path:
    return write_tuned(tmp_path_factory.mktemp("run") / "final", micro_folder, KINDS["lora"])


def config(base: Path, final: Path, merge: bool = False, **changes: Any) -> ModelConfig:
    tree = {"name_or_path": str(base), "dtype": "float32", "freeze_vit": False, "adapter": {"rank": 4}}
    return build(ModelConfig, {**tree, "init_adapter": {"path": str(final), "merge": merge}, **changes})


def test_a_path_alone_is_an_adapter_to_go_on_with(tmp_path: Path) -> None:
    short = build(ModelConfig, {"name_or_path": "m", "init_adapter": "runs/stage1/final"})
    assert short.init_adapter == InitAdapter("runs/stage1/final", merge=False)
    assert build(ModelConfig, to_tree(short)) == short
    with pytest.raises(ConfigError, match=r"init_adapter\.path must be given"):
        build(ModelConfig, {"name_or_path": "m", "init_adapter": {"merge": True}})
    with pytest.raises(ConfigError, match=r"init_adapter\.merge must be true with adapter\.type full"):
        build(ModelConfig, {"name_or_path": "m", "init_adapter": "x", "adapter": {"type": "full"}})


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_every_bit(micro_folder: Path, tmp_path: Path, kind: str) -> None:
    final = write_tuned(tmp_path / "final", micro_folder, KINDS[kind])
    given = config(micro_folder, final, adapter=to_tree(KINDS[kind]))
    saved = find_init_adapter(given)
    bare = load_trained(given, CPU, saved)
    digest = weights_digest(bare)
    model = attach(bare, given)
    continue_adapter(model, digest, given, saved)
    weights = load_file(final / "adapter" / "adapter_model.safetensors")
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    assert set(state) == set(weights)
    assert all(torch.equal(state[name], value) for name, value in weights.items())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == len(weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folded_model_is_the_merged_one_ready_to_train(micro_folder: Path, final: Path, dtype: str) -> None:
    given = config(micro_folder, final, merge=True, dtype=dtype, adapter={"rank": 2})
    saved = find_init_adapter(given)
    model = load_trained(given, CPU, saved)
    bare = load_exact(given)
    merged, _ = merge_adapter(load_adapter(bare, final / "adapter"), getattr(torch, dtype))
    expected = dict(merged.named_parameters())
    assert all(torch.equal(value, expected[name]) for name, value in model.named_parameters())
    assert model.config.text_config.use_cache is False
    assert model.config.text_config._attn_implementation == "dcap_segments"
    tuned = attach(model, given)
    # Plain PEFT must not find the model without the first adapter, and give wrong answers.
    base = tuned.peft_config["default"].base_model_name_or_path
    assert base == f"{micro_folder.resolve()} + {final.resolve()}"
    continue_adapter(tuned, "", given, saved)  # nothing to go on with
    assert all(not value.any() for name, value in tuned.named_parameters() if "lora_B" in name)


def test_modules_trained_in_full_are_folded_in_as_they_were_saved(micro_folder: Path, tmp_path: Path) -> None:
    base = write_half(tmp_path / "base", micro_folder)
    final = write_tuned(tmp_path / "final", base, KINDS["modules_to_save"])
    given = config(base, final, merge=True)
    state = load_trained(given, CPU, find_init_adapter(given)).state_dict()
    saved = load_file(final / "adapter" / "adapter_model.safetensors")
    trained = {name.removeprefix("base_model.model."): v for name, v in saved.items() if "lora_" not in name}
    assert len(trained) > 1
    assert all(torch.equal(state[name], value) for name, value in trained.items())


@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_that_is_not_finite_is_refused(micro_folder: Path, tmp_path: Path, merge: bool) -> None:
    final = write_tuned(tmp_path / "final", micro_folder, KINDS["lora"])
    path = final / "adapter" / "adapter_model.safetensors"
    weights = load_file(path)
    weights[sorted(weights)[0]][0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    (final / "final.json").unlink()
    given = config(micro_folder, final, merge)
    saved = find_init_adapter(given)

    def begin() -> None:
        bare = load_trained(given, CPU, saved)
        digest = weights_digest(bare)
        continue_adapter(attach(bare, given), digest, given, saved)

    with pytest.raises(ConfigError, match="must hold finite weights"):
        begin()


@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_of_another_base_is_refused(micro_folder: Path, final: Path, tmp_path: Path, merge: bool) -> None:
    shutil.copytree(final, tmp_path / "final")
    (tmp_path / "final" / "final.json").write_text(json.dumps({"base_digest": "ab" * 32}))
    seal(tmp_path / "final", "final.json")
    given = config(micro_folder, tmp_path / "final", merge)
    saved = find_init_adapter(given)
    with pytest.raises(ConfigError, match=r"model\.name_or_path .* must hold the weights that .* digest abababababab"):
        continue_adapter(None, weights_digest(load_trained(given, CPU, saved)), given, saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"adapter": {"rank": 8}},
            r"model\.adapter\.rank must be 4, that of model\.init_adapter .*, not 8.*=true",
        ),
        ({"adapter": {"rank": 4, "alpha": 8}}, r"model\.adapter\.alpha must be 32, .*, not 8"),
        ({"adapter": {"rank": 4, "type": "dora"}}, r"model\.adapter\.type must be lora, .*, not dora"),
    ],
)
def test_other_settings_are_named_before_a_model_is_loaded(
    micro_folder: Path, final: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_init_adapter(config(micro_folder, final, **changes))
    assert find_init_adapter(config(micro_folder, final, merge=True, **changes)) is not None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rank_pattern": {"q_proj": 8}}, r'rank_pattern \{"q_proj": 8\}'),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern"),
        ({"use_dora": True, "use_rslora": True}, "use_rslora true"),
        ({"init_lora_weights": "eva"}, 'init_lora_weights "eva"'),
        ({"bias": "all"}, 'bias "all"'),
    ],
)
def test_an_adapter_of_another_form_is_not_trained_further(
    micro_folder: Path, final: Path, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    shutil.copytree(final / "adapter", tmp_path / "alone")
    path = tmp_path / "alone" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    kind = {"rank": 4, "type": "dora" if "use_dora" in settings else "lora"}
    with pytest.raises(ConfigError, match=rf"to go on training it, and .*alone has {says}.*merge=true"):
        find_init_adapter(config(micro_folder, tmp_path / "alone", adapter=kind))
    assert find_init_adapter(config(micro_folder, tmp_path / "alone", merge=True)) is not None


def test_other_modules_are_named(micro_folder: Path, final: Path) -> None:
    given = config(micro_folder, final, freeze_vit=True)
    saved = find_init_adapter(given)
    bare = load_model(given, CPU)
    digest = weights_digest(bare)
    with pytest.raises(ConfigError, match=r"model\.init_adapter .* but .*visual\.blocks.* is on one side only\. Adapt"):
        continue_adapter(attach(bare, given), digest, given, saved)


def test_what_is_no_adapter_is_named(micro_folder: Path, final: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.init_adapter\.path must be a folder with adapter_config\.json"):
        find_init_adapter(config(micro_folder, tmp_path))
    shutil.copytree(final, tmp_path / "final")
    path = tmp_path / "final" / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="must be whole"):
        find_init_adapter(config(micro_folder, tmp_path / "final"))
    assert find_init_adapter(ModelConfig(str(micro_folder))) is None
