"""Finding model, adapter and profile, and the digests that tell them from others."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pytest

from dcap.answers.profile import FILE_NAME, AnswerProfile, save_profile
from dcap.core.config import build
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.manifest import seal
from dcap.data.config import DataConfig, resolve_profile
from dcap.infer.source import digest_folder, find_source, tuned_source

PROFILE = dataclasses.replace(resolve_profile(DataConfig()), answer=AnswerProfile(format="qwen", emit_norm="norm100"))


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_vl"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def make_adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"adapter")
    return folder


def test_folder_of_the_trainer_holds_adapter_and_profile(tmp_path: Path) -> None:
    model, adapter = make_model(tmp_path / "base"), make_adapter(tmp_path / "final" / "adapter")
    save_profile(tmp_path / "final", PROFILE)
    for given in (tmp_path / "final", adapter):
        source = find_source(str(model), given)
        assert (source.model, source.adapter, source.profile) == (str(model), adapter, PROFILE)


def test_profile_in_the_adapter_folder_itself(tmp_path: Path) -> None:
    model, adapter = make_model(tmp_path / "base"), make_adapter(tmp_path / "exported")
    save_profile(adapter, PROFILE)
    assert find_source(str(model), adapter).profile == PROFILE


def test_model_tuned_in_full_is_found_with_its_profile(tmp_path: Path) -> None:
    inner = make_model(tmp_path / "final" / "model")
    save_profile(tmp_path / "final", PROFILE)
    for given in (tmp_path / "final", inner):
        source = find_source(str(given), None)
        assert (source.model, source.adapter, source.profile) == (str(inner), None, PROFILE)


def test_profile_of_the_adapter_wins_over_that_of_the_model(tmp_path: Path) -> None:
    model, adapter = make_model(tmp_path / "base"), make_adapter(tmp_path / "adapter")
    save_profile(model, resolve_profile(DataConfig()))
    save_profile(adapter, PROFILE)
    assert find_source(str(model), adapter).profile == PROFILE


def test_without_a_profile_the_defaults_are_used_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # dcap's own set-up, run by another test of the same process, keeps its log from the root logger.
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    with caplog.at_level("INFO", logger="dcap"):
        source = find_source(str(make_model(tmp_path / "base")), None)
    assert source.profile == resolve_profile(DataConfig())
    assert "default answer profile" in caplog.text


def test_torn_profile_is_an_error_and_no_default(tmp_path: Path) -> None:
    model = make_model(tmp_path / "base")
    (model / "answer_profile.json").write_text('{"version": 1, "answ')
    with pytest.raises(CheckpointError, match="answer profile must be JSON"):
        find_source(str(model), None)


def test_hub_id_is_passed_on() -> None:
    assert find_source("Qwen/Qwen3-VL-4B-Instruct", None).model == "Qwen/Qwen3-VL-4B-Instruct"


def test_wrong_folders_name_the_way_out(tmp_path: Path) -> None:
    model = make_model(tmp_path / "final_full" / "model")
    make_adapter(tmp_path / "final_lora" / "adapter")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"--model must be a folder with config\.json.*Give it as --adapter"):
        find_source(str(tmp_path / "final_lora"), None)
    with pytest.raises(ConfigError, match=r"--adapter must be .*give it as --model"):
        find_source(str(model), tmp_path / "final_full")
    with pytest.raises(ConfigError, match=r"--adapter must be a folder with adapter_config\.json"):
        find_source(str(model), tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"--adapter must be a folder"):
        find_source(str(model), tmp_path / "missing")


def test_pickled_adapter_is_refused(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ConfigError, match=r"must hold adapter_model\.safetensors"):
        find_source(str(make_model(tmp_path / "base")), adapter)


@pytest.mark.parametrize(("base", "said"), [("runs/stage1/final", True), (None, False), ("", False)])
def test_adapter_of_another_model_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, base: str | None, said: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    model, adapter = make_model(tmp_path / "base"), make_adapter(tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    find_source(str(model), adapter)
    assert (f"was trained on {base}, and --model is {model}" in caplog.text) is said
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    caplog.clear()
    find_source(str(model), adapter)
    assert "was trained on" not in caplog.text


@pytest.mark.parametrize("damaged", ["adapter/adapter_model.safetensors", "adapter/adapter_config.json", FILE_NAME])
def test_a_damaged_file_of_a_run_is_named_with_a_way_out(tmp_path: Path, damaged: str) -> None:
    model, final = make_model(tmp_path / "base"), tmp_path / "final"
    make_adapter(final / "adapter")
    save_profile(final, PROFILE)
    (final / "final.json").write_text('{"base_digest": "abc"}')
    seal(final, "final.json")
    assert find_source(str(model), final).base_digest == "abc"
    path = final / damaged
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(CheckpointError, match=rf"the bytes of {damaged} must .*on purpose, delete .*final\.json"):
        find_source(str(model), final)


def test_fingerprint_sees_weights_configs_and_profile(tmp_path: Path) -> None:
    model, adapter = make_model(tmp_path / "base"), make_adapter(tmp_path / "adapter")
    first = find_source(str(model), adapter).fingerprint()
    assert find_source(str(model), adapter).fingerprint() == first
    json.dumps(first)
    (adapter / "adapter_model.safetensors").write_bytes(b"ADAPTER")
    second = find_source(str(model), adapter).fingerprint()
    assert second["adapter"] != first["adapter"]
    assert second["model"] == first["model"]
    save_profile(adapter, PROFILE)
    assert find_source(str(model), adapter).fingerprint()["profile"] != first["profile"]


@pytest.mark.parametrize("place", [0, 100, -1])
def test_digest_of_large_weights_sees_both_ends(tmp_path: Path, place: int) -> None:
    model = make_model(tmp_path / "base")
    data = bytearray(5000)
    (model / "model.safetensors").write_bytes(data)
    before = digest_folder(model, end_bytes=1000)
    data[place] = 1
    (model / "model.safetensors").write_bytes(data)
    assert digest_folder(model, end_bytes=1000) != before


def test_a_data_set_of_a_mixture_is_asked_as_in_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    model, adapter = make_model(tmp_path / "base"), make_adapter(tmp_path / "final" / "adapter")
    entry = {"name": "towers", "train": "x.jsonl", "prompts": {"dense": "Parts?"}}
    save_profile(tmp_path / "final", resolve_profile(build(DataConfig, {"mixture": [entry]})))
    assert find_source(str(model), adapter, "towers").profile.prompts.dense == "Parts?"
    assert not caplog.records
    tuned_source(str(model), tmp_path / "final")
    assert not caplog.records, "an export keeps the profiles of all data sets"
    find_source(str(model), adapter)
    assert "give --dataset, one of towers" in caplog.text
    with pytest.raises(ConfigError, match="not 'poles'"):
        find_source(str(model), adapter, "poles")
