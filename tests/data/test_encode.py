from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel
from transformers.processing_utils import ProcessorMixin

from dcap.answers.formats import PartKind
from dcap.augment.rendering import resize_for_model
from dcap.core.errors import ConfigError, GeometryError
from dcap.data.encode import (
    Encoder,
    grid_thw,
    load_tokenizer,
    mrope_positions,
    num_image_tokens,
    patchify,
    token_bytes,
    token_of_bytes,
)
from dcap.data.tokens import TokenKind
from dcap.geometry import Canvas

PROCESSOR = Qwen2VLImageProcessorPil(
    size={"shortest_edge": 65536, "longest_edge": 16777216},
    patch_size=16,
    temporal_patch_size=2,
    merge_size=2,
    image_mean=[0.5] * 3,
    image_std=[0.5] * 3,
)


@pytest.fixture(scope="module", params=["tiny_folder", "micro_folder"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """The vocabulary of Qwen3-VL, and the one of bytes."""
    return load_tokenizer(str(request.getfixturevalue(request.param)))


def messages(system: str | None, user: str, image: bool) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "image"}] if image else []
    talk: list[dict[str, Any]] = [{"role": "user", "content": [*parts, {"type": "text", "text": user}]}]
    return ([{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []) + talk


@pytest.mark.parametrize("system", [None, "You label images."])
@pytest.mark.parametrize("user", ["Describe.", "  Liste:\n- 框\n- line ", "{braces} <b>"])
@pytest.mark.parametrize("canvas", [Canvas(64, 96), Canvas(256, 256), None])
def test_prompt_equals_the_whole_text_tokenised_at_once(
    tokenizer: Any, system: str | None, user: str, canvas: Canvas | None
) -> None:
    text = tokenizer.apply_chat_template(
        messages(system, user, canvas is not None), tokenize=False, add_generation_prompt=True
    )
    if canvas is not None:
        text = text.replace("<|image_pad|>", "<|image_pad|>" * num_image_tokens(canvas))
    want = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert Encoder(tokenizer).prompt_ids(system, user, canvas).tolist() == want


class ImageOnlyProcessor(Qwen3VLProcessor):
    """The published processor without its video part, which would need torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        for name in ("image_token", "video_token"):
            setattr(self, f"{name}_id", tokenizer.convert_tokens_to_ids(getattr(self, name)))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


@pytest.mark.parametrize("system", [None, "You label images."])
def test_prompt_equals_the_processor_s_chat_template(tokenizer: Any, system: str | None) -> None:
    processor = ImageOnlyProcessor(PROCESSOR, tokenizer, tokenizer.chat_template)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8))
    talk = messages(system, "List the objects.", True)
    talk[-1]["content"][0] = {"type": "image", "image": image}
    options = {"tokenize": True, "return_dict": True, "return_tensors": "np", "add_generation_prompt": True}
    want = processor.apply_chat_template(talk, **options)
    canvas = Canvas(256, 320)
    assert Encoder(tokenizer).prompt_ids(system, "List the objects.", canvas).tolist() == want["input_ids"][0].tolist()
    assert np.abs(patchify(np.asarray(image)) - want["pixel_values"]).max() <= 1e-7


def test_answer_ends_with_im_end_and_control_tokens_stay_text(tokenizer: Any) -> None:
    text = '{"desc": "<|im_end|>\\n<|im_start|>assistant <|image_pad|> <think>"}'
    ids = Encoder(tokenizer).answer_ids(text)
    special = {tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|im_start|>", "<|image_pad|>", "<think>")}
    assert ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert not special & set(ids[:-1].tolist())
    assert tokenizer.decode(ids[:-1]) == text


@given(st.text())
@settings(deadline=None)
def test_answers_without_control_tokens_tokenise_as_always(tokenizer: Any, text: str) -> None:
    assume(not any(token in text for token in tokenizer.get_added_vocab()))
    want = tokenizer(text.lstrip("\n"), add_special_tokens=False)["input_ids"]
    assert Encoder(tokenizer).answer_ids(text)[:-1].tolist() == want


def test_a_leading_newline_cannot_merge_with_the_prompt(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer)
    assert encoder.answer_ids("\n\nA cat").tolist() == encoder.answer_ids("A cat").tolist()


def test_a_folder_without_a_tokenizer_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"model.name_or_path: no tokenizer could be loaded .* must have a tokenizer.json"
    ):
        load_tokenizer(str(tmp_path))


def changed(whole: Path, folder: Path, *without: str, **added: str) -> str:
    """A copy of a model's folder without some files, and with others; weights are left out."""
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors", *without))
    for name, text in added.items():
        (folder / f"{name}.json").write_text(text)
    return str(folder)


def test_a_template_in_chat_template_json_is_taken(tokenizer: Any, tmp_path: Path) -> None:
    text = json.dumps({"chat_template": tokenizer.chat_template})
    folder = changed(Path(tokenizer.name_or_path), tmp_path / "m", "chat_template.jinja", chat_template=text)
    again = Encoder(load_tokenizer(folder))
    assert again.prompt_ids(None, "x", None).tolist() == Encoder(tokenizer).prompt_ids(None, "x", None).tolist()


@pytest.mark.parametrize(
    ("without", "added", "message"),
    [
        ("chat_template.jinja", {}, "must have a chat template, in chat_template.jinja, chat_template.json or"),
        (
            "chat_template.jinja",
            {"chat_template": "[1]"},
            r"chat_template\.json must be a JSON object with a chat_templ",
        ),
        ("chat_template.jinja", {"chat_template": "{"}, r"chat_template\.json must be a JSON object with a chat_templ"),
        (
            "tokenizer.json",
            {},
            r"the tokenizer of Qwen3-VL, which has 151643 tokens .*, not 1\. .* a tokenizer\.json, or",
        ),
        ("none", {"tokenizer_config": "[]"}, "no tokenizer could be loaded from .* a config.json that is whole"),
        ("none", {"config": "[1]"}, "no tokenizer could be loaded from .* a config.json that is whole"),
        ("none", {"config": "[" * 100_000}, "no tokenizer could be loaded from .* a config.json that is whole"),
        (
            "none",
            {"config": '{"model_type": "qwen3_vl", "text_config": {"hidden_size": "x"}}'},
            "no tokenizer could be loaded from .*'hidden_size' expected int",
        ),
        ("none", {"tokenizer": '{"version": "1.0'}, "no tokenizer could be loaded from .* must have a tokenizer.json"),
    ],
)
def test_a_folder_that_lacks_something_says_so_in_one_line(
    micro_folder: Path, tmp_path: Path, without: str, added: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_tokenizer(changed(micro_folder, tmp_path / "m", without, **added))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("tiny_folder", 151_643), ("micro_folder", 256)])
def test_a_vocabulary_without_the_control_tokens_is_refused(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, size: int
) -> None:
    """They would get the next free numbers, in another order than the model knows them by."""
    whole = request.getfixturevalue(name)
    model = json.loads((whole / "tokenizer.json").read_text())["model"]
    folder = changed(whole, tmp_path / "m", "tokenizer.json", vocab=json.dumps(model["vocab"]))
    (Path(folder) / "merges.txt").write_text("\n".join(" ".join(pair) for pair in model["merges"]))
    with pytest.raises(ConfigError, match=rf"which has <\|endoftext\|> as token {size}, not {size + 1}"):
        load_tokenizer(folder)


def test_an_answer_is_not_inside_the_reasoning_that_a_template_opens(tokenizer: Any) -> None:
    thinking = copy.deepcopy(tokenizer)
    assistant = '"<|im_start|>assistant\\n"'
    assert assistant in tokenizer.chat_template
    thinking.chat_template = tokenizer.chat_template.replace(assistant, '"<|im_start|>assistant\\n<think>\\n"')
    plain, encoder = Encoder(tokenizer), Encoder(thinking)
    assert (plain.opens_reasoning, encoder.opens_reasoning) == (False, True)
    text = '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "a </think> b"}}'
    prompt, answer = encoder.prompt_ids(None, "List.", Canvas(64, 64)), encoder.answer_ids(text)
    assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n<think>\n"), "what any runtime asks"
    assert tokenizer.decode(answer) == f"\n</think>\n\n{text}<|im_end|>"
    assert (answer == tokenizer.convert_tokens_to_ids("</think>")).sum() == 1, "the caption's is text"
    assert answer[-len(plain.answer_ids(text)) :].tolist() == plain.answer_ids(text).tolist()
    assert encoder.num_answer_tokens(text) == len(answer)
    parts = [(text[:-16], PartKind.STRUCTURE), (text[-16:], PartKind.CAPTION)]
    kinds = encoder.answer_kinds(parts, answer)
    alone = plain.answer_ids(text)
    before = [TokenKind.STRUCTURE] * (len(answer) - len(alone))
    assert kinds.tolist() == before + plain.answer_kinds(parts, alone).tolist()


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_patches_equal_the_processor(rows: int, columns: int, seed: int) -> None:
    canvas = Canvas(rows * 32, columns * 32)
    image = np.random.default_rng(seed).integers(0, 256, (canvas.height, canvas.width, 3), dtype=np.uint8)
    want = PROCESSOR(Image.fromarray(image), do_resize=False, return_tensors="np")
    got = patchify(image)
    assert got.dtype == np.float32
    assert got.shape == want["pixel_values"].shape
    assert np.abs(got - want["pixel_values"]).max() <= 1e-7
    assert grid_thw(canvas) == tuple(want["image_grid_thw"][0].tolist())


def test_every_value_is_bit_equal_to_the_contract() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image.reshape(-1)[:256] = np.arange(256)
    values = np.unique(patchify(image))
    want = (np.arange(256, dtype=np.float32) - np.float32(127.5)) / np.float32(127.5)
    assert np.array_equal(values, want)


def test_resize_and_patches_equal_the_processor_end_to_end() -> None:
    image = np.random.default_rng(3).integers(0, 256, (300, 451, 3), dtype=np.uint8)
    want = PROCESSOR(Image.fromarray(image), return_tensors="np")
    _, rows, columns = want["image_grid_thw"][0].tolist()
    got = patchify(resize_for_model(image, Canvas(rows * 16, columns * 16)))
    assert np.abs(got - want["pixel_values"]).max() <= 1e-7


def test_patchify_refuses_what_does_not_fit() -> None:
    with pytest.raises(GeometryError, match=r"multiples of 32, not \(64, 40, 3\)"):
        patchify(np.zeros((64, 40, 3), np.uint8))


@given(st.lists(st.one_of(st.integers(1, 9), st.tuples(st.integers(1, 5), st.integers(1, 5))), min_size=1, max_size=6))
@settings(deadline=None)
def test_positions_equal_the_model(runs: list[Any]) -> None:
    """Text runs are integers, images are (rows, columns) of merged patches; neighbouring images are kept apart."""
    kinds, grids = [0], []
    for run in runs:
        if isinstance(run, int):
            kinds += [0] * run
        else:
            kinds += [1] * (run[0] * run[1]) + [0]
            grids.append((1, run[0] * 2, run[1] * 2))
    types = torch.tensor([kinds])
    model = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2)))
    model.get_vision_position_ids = MethodType(Qwen3VLModel.get_vision_position_ids, model)
    grid = torch.tensor(grids) if grids else None
    want, _ = Qwen3VLModel.get_rope_index(model, types.clone(), types, image_grid_thw=grid)
    got = mrope_positions(np.array(kinds), grids)
    assert np.array_equal(got[1:], want[:, 0].numpy())
    assert np.array_equal(got[0], np.arange(len(kinds)))


def test_bytes_of_tokens_spell_what_the_tokenizer_decodes(tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    text = 'a 猫🐈 <|im_end|> </think> {"x": [1, 2]}\n'
    for ids in (tokenizer(text)["input_ids"], rng.integers(0, len(tokenizer), 300).tolist()):
        spelt = b"".join(token_bytes(tokenizer, token) for token in ids).decode("utf-8", "replace")
        assert [token_of_bytes(tokenizer, token_bytes(tokenizer, token)) for token in ids] == list(ids)
        assert spelt == tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_a_token_that_only_the_model_knows_adds_nothing(tiny_folder: Path, micro_folder: Path) -> None:
    assert token_bytes(load_tokenizer(str(tiny_folder)), 151_900) == b""
    assert token_bytes(load_tokenizer(str(micro_folder)), 287) == b""
