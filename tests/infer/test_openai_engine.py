"""The engine that asks a server: what is sent, what is checked, and what each fault of a server leads to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dcap.answers.grammar import AnswerGrammar
from dcap.answers.profile import AnswerProfile
from dcap.answers.server_grammar import to_ebnf
from dcap.core.errors import ConfigError, ServerError
from dcap.data.config import DataConfig, resolve_profile
from dcap.data.encode import Encoder, load_tokenizer
from dcap.infer import openai_engine as engine_module
from dcap.infer.engine import Reply, Request
from dcap.infer.openai_engine import BOUNDS, EXTRAS, OpenAiEngine, RefusedSettingError
from dcap.infer.predictor import Predictor
from dcap.infer.server import Backoff, Server
from dcap.model.decoding import Decoding
from support.openai_server import STANDARD, Asked, Fault, Play, serving, text_answer

QUICK = Backoff(attempts=3, first_s=0.001)


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


@pytest.fixture
def play(encoder: Encoder) -> Play:
    return Play(text_answer("{}"), encoder.tokenizer)


def picture(seed: int = 0, height: int = 64, width: int = 96) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def request(key: str = "a.jsonl:1", **changes: Any) -> Request:
    given: dict[str, Any] = {"system": None, "user": "What is there?", "image": picture(), **changes}
    return Request(key, **given)


def probes(encoder: Encoder, max_pixels: int = 40_000) -> list[Request]:
    profile = resolve_profile(DataConfig(answer=AnswerProfile(min_pixels=4096, max_pixels=max_pixels)))
    engine: Any = None
    return [question.request for question in Predictor(engine, encoder, profile, "dense").extreme_questions()]


def connect(url: str, encoder: Encoder | None, decoding: Decoding | None = None, **more: Any) -> OpenAiEngine:
    server = Server(url, backoff=QUICK, timeout_s=more.pop("timeout_s", 30.0))
    engine = OpenAiEngine(server, OpenAiEngine.choose_model(server, None), encoder=encoder, **more)
    if encoder is not None:
        engine.agree(probes(encoder), decoding or Decoding())
    return engine


def ask(url: str, encoder: Encoder | None, *requests: Request, decoding: Decoding | None = None) -> list[Reply]:
    return connect(url, encoder, decoding).generate(requests or [request()], decoding or Decoding())


def test_the_server_gets_the_pixels_and_the_prompt(play: Play, encoder: Encoder) -> None:
    asked = [request(), request(system="Be brief.", user="杯子?", image=picture(1, 32, 160)), request(image=None)]
    with serving(play) as url:
        ask(url, encoder, *asked)
    seen = sorted(play.asked[2:], key=lambda each: [one.user for one in asked].index(each.user))
    assert {(each.system, each.user) for each in seen} == {(each.system, each.user) for each in asked}
    for each in seen:
        (sent,) = [one for one in asked if (one.user, one.image is None) == (each.user, each.image is None)]
        assert each.image is None if sent.image is None else np.array_equal(sent.image, np.asarray(each.image))
    assert all(len(each.body["messages"]) == 1 + (each.system is not None) for each in seen)


def test_a_greedy_request_says_so_and_no_more(play: Play, encoder: Encoder) -> None:
    with serving(play) as url:
        ask(url, encoder)
    body = dict(play.asked[-1].body)
    del body["messages"]
    assert body == {
        "model": "mine",
        "max_tokens": 4096,
        "temperature": 0.0,
        "skip_special_tokens": False,
        "return_token_ids": True,
        "top_k": -1,
        "repetition_penalty": 1.0,
    }


def test_sampling_is_seeded_by_key_and_sample(play: Play, encoder: Encoder) -> None:
    decoding = Decoding(temperature=0.7, top_p=0.9, top_k=20, num_samples=2, stop=("x",), logprobs=True, seed=3)
    with serving(play) as url:
        replies = ask(url, encoder, request("a"), request("b"), decoding=decoding)
        ask(url, encoder, request("b"), decoding=decoding)
    assert len(replies) == 4
    bodies = [each.body for each in play.asked if each.body["max_tokens"] > 1]
    expected = [decoding.sample_seed(key, k) % 2**63 for key in "ab" for k in range(2)]
    assert sorted(body["seed"] for body in bodies[:4]) == sorted(expected)
    assert sorted(body["seed"] for body in bodies[4:]) == sorted(expected[2:])
    wanted = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "stop": ["x"], "logprobs": True}
    assert all(body.items() >= wanted.items() for body in bodies)


def choice(**more: Any) -> Callable[[Asked], Mapping[str, Any]]:
    return lambda _: {"message": {"content": "cup"}, **more}


@pytest.mark.parametrize("shown", [True, False])
def test_the_end_token_is_no_part_of_an_answer(play: Play, encoder: Encoder, shown: bool) -> None:
    scores = [{"token": "cup", "logprob": -0.5}, {"token": "<|im_end|>", "logprob": -0.1}][: 1 + shown]
    play.answer = lambda _: {
        "message": {"content": "cup<|im_end|>" if shown else "cup"},
        "token_ids": [11, encoder.end_id][: 1 + shown],
        "logprobs": {"content": scores},
    }
    with serving(play) as url:
        (reply,) = ask(url, encoder, decoding=Decoding(logprobs=True))
    assert reply == Reply("cup", "stop", (11,), (-0.5,), prompt_tokens=reply.prompt_tokens, tokens=1)


@pytest.mark.parametrize("has_bytes", [True, False])
@pytest.mark.parametrize(("tokens", "known"), [(["c", "up", "杯"], True), (["c", "up"], False), (["cu", "p杯"], False)])
def test_tokens_are_read_from_their_bytes_or_texts_where_that_is_exact(
    play: Play, encoder: Encoder, tokens: list[str], known: bool, has_bytes: bool
) -> None:
    told: list[tuple[str, list[int] | None]] = [(each, None) for each in tokens]
    if has_bytes:
        told = [("?", list(each.encode())) for each in tokens]
    scores = [{"token": text, "logprob": -0.5, "bytes": spelt} for text, spelt in told]
    play.answer = lambda _: {"message": {"content": "cup杯"}, "logprobs": {"content": scores}}
    with serving(play) as url:
        (reply,) = ask(url, encoder, decoding=Decoding(logprobs=True))
    assert (reply.token_ids is not None) == known
    if known:
        assert encoder.tokenizer.decode(list(reply.token_ids or ())) == "cup杯"  # type: ignore[attr-defined]


def test_tokens_and_scores_may_be_missing(play: Play, encoder: Encoder) -> None:
    play.answer = choice(finish_reason="length")
    with serving(play) as url:
        (reply,) = ask(url, encoder, decoding=Decoding(logprobs=True))
    assert (reply.text, reply.finish, reply.token_ids, reply.logprobs, reply.tokens) == ("cup", "length", None, None, 7)
    assert reply.prompt_tokens == encoder.num_prompt_tokens(None, "What is there?", engine_module.Canvas(64, 96))


@pytest.mark.parametrize("reason", ["content_filter", "abort", None])
def test_an_answer_that_ends_otherwise_is_an_error_of_that_request(
    play: Play, encoder: Encoder, reason: str | None
) -> None:
    play.answer = lambda asked: {"message": {"content": "x"}, "finish_reason": "stop" if asked.system else reason}
    with serving(play) as url:
        engine = connect(url, None)
        bad, good = engine.generate([request(), request(system="s")], Decoding())
    assert (bad.finish, good.finish) == ("error", "stop")
    assert bad.error is not None
    assert bad.error.startswith("finish_reason must be stop or length, not ")


def test_an_answer_far_beyond_its_bound_is_an_error_of_that_request(play: Play) -> None:
    play.answer = lambda asked: {"message": {"content": "x" * (1 << 16 if asked.system else (1 << 16) + 1)}}
    with serving(play) as url:
        long, good = connect(url, None).generate([request(), request(system="s")], Decoding(max_new_tokens=256))
        assert connect(url, None).generate([request()], Decoding(max_new_tokens=257))[0].finish == "stop"
    assert (long.finish, good.finish) == ("error", "stop")
    assert long.error == "answer must have at most 65536 characters in its 256 tokens, not 65537"


def test_requests_are_in_flight_together(play: Play) -> None:
    gate = threading.Barrier(8)

    def answer(asked: Asked) -> Mapping[str, Any]:
        gate.wait(30)
        return {"message": {"content": asked.user}}

    play.answer = answer
    with serving(play) as url:
        engine = connect(url, None, num_parallel=8)
        replies = engine.generate([request(user=str(k)) for k in range(16)], Decoding())
    assert [reply.text for reply in replies] == [str(k) for k in range(16)]
    assert play.most_in_flight == 8


def test_fields_that_the_server_refuses_are_left_out(play: Play, encoder: Encoder) -> None:
    play.fields = STANDARD | {"top_k"}
    with serving(play) as url:
        ask(url, encoder)
    assert set(play.asked[-1].body) & {*EXTRAS, BOUNDS} == {"top_k"}


def test_a_field_that_is_needed_and_refused_is_named(play: Play, encoder: Encoder) -> None:
    play.fields = set(STANDARD)
    with serving(play) as url, pytest.raises(ConfigError, match=r"repetition_penalty must be left out: .* refuses it"):
        connect(url, encoder, Decoding(repetition_penalty=1.1))


@pytest.mark.parametrize(
    ("name", "decoding", "said"),
    [
        ("logprobs", Decoding(logprobs=True), "logprobs must be left out: .* refuses logprobs"),
        ("stop", Decoding(stop=("x",)), "stop must be left out: .* refuses stop"),
        ("seed", Decoding(temperature=0.5), "temperature must be 0: .* refuses seed"),
        ("top_p", Decoding(temperature=0.5), "temperature must be 0: .* refuses top_p"),
    ],
)
def test_a_standard_field_that_is_refused_is_told_before_the_first_record(
    play: Play, encoder: Encoder, name: str, decoding: Decoding, said: str
) -> None:
    # It refuses extras too; they are left out first.
    play.fields = STANDARD - {name}
    with serving(play) as url:
        with pytest.raises(RefusedSettingError, match=said) as error:
            connect(url, encoder, decoding)
        assert error.value.name == name
        assert ask(url, encoder)[0].finish == "stop"


def test_a_server_that_resizes_images_is_told_with_both_numbers(play: Play, encoder: Encoder) -> None:
    play.bounds = (65_536, 1 << 24)
    with serving(play) as url, pytest.raises(ServerError, match="must count") as error:
        connect(url, encoder, max_pixels=500_000)
    ours = encoder.num_prompt_tokens(None, probes(encoder)[0].user, engine_module.Canvas(64, 64))
    assert f"{ours} tokens in a prompt with an image of 64 x 64, not {ours - 4 + 64}" in str(error.value)
    flag = """--mm-processor-kwargs '{"size":{"shortest_edge":1024,"longest_edge":500000}}'"""
    assert flag in str(error.value)


def test_a_server_that_shrinks_large_images_is_found_out(play: Play, encoder: Encoder) -> None:
    play.bounds = (1024, 20_000)
    with serving(play) as url, pytest.raises(ServerError, match=r"with an image of 224 x 160, not "):
        connect(url, encoder)


def test_a_server_that_takes_size_bounds_is_given_them(play: Play, encoder: Encoder) -> None:
    play.bounds = (65_536, 1 << 24)
    play.fields |= {BOUNDS}
    with serving(play) as url:
        ask(url, encoder)
    assert play.asked[-1].body[BOUNDS] == {"size": {"shortest_edge": 1024, "longest_edge": 1 << 20}}


def test_another_chat_template_is_found_out_later_too(play: Play, encoder: Encoder) -> None:
    with serving(play) as url:
        engine = connect(url, encoder)
        play.bounds = (65_536, 1 << 24)
        with pytest.raises(ServerError, match="must count"):
            engine.generate([request()], Decoding())


def test_another_model_is_refused(play: Play, encoder: Encoder) -> None:
    play.answers_as = "other"
    with serving(play) as url, pytest.raises(ServerError, match=r'must answer as model "mine", not as "other"'):
        connect(url, encoder)


def test_a_model_that_goes_away_stops_the_run(play: Play, encoder: Encoder) -> None:
    with serving(play) as url:
        engine = connect(url, encoder)
        play.model = "new"
        with pytest.raises(ServerError, match=r"status 404: The model mine does not exist"):
            engine.generate([request()], Decoding())


@pytest.mark.parametrize(
    ("models", "name", "chosen"),
    [
        ([{"id": "a"}], None, "a"),
        ([{"id": "a"}, {"id": "b"}], "b", "b"),
        (Fault(404), "b", "b"),
        (Fault(500), "b", "b"),
    ],
)
def test_the_model_is_chosen(play: Play, models: Any, name: str | None, chosen: str) -> None:
    play.models = models
    with serving(play) as url:
        assert OpenAiEngine.choose_model(Server(url, backoff=QUICK), name) == chosen


@pytest.mark.parametrize(
    ("models", "name", "said"),
    [
        ([{"id": "a"}, {"id": "b"}], None, '--server-model must be given, one of "a", "b"'),
        ([], None, "--server-model must be given, one of none"),
        ([{"id": "base"}], "bass", 'must be a model of .*, not "bass"; did you mean base'),
        (Fault(404), None, "--server-model must be given: .* does not list its models"),
        (
            [{"name": "a"}],
            None,
            r"must answer as a server that speaks OpenAI's protocol does.*data\[0\]\.id must be given",
        ),
        (Fault(body=b"[]"), None, "must answer as a server that speaks OpenAI's protocol does"),
        (Fault(500), None, "must answer, and did not at 2 tries: status 500"),
        (Fault(429), "b", "must answer, and did not at 2 tries: status 429"),
    ],
)
def test_a_model_that_cannot_be_chosen_is_told(play: Play, models: Any, name: str | None, said: str) -> None:
    play.models = models
    with serving(play) as url, pytest.raises((ConfigError, ServerError), match=said):
        OpenAiEngine.choose_model(Server(url, backoff=QUICK), name)


def test_answers_that_do_not_fit_the_context_are_told_at_the_start(play: Play, encoder: Encoder) -> None:
    play.models = [{"id": "mine", "max_model_len": 4096}]
    # No image of the probes has as many tokens as 500 000 pixels: 488.
    longest = encoder.num_prompt_tokens(None, probes(encoder)[0].user, engine_module.Canvas(64, 64)) - 4 + 488
    with serving(play) as url:
        with pytest.raises(ConfigError, match=rf"max_new_tokens must be at most {4096 - longest} for .*, not 4096"):
            connect(url, encoder, max_pixels=500_000)
        connect(url, encoder, Decoding(max_new_tokens=4096 - longest), max_pixels=500_000)


@pytest.mark.parametrize(
    ("models", "fits"),
    [
        ([{"id": "small", "max_model_len": 99}, {"id": "mine", "max_model_len": 9999}], True),
        ([{"id": "large", "max_model_len": 9999}, {"id": "mine", "max_model_len": 99}], False),
        ([{"id": "base", "max_model_len": 99}, {"id": "mine", "parent": "base"}], False),
        ([{"id": "a", "max_model_len": 99}, {"id": "b", "max_model_len": 98}, {"id": "mine"}], True),
        (Fault(500), True),
    ],
)
def test_the_context_is_that_of_the_model_asked_for(play: Play, encoder: Encoder, models: Any, fits: bool) -> None:
    play.models = models
    with serving(play) as url:
        engine = OpenAiEngine(Server(url, backoff=QUICK), "mine", encoder=encoder)
        if fits:
            engine.agree(probes(encoder), Decoding())
        else:
            with pytest.raises(ConfigError, match="whose context has 99 tokens"):
                engine.agree(probes(encoder), Decoding())


def test_probes_and_lists_are_not_waited_for_long(
    play: Play, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "PROBE_TIMEOUT_S", 0.05)
    with serving(play) as url:
        server = Server(url, backoff=QUICK, timeout_s=20.0)
        engine = OpenAiEngine(server, "mine", encoder=encoder)
        play.fault = lambda _: Fault(hang=True)
        with pytest.raises(ServerError, match=r"no sign of life for 0\.05 seconds"):
            engine.agree(probes(encoder), Decoding())
        play.models = Fault(hang=True)
        with pytest.raises(ServerError, match=r"no sign of life for 0\.05 seconds"):
            OpenAiEngine.choose_model(server, None)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_an_error_of_its_own(play: Play, encoder: Encoder, status: int) -> None:
    with serving(play) as url:
        engine = connect(url, encoder)
        second = len(play.headers) + 1
        play.fault = lambda number: Fault(status, b'{"message": "too long"}') if number == second else None
        replies = [engine.generate([request(str(k))], Decoding())[0] for k in range(3)]
    assert [reply.finish for reply in replies] == ["stop", "error", "stop"]
    assert replies[1].error is not None
    assert f"refuses it (status {status}: too long)" in replies[1].error


@pytest.mark.parametrize(
    "fault", [Fault(500), Fault(cut=True, body=b"{}"), Fault(drop=True), Fault(body=b"<html>")], ids=str
)
def test_a_request_that_fails_each_time_while_others_do_not_is_like_a_refused_one(
    play: Play, encoder: Encoder, fault: Fault
) -> None:
    with serving(play) as url:
        engine = connect(url, encoder)
        first = len(play.headers)
        tries = 1 if fault.body == b"<html>" else QUICK.attempts
        play.fault = lambda number: fault if number < first + tries else None
        assert engine.generate([request()], Decoding())[0].finish == "error"
        assert engine.generate([request()], Decoding())[0].finish == "stop"


@pytest.mark.parametrize(
    "fault",
    [Fault(500), Fault(503), Fault(429), Fault(hang=True), Fault(cut=True, body=b"{}"), Fault(drop=True)],
    ids=str,
)
def test_a_server_that_is_down_stops_the_run(play: Play, encoder: Encoder, fault: Fault) -> None:
    with serving(play) as url:
        engine = connect(url, encoder)
        engine.server.timeout_s = 0.2  # from here on nothing has to be answered in time
        play.fault = lambda number: fault
        with pytest.raises(ServerError, match="must answer, and did not at 3 tries"):
            engine.generate([request()], Decoding())


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_busy_server_is_no_fault_of_one_request(play: Play, encoder: Encoder, status: int) -> None:
    with serving(play) as url:
        engine = connect(url, encoder)
        first = len(play.headers)
        play.fault = lambda number: Fault(status) if number < first + QUICK.attempts else None
        with pytest.raises(ServerError, match=f"did not at 3 tries: status {status}"):
            engine.generate([request()], Decoding())
        assert engine.generate([request()], Decoding())[0].finish == "stop"


def test_a_passing_fault_changes_nothing(play: Play, encoder: Encoder) -> None:
    play.answer = text_answer(lambda asked: asked.user)
    with serving(play) as url:
        engine = connect(url, encoder, num_parallel=4)
        engine.server.backoff = Backoff(attempts=99, first_s=0.001, most_s=0.001)
        play.fault = lambda number: Fault((429, 500, 503)[number % 3]) if number % 4 else None
        replies = engine.generate([request(user=f"Number {k}?") for k in range(20)], Decoding())
    assert [reply.text for reply in replies] == [f"Number {k}?" for k in range(20)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "model"),
        (b"[]", "object"),
        (b'{"model": "mine", "choices": [], "usage": {"prompt_tokens": 1}}', "one choice"),
        (b'{"model": "mine", "choices": [{"message": {"content": 5}}], "usage": {"prompt_tokens": 1}}', "content"),
        (b'{"model": "mine", "choices": [{"message": {"content": "x"}}]}', "usage"),
        (
            b'{"model": "mine", "choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": null}}',
            r"usage\.prompt_tokens must be a whole number, not null",
        ),
    ],
)
def test_a_reply_of_another_form_is_a_clear_error(play: Play, body: bytes, said: str) -> None:
    play.fault = lambda _: Fault(body=body)
    with serving(play) as url, pytest.raises(ServerError, match=said):
        ask(url, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"token_ids": [2**70]}, r"token_ids\S* must be a whole number, at most 2147483647"),
        ({"token_ids": [-1]}, r"token_ids\S* must be a whole number, at least 0"),
        (
            {"logprobs": {"content": [{"token": "x", "logprob": -1.0, "bytes": [300]}]}},
            r"bytes\S* must be .* at most 255",
        ),
        ({"logprobs": {"content": [{"token": "x", "logprob": None}]}}, r"logprob must be a number, not null"),
    ],
)
def test_tokens_that_are_none_are_a_clear_error(
    play: Play, encoder: Encoder, more: Mapping[str, Any], said: str
) -> None:
    play.answer = lambda _: {"message": {"content": "x"}, **more}
    with serving(play) as url, pytest.raises(ServerError, match=said):
        connect(url, encoder)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_that_the_server_takes_out_is_a_clear_error(play: Play, encoder: Encoder, name: str) -> None:
    play.answer = lambda _: {"message": {"content": "{}", name: "Hm."}}
    with serving(play) as url:
        with pytest.raises(ServerError, match=r"must leave reasoning in the answer.*without a reasoning parser"):
            connect(url, encoder)
        assert ask(url, None)[0].text == "{}"


def test_an_image_that_is_too_large_is_never_encoded(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    monkeypatch.setattr(engine_module, "data_url", None)
    large = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (4128, 4096, 3))
    with serving(play) as url:
        (reply,) = connect(url, None).generate([request(image=large)], Decoding())
    error = "image must have at most 16777216 pixels to be sent to a server, not 4096 x 4128"
    assert reply == Reply("", "error", error=error)


def test_a_grammar_is_sent_to_servers_that_take_it(play: Play, encoder: Encoder) -> None:
    decoding = Decoding(max_new_tokens=9, grammar=True)
    asked = request(profile=AnswerProfile(format="rows"))
    play.fields |= {"structured_outputs"}
    with serving(play) as url:
        connect(url, encoder, decoding).generate([asked, request()], decoding)
    sent = [each.body.get("structured_outputs") for each in play.asked[-2:]]
    grammar = {"grammar": to_ebnf(AnswerGrammar(AnswerProfile(format="rows")))}
    assert grammar in sent
    assert None in sent, "no profile, no grammar"
    play.fields -= {"structured_outputs"}
    with serving(play) as url, pytest.raises(ConfigError, match=r"^grammar must be left out: .* structured_outputs"):
        connect(url, encoder, decoding)


def test_a_server_ends_no_answer_at_a_repeat(play: Play, encoder: Encoder) -> None:
    with serving(play) as url, pytest.raises(ConfigError, match="stop_repeats must be left out"):
        connect(url, encoder, Decoding(stop_repeats=2))
