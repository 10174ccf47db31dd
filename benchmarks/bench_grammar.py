"""Constrained answers with and without fast-forward; ratios only, since machines differ.

Run with ``pytest benchmarks/bench_grammar.py --benchmark-only``. The model is the tiny one, and writes boxes, polygons
and lines at random. Both ways must write the same tokens before anything is timed, and take turns. On a model of full
size a pass costs far more than a mask, and time goes as passes do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from dcap.answers.grammar import AnswerBounds, AnswerGrammar
from dcap.answers.profile import AnswerProfile
from dcap.data.encode import Encoder
from dcap.model.constraint import TokenGrammar
from dcap.model.decoding import Decoding
from dcap.model.generation import Generator, Prompt
from timing import interleaved, missed
from tiny_answers import mixed_prompts, tiny_generator

NUM_PROMPTS, BATCH = 4, 4
MAX_TOKENS = 600
BOUNDS = AnswerBounds(objects=2, points=6, caption=8)
FAST, SLOW = "fast-forward", "one token per pass"
# What fails the benchmark: about two thirds of what an idle machine shows.
FLOORS = {(SLOW, FAST): 1.3}


@cache
def generator() -> Generator:
    return tiny_generator(MAX_TOKENS)


@cache
def grammar() -> TokenGrammar:
    return TokenGrammar(AnswerGrammar(AnswerProfile(), bounds=BOUNDS), Encoder(generator().tokenizer))


@cache
def prompts() -> list[Prompt]:
    return mixed_prompts(generator(), NUM_PROMPTS, "List. ")


def answers(fast_forward: bool) -> list[list[int]]:
    constraints = [grammar().constraint(fast_forward) for _ in range(NUM_PROMPTS)]
    decoding = Decoding(max_new_tokens=MAX_TOKENS, temperature=1.0)
    found = generator().generate(prompts(), decoding, constraints=constraints, batch_size=BATCH)
    return [list(answer.token_ids) for answer in found]


def test_fast_forward(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    work = {}
    for name, fast in ((FAST, True), (SLOW, False)):
        before = generator().counts
        work[name] = (answers(fast), generator().counts - before)
    assert work[FAST][0] == work[SLOW][0]
    seconds = interleaved({FAST: lambda: answers(True), SLOW: lambda: answers(False)}, FLOORS)
    benchmark(answers, True)
    lines = [
        f"\n{NUM_PROMPTS} constrained answers in object_map, {work[FAST][1].tokens / NUM_PROMPTS:.0f} tokens on average"
    ]
    lines += [
        f"  {name:20s} {work[name][1].row_passes / NUM_PROMPTS:4.0f} passes each {value / seconds[FAST]:6.2f}x time"
        for name, value in seconds.items()
    ]
    with capsys.disabled():
        print("\n".join(lines))
    assert missed(seconds, FLOORS) == {}
