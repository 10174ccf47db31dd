"""``answer_profile.json``: what is saved is what is loaded, and nothing else is accepted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.profile import FILE_NAME, AnswerProfile, load_profile, save_profile
from dcap.answers.prompts import PromptConfig
from dcap.core.config import build
from dcap.core.errors import CheckpointError, ConfigError
from dcap.data.config import DataConfig, MixtureEntry, TilesConfig, resolve_profile
from dcap.geometry.tiling import Tiling

CONFIG = DataConfig(
    mode="mixed",
    answer=AnswerProfile(
        format="qwen", emit_norm="norm100", object_order="xy", max_polygon_points=24, min_pixels=4096,
        prefix="{num_objects} 个\n", point_order="canonical",
        max_pixels=1 << 19, prompts=PromptConfig(name="zh", dense="file:dense.txt", system="你好"),
    ),
)  # fmt: skip


def test_it_comes_back_and_needs_no_prompt_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dense.txt").write_text("列出所有目标", "utf-8")
    profile = resolve_profile(CONFIG)
    (tmp_path / "dense.txt").unlink()
    path = save_profile(tmp_path, profile)
    assert path == tmp_path / FILE_NAME
    assert load_profile(tmp_path) == profile
    assert (profile.prompts.system, profile.prompts.dense, profile.mode) == ("你好", "列出所有目标", "mixed")
    assert profile.answer == CONFIG.answer
    assert "列出所有目标" in path.read_text("utf-8")


def test_it_says_how_large_images_were_cut(tmp_path: Path) -> None:
    config = DataConfig(tiles=TilesConfig(512, 0.1), mixture=(MixtureEntry("air", train="a.jsonl"),))
    save_profile(tmp_path, resolve_profile(config))
    assert load_profile(tmp_path).tiles == load_profile(tmp_path).of_dataset("air").tiles == Tiling(512, 0.1)


def test_saving_again_replaces_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save_profile(tmp_path, resolve_profile(DataConfig()))
    save_profile(tmp_path, resolve_profile(DataConfig(mode="summary")))
    assert load_profile(tmp_path).mode == "summary"
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(save_profile(tmp_path, resolve_profile(DataConfig())).read_text())
    return result


def changed(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    tree = json.loads(json.dumps(tree))
    *sections, key = path.split(".")
    node = tree
    for section in sections:
        node = node[section]
    if value is ...:
        del node[key]
    else:
        node[key] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", 2, "version must be 1, not 2. Use the dcap that wrote it"),
        ("version", ..., "version must be 1, not null"),
        ("answer.emit_norm", "norm10", 'answer.emit_norm must be one of "norm1000", "norm100", "none", not "norm10"'),
        ("answer.emit_nrom", "none", "answer.emit_nrom is not a field of answer; did you mean emit_norm"),
        ("answer.max_pixels", "many", "answer.max_pixels must be an integer"),
        ("answer.prefix", "{count}", "prefix must have no fields but {num_objects}"),
        ("answer.object_order", "yx", 'answer.object_order must be one of "reading", "record", "xy", "center"'),
        ("answer.min_pixels", 1, "min_pixels must be within"),
        ("prompts", ..., "prompts must be given"),
        ("prompts.dense", ..., "prompts.dense must be given"),
        ("prompts.dense", 5, "prompts.dense must be a string"),
        ("mode", "both", "mode must be one of"),
        ("tiles", {"size": 32}, "tiles.size must be a whole number of at least 64 pixels, not 32"),
    ],
)
def test_a_wrong_field_is_an_error_with_a_way_out(
    tmp_path: Path, tree: dict[str, Any], path: str, value: Any, message: str
) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps(changed(tree, path, value)))
    with pytest.raises(CheckpointError) as caught:
        load_profile(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / FILE_NAME}: ")
    assert message in str(caught.value)
    assert "Use the dcap that wrote it" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b" " * (1 << 21)])
def test_a_torn_file_is_an_error_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"answer profile must be .*Restore it from the run"):
        load_profile(tmp_path)


def test_a_missing_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"answer profile must exist. It is beside the weights: name the folder"):
        load_profile(tmp_path)


def test_a_profile_from_before_a_field_has_its_default(tmp_path: Path, tree: dict[str, Any]) -> None:
    for name in ("answer.prefix", "answer.point_order", "tiles"):
        tree = changed(tree, name, ...)
    (tmp_path / FILE_NAME).write_text(json.dumps(tree))
    assert load_profile(tmp_path) == resolve_profile(DataConfig())


def mixture(*entries: dict[str, Any]) -> DataConfig:
    return build(DataConfig, {"mixture": [{"train": "x.jsonl", **entry} for entry in entries]}, "data")


def test_data_sets_of_a_mixture_keep_what_they_were_asked(tmp_path: Path) -> None:
    own = {"name": "towers", "prompts": {"dense": "Parts?"}, "answer": {"format": "qwen"}, "mode": "mixed"}
    profile = resolve_profile(mixture(own, {"name": "plain"}))
    save_profile(tmp_path, profile)
    loaded = load_profile(tmp_path)
    assert loaded == profile
    towers = loaded.of_dataset("towers")
    assert (towers.prompts.dense, towers.answer.format, towers.mode) == ("Parts?", "qwen", "mixed")
    assert loaded.of_dataset("plain").prompts == loaded.prompts
    with pytest.raises(ConfigError, match=r"data set must be one of the mixture .* not 'tower'; did you mean towers\?"):
        loaded.of_dataset("tower")
    with pytest.raises(ConfigError, match="the model was not trained on a mixture"):
        towers.of_dataset("towers")


def test_a_profile_that_no_data_set_was_trained_with_is_told_apart() -> None:
    own = {"name": "towers", "prompts": {"dense": "Parts?"}}
    assert not resolve_profile(mixture(own)).is_trained
    assert resolve_profile(mixture(own, {"name": "plain"})).is_trained
    assert resolve_profile(DataConfig(train="x.jsonl")).is_trained


def test_the_range_of_sixteen_bit_images_is_saved_for_all_data_sets(tmp_path: Path) -> None:
    config = replace(mixture({"name": "a", "train": "a.jsonl"}), sixteen_bit="percentile")
    save_profile(tmp_path, resolve_profile(config))
    loaded = load_profile(tmp_path)
    assert loaded.sixteen_bit == loaded.of_dataset("a").sixteen_bit == "percentile"
    tree = json.loads((tmp_path / FILE_NAME).read_text())
    del tree["sixteen_bit"]
    (tmp_path / FILE_NAME).write_text(json.dumps(tree))
    assert load_profile(tmp_path).sixteen_bit == "full", "an older profile decodes as before"
