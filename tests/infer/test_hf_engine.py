"""The engine in this process: what the model is given, batches, samples, and what cannot be loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dcap.answers.codec import parse
from dcap.answers.grammar import AnswerBounds, AnswerGrammar
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import ConfigError
from dcap.data.encode import Encoder
from dcap.infer.engine import Request
from dcap.infer.hf_engine import HfEngine, choose_device
from dcap.infer.source import find_source
from dcap.model import constraint
from dcap.model.decoding import Decoding
from dcap.model.saved_adapter import SavedAdapter


def picture(seed: int, height: int = 64, width: int = 96) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def requests(number: int) -> list[Request]:
    return [Request(f"a.jsonl:{k}", None, "what?" * (k + 1), picture(k, 32 * (k % 3 + 1))) for k in range(number)]


SIX = Decoding(max_new_tokens=6)


def engine(generator: Any, batch_size: int = 4) -> HfEngine:
    return HfEngine(generator, Encoder(generator.tokenizer), batch_size)


def test_batches_do_not_change_answers(generator: Any) -> None:
    alone = [engine(generator).generate([each], SIX)[0] for each in requests(5)]
    for size in (1, 2, 5):
        assert engine(generator, size).generate(requests(5), SIX) == alone
    assert len({reply.text for reply in alone}) > 1


def test_reply_tells_tokens_of_prompt_and_answer(generator: Any) -> None:
    (request,) = requests(1)
    (reply,) = engine(generator).generate([request], SIX)
    prompt = engine(generator).prompt(request)
    assert reply.prompt_tokens == len(prompt.input_ids)
    assert reply.token_ids is not None
    assert generator.tokenizer.decode(list(reply.token_ids)) == reply.text
    assert (reply.tokens, reply.finish, reply.error) == (6, "length", None)


@pytest.mark.parametrize("fast_forward", [True, False])
def test_answers_have_the_format_of_their_request(
    tiny_generator: Any, fast_forward: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = AnswerBounds(objects=1, points=4, caption=8)
    monkeypatch.setattr(constraint, "AnswerGrammar", lambda profile, canvas: AnswerGrammar(profile, canvas, small))
    profiles = [AnswerProfile(format="rows"), AnswerProfile(emit_norm="none"), None]
    asked = [dataclasses.replace(each, profile=profile) for each, profile in zip(requests(3), profiles, strict=True)]
    decoding = Decoding(max_new_tokens=100, num_samples=2, temperature=1.5, grammar=True, fast_forward=fast_forward)
    replies = engine(tiny_generator).generate(asked, decoding)
    for reply, profile in zip(replies, [each for each in profiles for _ in range(2)], strict=True):
        assert (profile is None) == (reply.finish == "length")
        if profile is not None:
            assert parse(reply.text, profile, strict=False).problems == ()


def test_samples_are_side_by_side_and_depend_on_the_key_alone(generator: Any) -> None:
    decoding = Decoding(max_new_tokens=6, temperature=1.5, num_samples=3, logprobs=True)
    replies = engine(generator).generate(requests(2), decoding)
    assert len({reply.text for reply in replies}) > 2
    assert all(reply.logprobs is not None and len(reply.logprobs) == reply.tokens for reply in replies)
    backwards = engine(generator, 2).generate(requests(2)[::-1], decoding)
    assert [reply.token_ids for reply in backwards] == [reply.token_ids for reply in (*replies[3:], *replies[:3])]


def test_a_question_about_text_has_no_image(generator: Any) -> None:
    asked = Request("", "Be brief.", "What is a cup?", None)
    (reply,) = engine(generator).generate([asked], SIX)
    assert reply.prompt_tokens == len(Encoder(generator.tokenizer).prompt_ids("Be brief.", "What is a cup?", None))
    assert engine(generator).generate([*requests(2), asked], SIX)[2] == reply


def test_nothing_asked_is_nothing_answered(generator: Any) -> None:
    assert engine(generator).generate([], SIX) == []


def test_an_adapter_of_other_weights_is_refused(micro_folder: Path, tmp_path: Path) -> None:
    other = SavedAdapter(tmp_path / "adapter", {}, {"base_digest": "another"})
    source = dataclasses.replace(find_source(str(micro_folder), None), saved=other)
    with pytest.raises(
        ConfigError, match=r"adapter must be given the weights that it was trained on, and .* has others"
    ):
        HfEngine.load(source, device=torch.device("cpu"), dtype="float32")


def test_device_and_precision_follow_from_the_machine() -> None:
    assert choose_device("cpu", None) == (torch.device("cpu"), "float32")
    assert choose_device("cpu", "bfloat16")[1] == "bfloat16"
    with pytest.raises(ConfigError, match="device must be"):
        choose_device("no such device", None)
    with pytest.raises(ConfigError, match="device must be one of this machine, which has"):
        choose_device("cuda:99", None)
