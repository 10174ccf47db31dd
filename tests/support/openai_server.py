"""A strict server with OpenAI's protocol. It refuses what it does not know, and plays what goes wrong elsewhere.

It counts the tokens of a prompt by itself, from the text and the pixels that come in. So it finds out a client that
sends something else than dcap's own prompt.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dcap.augment.fit import fit_canvas
from dcap.geometry.canvas import Canvas

STANDARD = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "n"}
"""Fields of OpenAI's own protocol."""
VLLM = STANDARD | {"skip_special_tokens", "return_token_ids", "top_k", "repetition_penalty"}
"""Fields that vLLM takes too."""


@dataclass(frozen=True)
class Asked:
    """One chat completion that was asked for."""

    system: str | None
    user: str
    image: npt.NDArray[np.uint8] | None
    body: Mapping[str, Any]

    def prompt(self, tokenizer: Any) -> str:
        """The prompt as the chat template writes it, with one placeholder for the image."""
        image = [] if self.image is None else [{"type": "image"}]
        turns: list[dict[str, Any]] = [{"role": "user", "content": [*image, {"type": "text", "text": self.user}]}]
        if self.system is not None:
            turns.insert(0, {"role": "system", "content": self.system})
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


@dataclass
class Fault:
    """What goes wrong instead of an answer."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False
    """Half of the reply, and then nothing."""
    drop: bool = False
    """The connection ends without a reply."""
    huge: bool = False
    """A reply without an end."""
    drip: bool = False
    """A reply that comes byte by byte, without an end."""
    drip_head: bool = False
    """A head that comes byte by byte, without an end."""
    sized: bool = True
    """Whether the reply says how long it is."""


@dataclass
class Play:
    """What the server does; tests change it while it runs."""

    answer: Callable[[Asked], Mapping[str, Any]]
    """The choice of a completion: ``message``, ``finish_reason`` and what else there is."""
    tokenizer: Any
    model: str = "mine"
    answers_as: str | None = None
    """The name in replies, where it is another one."""
    fields: set[str] = field(default_factory=lambda: set(VLLM))
    fault: Callable[[int], Fault | None] = lambda number: None
    """What goes wrong with the n-th completion, from 0."""
    models: Fault | list[dict[str, Any]] | None = None
    """What the list of models is, where it is another one."""
    bounds: tuple[int, int] = (1024, 1 << 24)
    """Sizes that images are resized to."""
    key: str | None = None
    seconds: float = 0.0
    """Time that every completion takes."""
    asked: list[Asked] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    release: threading.Event = field(default_factory=threading.Event)
    """Set at the end, so that nothing hangs any longer."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request while it is answered."""
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.lock:
                self.in_flight -= 1


class RefusedError(Exception):
    """What the server answers with 400."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StrictServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        play = self.server.play
        if self.path != "/v1/models":
            self._send(404, {"error": {"message": f"no {self.path} here"}})
        elif isinstance(play.models, Fault):
            self._fail(play.models)
        else:
            models = [{"id": play.model, "object": "model"}] if play.models is None else play.models
            self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        play = self.server.play
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with play.lock:
            number = len(play.headers)
            play.headers.append(dict(self.headers))
        self._answer(play, number, data)

    def _answer(self, play: Play, number: int, data: bytes) -> None:
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": f"no {self.path} here"}})
            return
        if play.key is not None and self.headers["Authorization"] != f"Bearer {play.key}":
            self._send(401, {"error": {"message": f"wrong key: {self.headers['Authorization']}"}})
            return
        fault = play.fault(number)
        if fault is not None:
            self._fail(fault)
            return
        try:
            with play.counted():
                body = completion(play, json.loads(data))
                if play.seconds:
                    time.sleep(play.seconds)
        except RefusedError as error:
            self._send(400, {"error": {"message": str(error), "type": "BadRequestError", "code": 400}})
            return
        except LookupError as error:
            self._send(404, {"error": {"message": f"The model {error} does not exist."}})
            return
        self._send(200, body)

    def _fail(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.hang:
            self.server.play.release.wait(30)
        if fault.hang or fault.drop:
            return
        if fault.huge or fault.drip or fault.drip_head:
            if not fault.drip_head:
                self._headers(200, 1 << 40, {})
            try:
                while not self.server.play.release.wait(0 if fault.huge else 0.01):
                    self.wfile.write(b"[" * (1 << 20) if fault.huge else b"[" if fault.drip else b"H")
            except OSError:
                return
        data = b'{"error": {"message": "boom"}}' if fault.body is None else fault.body
        self._headers(fault.status, len(data) if fault.sized else None, fault.headers)
        self.wfile.write(data[: len(data) // 2] if fault.cut else data)

    def _send(self, status: int, tree: Any) -> None:
        data = json.dumps(tree).encode()
        self._headers(status, len(data), {})
        self.wfile.write(data)

    def _headers(self, status: int, size: int | None, more: Mapping[str, str]) -> None:
        self.send_response(status)
        length = {} if size is None else {"Content-Length": str(size)}
        for name, value in {"Content-Type": "application/json", **length, **more}.items():
            self.send_header(name, value)
        self.end_headers()


class StrictServer(ThreadingHTTPServer):
    """The server; its `play` says what it does."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, play: Play) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.play = play

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(play: Play) -> Iterator[str]:
    """Run a server and yield its address."""
    server = StrictServer(play)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        play.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def completion(play: Play, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reply to a chat completion.

    Raises:
        RefusedError: It has what the server does not know.
        LookupError: The server has no such model.
    """
    unknown = sorted(set(body) - play.fields)
    if unknown:
        raise RefusedError(f"extra fields not permitted: {', '.join(unknown)}")
    if body["model"] != play.model:
        raise LookupError(body["model"])
    asked = _asked(body)
    play.asked.append(asked)
    tokens = len(play.tokenizer(asked.prompt(play.tokenizer), add_special_tokens=False)["input_ids"])
    if asked.image is not None:
        seen = fit_canvas(Canvas(*asked.image.shape[:2]), *_bounds(play, body))
        tokens += seen.num_pixels // 1024 - 1
    choice = {"index": 0, "finish_reason": "stop", **play.answer(asked)}
    usage = {"prompt_tokens": tokens, "completion_tokens": 7, "total_tokens": tokens + 7}
    return {"id": "x", "object": "chat.completion", "model": play.answers_as or play.model,
            "choices": [choice], "usage": usage}  # fmt: skip


def _bounds(play: Play, body: Mapping[str, Any]) -> tuple[int, int]:
    size = body.get("mm_processor_kwargs", {}).get("size", {})
    return size.get("shortest_edge", play.bounds[0]), size.get("longest_edge", play.bounds[1])


def _asked(body: Mapping[str, Any]) -> Asked:
    turns = list(body["messages"])
    system = turns.pop(0)["content"] if turns[0]["role"] == "system" else None
    (turn,) = turns
    parts = list(turn["content"])
    image = _pixels(parts.pop(0)["image_url"]["url"]) if parts[0]["type"] == "image_url" else None
    ((kind, text),) = [(part["type"], part["text"]) for part in parts]
    if turn["role"] != "user" or kind != "text" or set(turn) != {"role", "content"}:
        raise RefusedError("messages must be a system message, if any, and one of the user")
    return Asked(system, text, image, body)


def _pixels(url: str) -> npt.NDArray[np.uint8]:
    head, _, data = url.partition(",")
    if head != "data:image/png;base64":
        raise RefusedError("image must be a PNG in a data URL")
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        if (image.format, image.mode) != ("PNG", "RGB"):
            raise RefusedError("image must be a PNG in RGB")
        return np.asarray(image)


def text_answer(text: str | Callable[[Asked], str]) -> Callable[[Asked], Mapping[str, Any]]:
    """Return an `answer` of a `Play` that writes a text."""
    return lambda asked: {"message": {"role": "assistant", "content": text if isinstance(text, str) else text(asked)}}


def model_answer(generator: Any) -> Callable[[Asked], Mapping[str, Any]]:
    """Return an `answer` of a `Play` that asks a model in this process, one request at a time."""
    from dcap.data.encode import Encoder
    from dcap.infer.engine import Request
    from dcap.infer.hf_engine import HfEngine
    from dcap.model.decoding import Decoding

    engine, lock = HfEngine(generator, Encoder(generator.tokenizer)), threading.Lock()

    def answer(asked: Asked) -> Mapping[str, Any]:
        decoding = Decoding(
            max_new_tokens=asked.body["max_tokens"],
            temperature=asked.body["temperature"],
            logprobs=asked.body.get("logprobs", False),
        )
        with lock:
            (reply,) = engine.generate([Request("", asked.system, asked.user, asked.image)], decoding)
        end = [engine.encoder.end_id] if reply.finish == "stop" else []
        ids = [*(reply.token_ids or ()), *end]
        scores = zip(ids, [*(reply.logprobs or ()), *[0.0 for _ in end]], strict=False)
        return {
            "message": {"role": "assistant", "content": reply.text},
            "finish_reason": reply.finish,
            "token_ids": ids,
            "logprobs": {
                "content": [{"token": generator.tokenizer.decode([k]), "logprob": score} for k, score in scores]
            },
        }

    return answer
