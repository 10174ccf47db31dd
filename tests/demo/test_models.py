from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from transformers import AutoConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap.data.encode import load_tokenizer
from dcap.demo import models as small_models
from dcap.demo.models import ModelSize, base_name, build_micro, resolve_model


@pytest.fixture(params=["tiny_folder", "micro_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def test_folder_has_the_published_layout(folder: Path) -> None:
    assert AutoConfig.from_pretrained(folder).model_type == "qwen3_vl"
    assert Qwen2VLImageProcessorPil.from_pretrained(folder).patch_size == 16
    images = json.loads((folder / "preprocessor_config.json").read_text())
    assert images["processor_class"] == "Qwen3VLProcessor"
    texts = json.loads((folder / "tokenizer_config.json").read_text())
    assert texts["tokenizer_class"] == "Qwen2Tokenizer"
    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert "model.language_model.embed_tokens.weight" in names
    assert "model.visual.deepstack_merger_list.2.linear_fc1.weight" in names
    assert "lm_head.weight" not in names, "the head is tied to the embedding"


def test_settings_name_the_tokens_of_the_tokenizer(folder: Path) -> None:
    id_of = load_tokenizer(str(folder)).convert_tokens_to_ids
    config = AutoConfig.from_pretrained(folder)
    for name in ("image", "video"):
        assert getattr(config, f"{name}_token_id") == id_of(f"<|{name}_pad|>")
    for name in ("start", "end"):
        assert getattr(config, f"vision_{name}_token_id") == id_of(f"<|vision_{name}|>")
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [id_of("<|im_end|>"), id_of("<|endoftext|>")]


def test_micro_is_small(micro_folder: Path) -> None:
    assert (micro_folder / "model.safetensors").stat().st_size < 4 * 1_500_000


def test_names_that_mean_the_same_everywhere_are_kept(micro_folder: Path) -> None:
    for name in ("builtin:micro", "builtin:tiny", "Qwen/Qwen3-VL-4B-Instruct"):
        assert base_name(name) == name
    assert base_name(str(micro_folder)) == str(micro_folder.resolve())


def test_other_names_are_left_alone(tmp_path: Path) -> None:
    assert resolve_model("Qwen/Qwen3-VL-4B-Instruct") == "Qwen/Qwen3-VL-4B-Instruct"
    assert resolve_model(str(tmp_path)) == str(tmp_path)


def test_seed_and_size_are_followed(tmp_path: Path) -> None:
    small = ModelSize(hidden_size=32, num_layers=2, vision_hidden_size=16, num_deepstack=1)
    same = [build_micro(tmp_path / str(i), seed=3, size=small) / "model.safetensors" for i in range(2)]
    other = build_micro(tmp_path / "other", seed=4, size=small) / "model.safetensors"
    assert same[0].read_bytes() == same[1].read_bytes() != other.read_bytes()
    config = AutoConfig.from_pretrained(tmp_path / "other")
    assert (config.text_config.hidden_size, config.vision_config.depth) == (32, 2)


@pytest.mark.parametrize(
    ("head_dim", "heads", "sections"), [(16, 4, [4, 2, 2]), (32, 2, [6, 5, 5]), (64, 1, [12, 10, 10])]
)
def test_heads_may_be_wider(head_dim: int, heads: int, sections: list[int]) -> None:
    """Servers take no heads of 16."""
    text = small_models._config(ModelSize(head_dim=head_dim), 9, lambda token: 0).text_config
    assert (text.head_dim, text.num_attention_heads) == (head_dim, heads)
    assert text.rope_parameters["mrope_section"] == sections


def _fake_build(folder: Path) -> Path:
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def _resolve(cache: str, barrier: Any, out: Any) -> None:
    import os

    os.environ["XDG_CACHE_HOME"] = cache
    small_models.build_micro = _fake_build  # type: ignore[assignment]
    barrier.wait()
    out.put(resolve_model("builtin:micro"))


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_two_processes_at_once_agree(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, out = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_resolve, args=(str(tmp_path), barrier, out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    folders = {out.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(folders) == 1
    (folder,) = map(Path, folders)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert list(folder.parent.iterdir()) == [folder], "no scratch folder is left"
