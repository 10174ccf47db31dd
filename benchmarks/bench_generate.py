"""Answers of mixed lengths beside ``transformers.generate``, with the same weights; ratios only, since machines differ.

Run with ``pytest benchmarks/bench_generate.py --benchmark-only``. The model is the tiny one, made to end its answers
after some tokens here and many there. Both must write the same tokens before anything is timed, and take turns.
transformers gets its prompts in batches. A batch lasts as long as its longest answer. dcap gets all prompts at once.
When an answer ends, the next prompt takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from dcap.model.generation import Generator, Prompt
from timing import interleaved, missed
from tiny_answers import mixed_prompts, tiny_generator

NUM_PROMPTS, BATCH = 24, 8
MAX_TOKENS = 64
PLAIN = "transformers.generate"
# What fails the benchmark: about two thirds of what an idle machine shows.
FLOORS = {(PLAIN, "dcap"): 1.3}


@cache
def generator() -> Generator:
    # The logit of the end token then spreads more than those of others, and is the highest at one step in twenty.
    return tiny_generator(MAX_TOKENS, end_scale=5)


@cache
def prompts() -> list[Prompt]:
    return mixed_prompts(generator(), NUM_PROMPTS, "List every object. ")


def by_dcap() -> list[list[int]]:
    return [list(answer.token_ids) for answer in generator().generate(prompts(), batch_size=BATCH)]


def by_transformers() -> list[list[int]]:
    made, rows = generator(), []
    ends = [made.end_id, made.pad_id]
    for start in range(0, NUM_PROMPTS, BATCH):
        batch = made.batch(prompts()[start : start + BATCH])
        ids = batch["input_ids"]
        batch["mm_token_type_ids"] = (ids == made.image_id).long()
        del batch["position_ids"]  # transformers makes its own
        settings: dict[str, Any] = {"max_new_tokens": MAX_TOKENS, "eos_token_id": ends, "pad_token_id": made.pad_id}
        found = made.model.generate(**batch, do_sample=False, **settings)
        rows += [row[ids.shape[1] :].tolist() for row in found]
    return [row[: next((k for k, token in enumerate(row) if token in ends), len(row))] for row in rows]


def test_generate(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    before = generator().counts
    answers = by_dcap()
    work = generator().counts - before
    assert answers == by_transformers()
    lengths = sorted(map(len, answers))
    assert lengths[NUM_PROMPTS // 4] < MAX_TOKENS / 2, "some answers are short"
    assert lengths[-1] == MAX_TOKENS, "some are long"
    calls: dict[str, Callable[[], object]] = {"dcap": by_dcap, PLAIN: by_transformers}
    seconds = interleaved(calls, FLOORS)
    benchmark(by_dcap)
    # The first token of an answer comes of the prompt's own pass, and its end takes a pass too.
    ends = [min(len(answer) + 1, MAX_TOKENS) for answer in answers]
    theirs = sum(max(ends[k : k + BATCH]) for k in range(0, NUM_PROMPTS, BATCH))
    lines = [
        f"\n{NUM_PROMPTS} answers of {lengths[0]} to {lengths[-1]} tokens, {work.tokens / NUM_PROMPTS:.0f} on average, "
        f"{BATCH} at a time; passes: dcap {work.passes}, transformers {theirs}"
    ]
    lines += [
        f"  {name:24s} {NUM_PROMPTS / value:8.2f} sequences per second {value / seconds['dcap']:6.2f}x time"
        for name, value in seconds.items()
    ]
    with capsys.disabled():
        print("\n".join(lines))
    assert missed(seconds, FLOORS) == {}
