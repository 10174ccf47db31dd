"""Requests over HTTP: what is sent again and what is not, addresses, keys, and bounds."""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from dcap.core.errors import ConfigError, ServerError
from dcap.infer import server as server_module
from dcap.infer.server import API_KEY, Backoff, RefusedRequestError, Server, UnansweredError
from support.openai_server import Fault, Play, serving, text_answer

OK = b'{"fine": true}'


@dataclass
class Waits:
    """Takes the place of sleeping."""

    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def play() -> Play:
    return Play(text_answer("{}"), None)


def client(url: str, waits: Waits | None = None, **more: Any) -> Server:
    return Server(url, backoff=Backoff(sleep=waits or Waits()), **more)


def post(url: str, waits: Waits | None = None, **more: Any) -> Any:
    return client(url, waits, **more).post("/chat/completions", {"model": "mine"})


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(status) for status in (408, 425, 429, 500, 502, 503, 504)),
        Fault(cut=True, body=OK),
        Fault(cut=True, body=OK, sized=False),
        Fault(drop=True),
    ],
    ids=str,
)
def test_what_may_pass_is_sent_again(play: Play, fault: Fault) -> None:
    play.fault = lambda number: fault if number < 3 else Fault(body=OK)
    waits = Waits()
    with serving(play) as url:
        assert post(url, waits) == {"fine": True}
    assert len(play.headers) == 4
    for attempt, seconds in enumerate(waits.seconds):
        assert 0.25 * 2**attempt <= seconds <= 0.5 * 2**attempt


def test_a_server_that_hangs_is_asked_again(play: Play) -> None:
    play.fault = lambda number: Fault(hang=True) if number == 0 else Fault(body=OK)
    with serving(play) as url:
        assert post(url, timeout_s=0.2) == {"fine": True}


def test_a_reply_that_comes_byte_by_byte_is_not_waited_for(play: Play) -> None:
    play.fault = lambda number: Fault(drip=True) if number == 0 else Fault(body=OK)
    with serving(play) as url:
        assert post(url, timeout_s=0.2) == {"fine": True}
        play.fault = lambda _: Fault(drip=True)
        with pytest.raises(UnansweredError, match=r"its reply took more than 0\.1 seconds to arrive"):
            post(url, timeout_s=0.1)


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(play: Play) -> None:
    play.fault = lambda number: Fault(drip_head=True) if number == 0 else Fault(body=OK)
    with serving(play) as url:
        assert post(url, timeout_s=0.2) == {"fine": True}
        play.fault = lambda _: Fault(drip_head=True)
        with pytest.raises(UnansweredError, match=r"its reply took more than 0\.2 seconds to begin"):
            post(url, timeout_s=0.1)


def test_a_request_may_have_less_time_than_others(play: Play) -> None:
    play.fault = lambda _: Fault(hang=True)
    with serving(play) as url, pytest.raises(ServerError, match=r"no sign of life for 0\.05 seconds"):
        client(url, timeout_s=20.0).post("/chat/completions", {}, attempts=1, timeout_s=0.05)


def test_the_first_request_that_is_sent_again_is_told(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    play.fault = lambda number: Fault(body=OK) if number % 4 == 3 else Fault(503)
    with serving(play) as url:
        server = client(url)
        for _ in range(2):
            server.post("/chat/completions", {})
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert told == [f"{url}/v1/chat/completions: status 503: boom; sent again"]


@pytest.mark.parametrize(
    ("fault", "status", "is_busy"),
    [(Fault(429), 429, True), (Fault(503), 503, True), (Fault(500), 500, False), (Fault(drop=True), None, False)],
)
def test_the_last_status_is_kept(play: Play, fault: Fault, status: int | None, is_busy: bool) -> None:
    play.fault = lambda _: fault
    with serving(play) as url, pytest.raises(UnansweredError) as error:
        client(url).post("/chat/completions", {}, attempts=2)
    assert (error.value.status, error.value.is_busy) == (status, is_busy)


@pytest.mark.parametrize(("status", "before"), [(200, b"x" * 290), (400, b" " * 1000 + b"x" * 190)])
def test_no_part_of_a_key_is_shown_where_a_reply_is_cut(play: Play, status: int, before: bytes) -> None:
    key = "secret-0123456789"
    play.fault = lambda _: Fault(status, before + key.encode() + b"y" * 2000)
    with serving(play) as url, pytest.raises(ServerError, match="xxx") as error:
        post(url, api_key=key)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_refused_is_not_sent_again(play: Play, status: int) -> None:
    play.fault = lambda _: Fault(status, b'{"error": {"message": "no such thing"}}')
    with serving(play) as url, pytest.raises(RefusedRequestError, match=rf"status {status}: no such thing") as error:
        post(url)
    assert (error.value.status, error.value.said, len(play.headers)) == (status, "no such thing", 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "a"}', "a"),
        (b'{"detail": "b"}', "b"),
        (b'{"detail": [{"loc": ["x"]}]}', '[{"loc": ["x"]}]'),
        (b'{"error": {"message": null}}', "null"),
        (b"<html>", "<html>"),
        (b"", ""),
        (b"x" * 5000, "x" * 300 + "..."),
        (b"\x1b[31m\xff", "\\x1b[31m\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_the_server_says_is_shown_on_one_line(play: Play, body: bytes, said: str) -> None:
    play.fault = lambda _: Fault(400, body)
    with serving(play) as url, pytest.raises(RefusedRequestError) as error:
        post(url)
    assert error.value.said == said


def test_waits_are_bounded_and_follow_the_server(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    now = float(int(time.time()))  # a clock that stands still
    monkeypatch.setattr(time, "time", lambda: now)
    later = formatdate(now + 250, usegmt=True)
    asked = ["7", later, "100000", "nonsense", "-5"]
    play.fault = lambda number: Fault(429, headers={"Retry-After": asked[number]})
    waits = Waits()
    with serving(play) as url, pytest.raises(ServerError, match=r"did not at 5 tries: status 429: boom\. Start the"):
        Server(url, backoff=Backoff(attempts=5, sleep=waits)).post("/chat/completions", {})
    assert waits.seconds[0] == 7
    assert waits.seconds[1] == 250
    assert waits.seconds[2] == 300
    assert waits.seconds[3] <= 4
    long = Waits()
    Backoff(sleep=long).wait(50, None)
    assert 15 <= long.seconds[0] <= 30


def test_a_server_that_is_not_there_is_named(play: Play) -> None:
    with socket.socket() as taken:  # by nobody else, and nothing listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerError, match=rf"^{url}/v1 must answer, and did not at 6 tries: .*refused"):
            post(url)
        with pytest.raises(ServerError, match="at the first try"):
            client(url).get("/models", attempts=1)
    with pytest.raises(ServerError, match="must answer, and did not"):
        post(f"http://{'long' * 30}.example")


def test_a_wrong_key_is_named_and_never_shown(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play.key = "right"
    monkeypatch.setenv(API_KEY, "secret-1")
    with serving(play) as url:
        with pytest.raises(ServerError, match=f"must accept the key in the environment variable {API_KEY}") as error:
            post(url)
        assert len(play.headers) == 1
        assert "***" in str(error.value)
        assert "secret-1" not in str(error.value)
        with pytest.raises(ServerError, match="status 401"):
            post(url, api_key="")
    assert [headers.get("Authorization") for headers in play.headers] == ["Bearer secret-1", None]


@pytest.mark.parametrize("key", ["a b", "a\nX-Other: b", "ä"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(ConfigError, match=rf"^key of the server \({API_KEY}\) must be letters") as error:
        Server("http://localhost")
    assert key not in str(error.value)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"[" * 5000, b"\xff"])
def test_a_reply_that_is_no_json_is_a_clear_error(play: Play, body: bytes) -> None:
    play.fault = lambda _: Fault(body=body)
    with serving(play) as url, pytest.raises(ServerError, match=r"must answer in JSON.*Correct the address"):
        post(url)
    assert len(play.headers) == 1


def test_a_reply_without_an_end_is_refused(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_REPLY_BYTES", 1 << 20)
    play.fault = lambda _: Fault(huge=True)
    with serving(play) as url, pytest.raises(ServerError, match="must send at most 1048576 bytes, and sends more"):
        post(url)


def test_a_redirect_is_not_followed(play: Play) -> None:
    play.fault = lambda _: Fault(307, headers={"Location": "http://elsewhere"})
    with serving(play) as url, pytest.raises(ServerError, match=r"must answer with status 200, not status 307"):
        post(url)
    assert len(play.headers) == 1


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("https://example.org/v1/", "https://example.org/v1"),
        ("http://[::1]:8000/models/a", "http://[::1]:8000/models/a/v1"),
    ],
)
def test_v1_may_be_left_out(url: str, address: str) -> None:
    assert str(Server(url)) == address


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://localhost", "http://", "http:///v1", "http://h:99999", "http://h:port", "http://h:0",
     "file:///etc/passwd", "http://[::1"],
)  # fmt: skip
def test_an_address_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^address of the server must be http:// or https:// with a host"):
        Server(url)


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "me:secret@host", "http://me:secret@host:port"])
def test_a_password_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=f"must hold no name or password. Put a key .* {API_KEY}$") as error:
        Server(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["http://host/v1?key=secret", "http://host/v1#secret", "http://host/v 1secret"])
def test_a_query_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="must end with its path") as error:
        Server(url)
    assert "secret" not in str(error.value)
