"""Batched generation: each prompt gets the tokens that it would get alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dcap.core.errors import ConfigError
from dcap.data.encode import END, Encoder, grid_thw, patchify
from dcap.geometry.canvas import Canvas
from dcap.model.generation import PAD, Generator, Prompt


def prompt(tokenizer: Any, height: int, width: int, question: str, seed: int = 0) -> Prompt:
    canvas = Canvas(height, width)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Prompt(Encoder(tokenizer).prompt_ids(None, question, canvas), patchify(image), grid_thw(canvas))


@pytest.fixture
def prompts(generator: Any) -> list[Prompt]:
    tok = generator.tokenizer
    return [
        prompt(tok, 64, 96, "what?"),
        prompt(tok, 160, 128, "List every object in the image.", seed=1),
        prompt(tok, 32, 32, "a longer question, so that text and image lengths go apart", seed=2),
    ]


def test_batch_gives_each_prompt_what_it_gets_alone(generator: Any, prompts: list[Prompt]) -> None:
    together = generator.generate(prompts)
    alone = [generator.generate([one])[0] for one in prompts]
    assert together == alone
    assert len({answer.text for answer in together}) > 1
    assert generator.generate(prompts[::-1]) == alone[::-1]


def test_same_answer_every_time(generator: Any, prompts: list[Prompt]) -> None:
    assert generator.generate(prompts) == generator.generate(prompts)


def test_first_tokens_equal_a_plain_forward_pass(generator: Any, prompts: list[Prompt]) -> None:
    """Greedy by hand, without cache and padding, from logits of the whole sequence."""
    for one, answer in zip(prompts, generator.generate(prompts), strict=True):
        ids = torch.from_numpy(one.input_ids)[None]
        for _ in range(3):
            with torch.inference_mode():
                logits = generator.model(
                    input_ids=ids,
                    mm_token_type_ids=(ids == generator.image_id).long(),
                    pixel_values=torch.from_numpy(one.pixel_values),
                    image_grid_thw=torch.tensor([one.grid_thw]),
                    use_cache=False,
                ).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        by_hand = generator.tokenizer.decode(ids[0, len(one.input_ids) :].tolist())
        assert answer.text.startswith(by_hand.rstrip("\ufffd"))


def test_batch_is_padded_on_the_left(generator: Any, prompts: list[Prompt]) -> None:
    batch = generator.batch(prompts)
    longest = max(len(one.input_ids) for one in prompts)
    for row, one in enumerate(prompts):
        pad = longest - len(one.input_ids)
        assert batch["attention_mask"][row].tolist() == [0] * pad + [1] * len(one.input_ids)
        assert batch["input_ids"][row, pad:].tolist() == one.input_ids.tolist()
        assert batch["mm_token_type_ids"][row].sum() == np.prod(one.grid_thw) // 4
    assert len(batch["pixel_values"]) == sum(len(one.pixel_values) for one in prompts)


class _Scripted:
    """A model that writes given tokens, and pads as transformers does."""

    device = torch.device("cpu")

    def __init__(self, rows: Sequence[list[int]], pad: int) -> None:
        longest = max(map(len, rows))
        self.rows = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])

    def generate(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.cat([input_ids, self.rows], dim=1)


def test_answer_ends_at_its_end_token_and_keeps_everything_before(generator: Any, prompts: list[Prompt]) -> None:
    tok = generator.tokenizer
    end, pad = map(tok.convert_tokens_to_ids, (END, PAD))

    def ids(text: str) -> list[int]:
        return tok(text, add_special_tokens=False)["input_ids"]

    rows: list[list[int]] = [
        [*ids('{"a": 1}'), end],
        ids("cut off in the middle of it"),
        [*ids("<|image_pad|> x , y"), end],
    ]
    answers = Generator(_Scripted(rows, pad), tok, 8).generate(prompts)
    assert [answer.text for answer in answers] == ['{"a": 1}', "cut off in the middle of it", "<|image_pad|> x , y"]
    assert [answer.num_tokens for answer in answers] == [len(rows[0]) - 1, len(rows[1]), len(rows[2]) - 1]
    longest = max(map(len, rows))
    assert [answer.finished for answer in answers] == [True, len(rows[1]) < longest, True]


def test_sampling_settings_of_the_model_are_not_used(generator: Any) -> None:
    config = generator.model.generation_config
    assert (config.do_sample, config.max_new_tokens) == (False, 6)
    assert config.temperature in (None, 1.0)


def test_bound_must_be_positive(generator: Any) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens must be at least 1, not 0"):
        Generator(generator.model, generator.tokenizer, 0)
