"""Requests to a server, many at a time against one at a time, to the same server that takes a fixed time for each.

Run with ``pytest benchmarks/bench_engine.py --benchmark-only``. Client and server share one process here, so that the
ratio is less than the number of requests at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dcap.data.encode import Encoder, load_tokenizer
from dcap.infer.engine import Request
from dcap.infer.openai_engine import OpenAiEngine
from dcap.infer.server import Server
from dcap.model.decoding import Decoding
from support.openai_server import Play, serving, text_answer
from timing import interleaved, missed

ANSWER_S = 0.1
NUM_REQUESTS = 32
AT_A_TIME = 16
LEAST_IN_FLIGHT = 8
ONE, MANY = "one at a time", f"{AT_A_TIME} at a time"
FLOORS = {(ONE, MANY): 4.0}
"""About half of what an idle machine shows."""


def test_requests_at_a_time(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    encoder = Encoder(load_tokenizer("builtin:tiny"))
    images = np.random.default_rng(0).integers(0, 256, (NUM_REQUESTS, 128, 160, 3), np.uint8)
    requests = [Request(str(k), None, f"Question {k}", image) for k, image in enumerate(images)]
    play = Play(text_answer(lambda asked: asked.user), encoder.tokenizer, seconds=ANSWER_S)
    with serving(play) as url:
        engines = {
            name: OpenAiEngine(Server(url), "mine", encoder=encoder, num_parallel=number)
            for name, number in ((ONE, 1), (MANY, AT_A_TIME))
        }
        for engine in engines.values():
            play.most_in_flight = 0
            replies = engine.generate(requests, Decoding())
            assert [reply.text for reply in replies] == [request.user for request in requests]
            assert min(LEAST_IN_FLIGHT, engine.num_parallel) <= play.most_in_flight <= engine.num_parallel
        calls = {name: lambda engine=engine: engine.generate(requests, Decoding()) for name, engine in engines.items()}
        seconds = interleaved(calls, FLOORS)
        benchmark(calls[MANY])
    with capsys.disabled():
        print(f"\n{NUM_REQUESTS} requests to a server that takes {ANSWER_S * 1e3:.0f} ms for each")
        for name, value in seconds.items():
            print(f"  {name:14} {value * 1e3:5.0f} ms, {NUM_REQUESTS / value:4.0f} per second")
        print(f"  {seconds[ONE] / seconds[MANY]:.1f}x")
    assert missed(seconds, FLOORS) == {}
