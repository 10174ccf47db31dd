"""Generation: the answers are those of transformers, whatever shares the batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dcap.core import progress
from dcap.core.errors import ConfigError
from dcap.data.encode import IMAGE_PAD, Encoder, grid_thw, patchify
from dcap.geometry.canvas import Canvas
from dcap.model import continuation
from dcap.model.decoding import Decoding
from dcap.model.generation import Generated, Generator, Prompt

GREEDY = Decoding(max_new_tokens=12)
DRAWN = Decoding(max_new_tokens=6, temperature=0.8, top_k=50, repetition_penalty=1.2)


def prompt(tokenizer: Any, height: int, width: int, question: str, seed: int = 0) -> Prompt:
    canvas = Canvas(height, width)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Prompt(Encoder(tokenizer).prompt_ids(None, question, canvas), patchify(image), grid_thw(canvas))


@pytest.fixture(scope="module")
def prompts(generator: Any) -> list[Prompt]:
    return prompts_of(generator.tokenizer)


def prompts_of(tok: Any) -> list[Prompt]:
    return [
        prompt(tok, 64, 96, "what?"),
        prompt(tok, 160, 128, "List every object in the image.", seed=1),
        Prompt(Encoder(tok).prompt_ids("You know much.", "Which objects are in a kitchen?", None)),
        prompt(tok, 32, 32, "a longer question, so that text and image lengths go apart", seed=2),
    ]


@pytest.fixture(scope="module")
def alone(generator: Any, prompts: list[Prompt]) -> list[Generated]:
    """The greedy answer to each prompt in a batch of its own."""
    return [generator.generate([one], GREEDY)[0] for one in prompts]


def plain(generator: Any, prompts: Sequence[Prompt], max_new_tokens: int) -> list[list[int]]:
    """Return the tokens that transformers generates, up to the end of each answer."""
    batch = generator.batch(prompts)
    ids = batch["input_ids"]
    batch["mm_token_type_ids"] = (ids == generator.image_id).long()
    del batch["position_ids"]  # transformers computes its own
    ends = [generator.end_id, generator.pad_id]
    made = generator.model.generate(
        **batch, do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=generator.pad_id
    )
    rows = [row[ids.shape[1] :].tolist() for row in made]
    return [row[: next((k for k, token in enumerate(row) if token in ends), len(row))] for row in rows]


@pytest.mark.parametrize("places", [(0,), (2,), (0, 1, 2, 3), (3, 1)])
def test_answers_are_those_of_transformers(
    generator: Any, prompts: list[Prompt], alone: list[Generated], places: tuple[int, ...]
) -> None:
    wanted = plain(generator, [prompts[k] for k in places], 12)
    assert [list(alone[k].token_ids) for k in places] == wanted
    found = generator.generate([prompts[k] for k in places], GREEDY)
    assert [list(answer.token_ids) for answer in found] == wanted
    assert all(answer.text == generator.tokenizer.decode(answer.token_ids) for answer in found)


def test_answers_of_several_lengths_are_those_of_transformers(
    generator: Any, prompts: list[Prompt], alone: list[Generated]
) -> None:
    """Rows end at different steps: the end tokens are tokens that two of the answers hold."""
    ended = Generator(generator.model, generator.tokenizer, 12)
    ended.end_id, ended.pad_id = alone[1].token_ids[3], alone[3].token_ids[7]
    found = ended.generate(prompts)
    assert [list(answer.token_ids) for answer in found] == plain(ended, prompts, 12)
    assert len({answer.num_tokens for answer in found}) > 2
    assert [answer.finish for answer in found] == ["stop" if a.num_tokens < 12 else "length" for a in found]
    assert ended.counts.passes == 12
    assert ended.counts.row_passes == sum(answer.num_tokens + answer.finished for answer in found)
    assert (ended.counts.answers, ended.counts.tokens) == (4, sum(answer.num_tokens for answer in found))


def test_answers_with_adapters_are_those_of_transformers(micro_folder: Any, prompts: list[Prompt]) -> None:
    from dcap.data.encode import load_tokenizer
    from dcap.model.config import AdapterConfig, ModelConfig
    from dcap.model.load import load_model
    from dcap.model.lora import attach, bare_model

    config = ModelConfig(str(micro_folder), dtype="float32", freeze_vit=False, adapter=AdapterConfig(rank=4, alpha=64))
    torch.manual_seed(0)
    tuned = attach(load_model(config, torch.device("cpu"), for_generation=True), config)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    adapted = Generator(bare_model(tuned).eval(), load_tokenizer(str(micro_folder)), 8)
    found = [list(answer.token_ids) for answer in adapted.generate(prompts)]
    assert found == plain(adapted, prompts, 8)
    with tuned.disable_adapter():
        assert found != [list(answer.token_ids) for answer in adapted.generate(prompts)], "the adapters do something"


def test_first_tokens_equal_a_plain_forward_pass(generator: Any, prompts: list[Prompt], alone: list[Generated]) -> None:
    """Greedy by hand, without cache and padding, from logits of the whole sequence."""
    for one, answer in zip(prompts, alone, strict=True):
        ids = torch.tensor(one.input_ids)[None]
        for _ in range(3):
            ids = torch.cat([ids, logits_of(generator, one, ids)[:, -1:].argmax(-1)], dim=1)
        assert ids[0, len(one.input_ids) :].tolist() == list(answer.token_ids[:3])


@torch.inference_mode()
def logits_of(generator: Any, one: Prompt, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits of a prompt and its answer in one pass, with transformers' own positions."""
    images = {}
    if one.pixel_values is not None:
        images = {
            "pixel_values": torch.from_numpy(one.pixel_values),
            "image_grid_thw": torch.tensor([one.grid_thw]),
            "mm_token_type_ids": (ids == generator.image_id).long(),
        }
    generator.model.model.rope_deltas = None
    logits: torch.Tensor = generator.model(input_ids=ids, use_cache=False, **images).logits
    return logits


def test_batch_is_padded_on_the_left(generator: Any, prompts: list[Prompt]) -> None:
    batch = generator.batch(prompts)
    longest = max(len(one.input_ids) for one in prompts)
    for row, one in enumerate(prompts):
        pad = longest - len(one.input_ids)
        assert batch["attention_mask"][row].tolist() == [0] * pad + [1] * len(one.input_ids)
        assert batch["input_ids"][row, pad:].tolist() == one.input_ids.tolist()
    positions, _ = generator.model.model.get_rope_index(
        batch["input_ids"],
        (batch["input_ids"] == generator.image_id).long(),
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=batch["attention_mask"],
    )
    assert torch.equal(batch["position_ids"], positions)
    assert len(batch["pixel_values"]) == sum(len(p.pixel_values) for p in prompts if p.pixel_values is not None)


class Scripted:
    """Lets one answer be what a script says, token by token, or by forced runs."""

    def __init__(self, script: Sequence[int], forced: bool = False) -> None:
        self.script, self.is_forced, self.written = list(script), forced, 0

    def forced(self) -> list[int]:
        # Every third token is a choice.
        rest = self.script[self.written :]
        return rest[: 3 - self.written % 3] if self.is_forced and self.written % 3 else []

    def allowed(self) -> npt.NDArray[np.bool_]:
        out = np.zeros(self.script[self.written] + 1, np.bool_)
        out[-1] = True
        return out

    def advance(self, tokens: Sequence[int]) -> None:
        assert self.script[self.written :][: len(tokens)] == list(tokens)
        self.written += len(tokens)


def test_answer_ends_at_its_end_token_and_keeps_everything_before(generator: Any, prompts: list[Prompt]) -> None:
    tok = generator.tokenizer
    texts = ['{"a":', "cut off in the middle", f"{IMAGE_PAD} x,y", ""]
    scripts = [[*tok(text, add_special_tokens=False)["input_ids"], generator.end_id] for text in texts]
    answers = generator.generate(prompts, Decoding(max_new_tokens=6), constraints=[Scripted(s) for s in scripts])
    texts[1] = "cut of"
    assert [answer.text for answer in answers] == texts
    assert [list(answer.token_ids) for answer in answers] == [s[:-1][:6] for s in scripts]
    assert [answer.finished for answer in answers] == [True, False, True, True]


class Forced:
    """Forces the first tokens of an answer, and leaves the rest free."""

    def __init__(self, tokens: Sequence[int], at_once: bool) -> None:
        self.left, self.at_once = list(tokens), at_once

    def forced(self) -> list[int]:
        return self.left if self.at_once else self.left[:1]

    def allowed(self) -> None:
        return None

    def advance(self, tokens: Sequence[int]) -> None:
        assert not self.left or self.left[: len(tokens)] == list(tokens)
        del self.left[: len(tokens)]


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN])
def test_forced_tokens_at_once_give_the_answer_of_one_by_one(
    generator: Any, prompts: list[Prompt], decoding: Decoding
) -> None:
    starts = [[5, 6, 7, 8, 9, 10], [], [100], [20, 21, 22]]
    decoding = replace(decoding, max_new_tokens=8, logprobs=True)
    found = []
    for at_once in (True, False):
        before = generator.counts
        answers = generator.generate(prompts, decoding, constraints=[Forced(s, at_once) for s in starts])
        found.append((answers, generator.counts - before))
    (at_once_, counts), (by_one, more) = found
    assert [answer.token_ids for answer in at_once_] == [answer.token_ids for answer in by_one]
    for a, b in zip(at_once_, by_one, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)
    assert [list(answer.token_ids[: len(s)]) for answer, s in zip(by_one, starts, strict=True)] == starts
    assert more.row_passes - counts.row_passes == 5 + 0 + 0 + 2


def test_forced_runs_between_choices(generator: Any, prompts: list[Prompt]) -> None:
    """Rows whose runs have several lengths at one step, and one that ends inside of a run."""
    rng = np.random.default_rng(0)
    scripts = [[*rng.integers(0, 256, n).tolist(), generator.end_id] for n in (12, 4, 8, 11)]
    decoding = Decoding(max_new_tokens=11, logprobs=True)
    for forced in (False, True):
        before = generator.counts
        answers = generator.generate(prompts, decoding, constraints=[Scripted(s, forced) for s in scripts])
        assert [list(answer.token_ids) for answer in answers] == [s[:11][: len(s) - 1] for s in scripts]
        assert [answer.finished for answer in answers] == [False, True, True, False]
        assert_teacher_forced(generator, prompts, answers)
        passes = (generator.counts - before).passes
        assert passes == (5 if forced else 11)


def assert_teacher_forced(generator: Any, prompts: Sequence[Prompt], answers: Sequence[Generated]) -> None:
    """Compare log-probabilities with those of one plain pass over prompt and answer."""
    for one, answer in zip(prompts, answers, strict=True):
        tokens = torch.tensor(answer.token_ids)
        ids = torch.cat([torch.tensor(one.input_ids), tokens])[None]
        logits = logits_of(generator, one, ids)[0, len(one.input_ids) - 1 : -1]
        wanted = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        np.testing.assert_allclose(np.array(answer.logprobs), wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN])
def test_logprobs_are_those_of_the_model_itself(generator: Any, prompts: list[Prompt], decoding: Decoding) -> None:
    answers = generator.generate(prompts, replace(decoding, logprobs=True))
    assert_teacher_forced(generator, prompts, answers)
    assert [answer.token_ids for answer in answers] == [a.token_ids for a in generator.generate(prompts, decoding)]
    assert all(answer.logprobs is None for answer in generator.generate(prompts[:1], decoding))


def test_drawn_answers_depend_on_their_seed_alone(generator: Any, prompts: list[Prompt]) -> None:
    seeds = [DRAWN.sample_seed(f"line {k}", 0) for k in range(4)]
    together = generator.generate(prompts, DRAWN, seeds)
    assert generator.generate(prompts[::-1], DRAWN, seeds[::-1]) == together[::-1]
    assert [generator.generate([p], DRAWN, [s])[0] for p, s in zip(prompts, seeds, strict=True)] == together
    assert generator.generate(prompts[:1], DRAWN, [seeds[1]]) != together[:1]


def test_several_samples_of_each_prompt(generator: Any, prompts: list[Prompt]) -> None:
    decoding = replace(DRAWN, num_samples=3)
    seeds = [decoding.sample_seed(f"line {k}", n) for k in range(2) for n in range(3)]
    before = generator.counts
    found = generator.generate(prompts[:2], decoding, seeds)
    assert (generator.counts - before).row_passes == 2 + 5 * 6, "a prompt is read once"
    each = [generator.generate([prompts[k // 3]], DRAWN, [seed])[0] for k, seed in enumerate(seeds)]
    assert found == each
    assert len({answer.token_ids for answer in found}) == 6


class Lazy(Sequence[Prompt]):
    """Notes which prompts were made."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.prompts = prompts
        self.made: list[int] = []

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: Any) -> Any:
        self.made.append(index)
        return self.prompts[index]


@pytest.mark.parametrize("few_holes", [0, 64])
def test_new_prompts_take_the_places_of_answers_that_end(
    generator: Any, prompts: list[Prompt], alone: list[Generated], few_holes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "_FEW_HOLES", few_holes)
    ended = Generator(generator.model, generator.tokenizer, 12)
    ended.end_id = alone[1].token_ids[3]
    places = (1, 0, 3, 1, 2, 1, 0)
    waiting = Lazy([prompts[k] for k in places])
    wanted = [ended.generate([one])[0] for one in prompts]
    before = ended.counts
    assert ended.generate(waiting, batch_size=2) == [wanted[k] for k in places]
    assert waiting.made == list(range(7))
    assert (ended.counts - before).row_passes <= 2 * (ended.counts - before).passes
    drawn = [ended.generate([one], DRAWN, [7])[0] for one in waiting.prompts[:3]]
    assert ended.generate(waiting.prompts[:3], DRAWN, [7] * 3, batch_size=2) == drawn


def test_answer_stops_before_a_text(tiny_generator: Any) -> None:
    generator, prompts = tiny_generator, prompts_of(tiny_generator.tokenizer)
    alone = generator.generate(prompts, GREEDY)
    texts = [generator.decode(answer.token_ids) for answer in alone]
    # A text over the border of two tokens, and one that begins inside of a token.
    pieces = [generator.decode([token]) for token in alone[1].token_ids]
    stop = pieces[4][-1:] + pieces[5][:1]
    found = generator.generate(prompts, Decoding(max_new_tokens=12, stop=(stop, "never written by it")))
    for answer, text, whole in zip(found, texts, alone, strict=True):
        assert answer.text == (text[: text.index(stop)] if stop in text else text)
        assert answer.finished == (stop in text)
        assert whole.token_ids[: answer.num_tokens] == answer.token_ids
    assert found[1].finished
    assert found[1].num_tokens < 12
    assert stop in generator.decode(found[1].token_ids), "the tokens that ended it are kept"


def test_a_long_answer_gives_signs_of_life(
    generator: Any, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO):
        generator.generate(prompts[:2], Decoding(max_new_tokens=3))
    assert caplog.messages[0] == "0 of 2 answers complete; the longest of the others has 1 token of at most 3"
    assert caplog.messages[1] == "0 of 2 answers complete; the longest of the others has 2 tokens of at most 3"


def test_no_prompt_gives_no_answer(generator: Any) -> None:
    assert generator.generate([]) == []


def test_model_is_left_as_it_is(generator: Any, prompts: list[Prompt]) -> None:
    """Training goes on with it after a validation."""
    before = (generator.model.generation_config.to_dict(), generator.model.config.to_dict(), torch.get_rng_state())
    generator.generate(prompts, DRAWN)
    assert generator.model.generation_config.to_dict() == before[0]
    assert generator.model.config.to_dict() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, p: Generator(g.model, g.tokenizer, 0), "max_new_tokens must be at least 1, not 0"),
        (lambda g, p: g.generate(p, GREEDY, [1, 2]), "seeds must be one per answer, 4, not 2"),
        (lambda g, p: g.generate(p, Decoding(num_samples=2), [1] * 4), "seeds must be one per answer, 8, not 4"),
        (lambda g, p: g.generate(p, constraints=[]), "constraints must be one per answer, 4, not 0"),
        (lambda g, p: g.generate(p, batch_size=0), "batch_size must be at least 1, not 0"),
    ],
)
def test_call_that_cannot_work(
    generator: Any, prompts: list[Prompt], call: Callable[[Any, Any], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(generator, prompts)


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_model_answers_nothing(
    generator: Any, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch, decoding: Decoding, value: float
) -> None:
    weight = generator.model.model.language_model.norm.weight
    damaged = weight.detach().clone()
    damaged[3] = value
    monkeypatch.setattr(weight, "data", damaged)
    with pytest.raises(ConfigError, match="must give finite logits, and does not"):
        generator.generate(prompts[:2], decoding)
