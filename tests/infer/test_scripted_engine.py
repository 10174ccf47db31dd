"""The engine that answers from a script."""

from __future__ import annotations

import pytest

from dcap.core.errors import ConfigError
from dcap.infer.engine import Reply, Request, TextEngine
from dcap.infer.scripted_engine import ScriptedEngine
from dcap.model.decoding import Decoding


def request(key: str) -> Request:
    return Request(key, None, "?", None)


def test_answers_come_by_key_in_the_order_of_the_requests() -> None:
    engine = ScriptedEngine({"a": "first", "b": Reply("cut", "length", tokens=3)})
    replies = engine.generate([request("b"), request("a")], Decoding())
    assert replies == [Reply("cut", "length", tokens=3), Reply("first", "stop")]
    assert [asked.key for asked in engine.asked] == ["b", "a"]


def test_samples_of_a_request_are_side_by_side() -> None:
    engine: TextEngine = ScriptedEngine(lambda asked, sample: f"{asked.key}{sample}")
    replies = engine.generate([request("a"), request("b")], Decoding(num_samples=2, temperature=1.0))
    assert [reply.text for reply in replies] == ["a0", "a1", "b0", "b1"]


def test_a_key_without_an_answer_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^script must have an answer to b, and has none$"):
        ScriptedEngine({"a": "x"}).generate([request("b")], Decoding())
