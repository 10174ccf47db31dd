"""The engine that asks a server which speaks OpenAI's protocol, such as vLLM or SGLang.

Owns what is sent and what is checked. The server gets exactly the pixels that dcap would feed to a model, as PNG. It
must count as many tokens in each prompt as dcap does. A server that resizes images by itself, or has another chat
template, gives no error, only worse answers.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from dcap.answers.grammar import AnswerGrammar
from dcap.answers.server_grammar import to_ebnf
from dcap.augment.fit import MULTIPLE
from dcap.core.errors import ConfigError, ServerError, nearest_hint
from dcap.core.log import get_logger
from dcap.core.threads import map_in_threads
from dcap.core.words import misfit, show
from dcap.data.encode import END, PAD, Encoder, token_of_bytes
from dcap.geometry.canvas import MAX_ASPECT_RATIO, Canvas
from dcap.infer.engine import Reply, Request
from dcap.infer.server import RefusedRequestError, Server, UnansweredError
from dcap.model.decoding import Decoding

log = get_logger(__name__)

MOST_SENT_PIXELS = 1 << 24
"""Largest image that is sent: the most that the published image processor makes. A larger one is never encoded."""
MODELS = "/models"
COMPLETIONS = "/chat/completions"
PROBE_TIMEOUT_S = 30.0
"""Seconds to wait for the list of models and for an answer of one token."""
_WRONG_CONTENT = (400, 422)
_MISSING = 404
_MAX_SEED = (1 << 63) - 1
_CHARACTERS_OF_A_TOKEN = 256
"""More than any token has. A server that does not heed `max_tokens` would else send what takes minutes to read."""
_LEAST_BOUND = 1 << 16

EXTRAS = ("skip_special_tokens", "return_token_ids", "top_k", "repetition_penalty")
"""Fields beyond OpenAI's that are sent to servers which take them."""
GRAMMAR = "structured_outputs"
"""Field of vLLM with the grammar of an answer."""
BOUNDS = "mm_processor_kwargs"
"""Field with the size bounds of images, for servers that were started to take it with a request."""


class RefusedSettingError(ConfigError):
    """A setting of the decoding that the server does not take."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class _DisagreementError(ServerError):
    """A server that answers other than agreed. Another request would not help."""


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning: Any = None
    """What a reasoning parser takes out of the answer. Older servers call it `reasoning_content`."""
    reasoning_content: Any = None


class _TokenScore(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | None = None


class _Scores(msgspec.Struct):
    content: list[_TokenScore] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Scores | None = None
    token_ids: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    model: str
    choices: list[_Choice]
    usage: _Usage


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class OpenAiEngine:
    """A model on a server.

    Example:
        engine = OpenAiEngine(Server("http://localhost:8000"), "mine")

    Args:
        server: The server.
        model: The name by which it knows the model.
        encoder: Counts the tokens of prompts, to compare them with the server's. `None`: they are not compared.
        max_pixels: Largest area of the images, to tell a server that resizes them.
        num_parallel: Number of requests at a time.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        encoder: Encoder | None = None,
        max_pixels: int = 1 << 20,
        num_parallel: int = 16,
    ) -> None:
        self.server, self.model, self.encoder = server, model, encoder
        self.num_parallel = num_parallel
        # The published processor names areas so. A narrow image may be larger than the bound that it was made for.
        least, narrow = MULTIPLE * MULTIPLE, MAX_ASPECT_RATIO * MULTIPLE * MULTIPLE
        self._bounds = {"size": {"shortest_edge": least, "longest_edge": max(max_pixels, narrow)}}
        self._extras: set[str] = set()
        self._probe: Request | None = None

    @staticmethod
    def choose_model(server: Server, name: str | None) -> str:
        """Return the name of the model to ask for, one that the server lists.

        Args:
            server: The server.
            name: The name to look for. `None`: the only model of the server.

        Raises:
            ConfigError: The server does not list the name; or it lists not exactly one, and none is given.
            ServerError: The server does not answer.
        """
        try:
            known = [model.id for model in _list(server)]
        except RefusedRequestError:
            if name is None:
                raise ConfigError(f"--server-model must be given: {server} does not list its models") from None
            return name
        except UnansweredError as error:
            # Some servers fail to list their models, and answer as one of them.
            if name is None or not error.is_broken:
                raise
            return name
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            raise ConfigError(f"--server-model must be given, one of {', '.join(map(show, known)) or 'none'}")
        if name not in known:
            raise ConfigError(
                f"--server-model must be a model of {server}, not {show(name)}{nearest_hint(name, known)}"
            )
        return name

    def agree(self, probes: Sequence[Request], decoding: Decoding) -> None:
        """Ask some questions, to find out what the server takes and whether it sees what it is sent.

        They are asked as later ones are, except that one token is enough.

        Args:
            probes: Questions about the smallest and the largest image that will be sent.
            decoding: How later answers are written.

        Raises:
            ServerError: The server does not answer, counts other tokens in a prompt, or refuses a probe.
            ConfigError: `decoding` needs what the server does not take.
        """
        self._extras = set(EXTRAS)
        brief = _one_token(replace(decoding, grammar=False))
        # The large probe need not have all the pixels that an image may have.
        texts = max(self._agree_on(probe, brief) - _num_image_tokens(probe) for probe in probes)
        longest = texts + self._bounds["size"]["longest_edge"] // (MULTIPLE * MULTIPLE)
        self._probe = probes[0]
        for name, given in (("top_k", decoding.top_k != 0), ("repetition_penalty", decoding.repetition_penalty != 1.0)):
            if given and name not in self._extras:
                raise ConfigError(f"{name} must be left out: {self.server} refuses it")
        if decoding.stop_repeats is not None:
            raise ConfigError(f"stop_repeats must be left out: {self.server} writes each answer to its end")
        if decoding.grammar:
            self._check_grammar(probes[0], brief)
        missing = sorted(set(EXTRAS) - self._extras)
        if missing:
            log.info("%s does without %s", self.server, ", ".join(missing))
        limit = self._context()
        if limit is not None and longest + decoding.max_new_tokens > limit:
            raise ConfigError(
                f"max_new_tokens must be at most {limit - longest} for {self.server}, whose context has {limit} tokens "
                f"and whose prompts take up to {longest}, not {decoding.max_new_tokens}"
            )

    def _check_grammar(self, probe: Request, brief: Decoding) -> None:
        try:
            self._post(probe, replace(brief, grammar=True), 0, attempts=2)
        except RefusedRequestError as error:
            raise ConfigError(f"grammar must be left out: {self.server} does not take {GRAMMAR} ({error})") from None

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Reply]:
        """Return the answers to some requests, in their order; see `TextEngine.generate`.

        Raises:
            ServerError: The server does not answer, or not as agreed.
        """
        asked = [(request, k) for request in requests for k in range(decoding.num_samples)]
        threads = min(self.num_parallel, len(asked))
        return list(map_in_threads(lambda each: self._reply(*each, decoding), asked, threads))

    def _reply(self, request: Request, sample: int, decoding: Decoding) -> Reply:
        if request.image is not None and request.image[..., 0].size > MOST_SENT_PIXELS:
            height, width = request.image.shape[:2]
            error = f"image must have at most {MOST_SENT_PIXELS} pixels to be sent to a server, not {width} x {height}"
            return Reply("", "error", error=error)
        try:
            return self._read(request, self._post(request, decoding, sample), decoding)
        except ServerError as failure:
            # A request that brings the server into trouble at each try is like a refused one, if the server goes on.
            if _is_final(failure) or not (isinstance(failure, RefusedRequestError) or self._still_answers(decoding)):
                raise
            return Reply("", "error", error=str(failure))

    def _still_answers(self, decoding: Decoding) -> bool:
        if self._probe is None:
            return False
        try:
            self._try(self._probe, _one_token(decoding), attempts=1)
        except ServerError:
            return False
        return True

    def _try(self, probe: Request, brief: Decoding, attempts: int) -> Reply:
        """Return the answer to a probe, of one token; no long wait is needed for it."""
        return self._read(probe, self._post(probe, brief, 0, attempts, PROBE_TIMEOUT_S), brief)

    def _agree_on(self, probe: Request, brief: Decoding) -> int:
        """Return the server's count of tokens of a probe; drop the fields that it refuses."""
        while True:
            try:
                reply = self._try(probe, brief, attempts=2)
            except RefusedRequestError as error:
                if error.status not in _WRONG_CONTENT:
                    raise
                named = {name for name in self._extras if name in error.said}
                if not named:
                    self._check_needed(self._settings(probe, brief, 0), error.said)
                if not self._extras:
                    raise
                self._extras -= named or self._extras
            except _DisagreementError:
                if BOUNDS in self._extras or not self._takes_bounds(probe, brief):
                    raise
            else:
                return reply.prompt_tokens or 0

    def _check_needed(self, settings: Mapping[str, Any], said: str) -> None:
        """Refuse a setting that the server names when it refuses a request."""
        for name, must in _NEEDED.items():
            if name in settings and re.search(rf"\b{name}\b", said):
                raise RefusedSettingError(f"{must}: {self.server} refuses {name} ({said})", name) from None

    def _takes_bounds(self, probe: Request, brief: Decoding) -> bool:
        """Return whether the server sees what it is sent once it is told the bounds of sizes."""
        self._extras.add(BOUNDS)
        try:
            self._try(probe, brief, attempts=2)
        except (RefusedRequestError, _DisagreementError):
            self._extras.discard(BOUNDS)
            return False
        return True

    def _context(self) -> int | None:
        """Return how many tokens the model takes. `None`: the server does not tell."""
        try:
            models = _list(self.server)
        except RefusedRequestError:
            return None
        except UnansweredError as error:
            if not error.is_broken:
                raise
            return None
        limits = {model.id: model.max_model_len for model in models if model.max_model_len}
        # vLLM names the bound of its one base model, and none for an adapter.
        others = set(limits.values())
        return limits.get(self.model, others.pop() if len(others) == 1 else None)

    def _post(
        self,
        request: Request,
        decoding: Decoding,
        sample: int,
        attempts: int | None = None,
        timeout_s: float | None = None,
    ) -> _Completion:
        content: list[dict[str, Any]] = [{"type": "text", "text": request.user}]
        if request.image is not None:
            content.insert(0, {"type": "image_url", "image_url": {"url": data_url(request.image)}})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if request.system is not None:
            messages.insert(0, {"role": "system", "content": request.system})
        body = {"model": self.model, "messages": messages, **self._settings(request, decoding, sample)}
        found = self.server.post(COMPLETIONS, body, attempts, timeout_s)
        return _typed(found, _Completion, f"{self.server}{COMPLETIONS}")

    def _settings(self, request: Request, decoding: Decoding, sample: int) -> dict[str, Any]:
        """Return the fields that say how the answer is written."""
        settings: dict[str, Any] = {"max_tokens": decoding.max_new_tokens, "temperature": decoding.temperature}
        if not decoding.is_greedy:
            # A signed number of 64 bits is what servers take.
            settings["seed"] = decoding.sample_seed(request.key, sample) & _MAX_SEED
            settings["top_p"] = decoding.top_p
        if decoding.stop:
            settings["stop"] = list(decoding.stop)
        if decoding.logprobs:
            settings["logprobs"] = True
        if decoding.grammar and request.profile is not None:
            canvas = None if request.image is None else Canvas(*request.image.shape[:2])
            settings[GRAMMAR] = {"grammar": to_ebnf(AnswerGrammar(request.profile, canvas))}
        # Left out, vLLM takes them from the model's generation_config.json, and answers would differ in silence.
        extras = {
            "skip_special_tokens": False,
            "return_token_ids": True,
            "top_k": decoding.top_k or -1,
            "repetition_penalty": decoding.repetition_penalty,
            BOUNDS: self._bounds,
        }
        return settings | {name: value for name, value in extras.items() if name in self._extras}

    def _read(self, request: Request, found: _Completion, decoding: Decoding) -> Reply:
        """Return the reply of a completion, after a look at whether it is what was asked for."""
        if found.model != self.model:
            raise _DisagreementError(f"{self.server} must answer as model {show(self.model)}, not as "
                                     f"{show(found.model)}. Give --server-model")  # fmt: skip
        if not found.choices:
            raise _DisagreementError(f"{self.server}{COMPLETIONS} must answer with one choice, not with none")
        choice, prompt_tokens = found.choices[0], found.usage.prompt_tokens
        self._compare(request, prompt_tokens)
        if (choice.message.reasoning or choice.message.reasoning_content) and self.encoder is not None:
            raise _DisagreementError(f"{self.server} must leave reasoning in the answer, and takes it out. Start it "
                                     "without a reasoning parser")  # fmt: skip
        finish = _FINISHES.get(choice.finish_reason or "")
        if finish is None:
            error = f"finish_reason must be stop or length, not {show(choice.finish_reason)}"
            return Reply("", "error", prompt_tokens=prompt_tokens, error=error)
        text, ids = choice.message.content or "", choice.token_ids
        if len(text) > (most := max(_LEAST_BOUND, _CHARACTERS_OF_A_TOKEN * decoding.max_new_tokens)):
            error = (
                f"answer must have at most {most} characters in its {decoding.max_new_tokens} tokens, not {len(text)}"
            )
            return Reply("", "error", prompt_tokens=prompt_tokens, error=error)
        scores = choice.logprobs.content if choice.logprobs and decoding.logprobs else None
        if finish == "stop":
            # The end token is no part of the answer. Servers differ in whether they show it.
            text = text.removesuffix(END).removesuffix(PAD)
            if ids and self.encoder and ids[-1] in (self.encoder.end_id, self.encoder.pad_id):
                ids = ids[:-1]
            if scores and scores[-1].token in (END, PAD):
                scores = scores[:-1]
        if ids is None and scores is not None:
            ids = self._spelt(scores, text)
        return Reply(
            text=text,
            finish=finish,
            token_ids=None if ids is None else tuple(ids),
            logprobs=None if scores is None else tuple(score.logprob for score in scores),
            prompt_tokens=prompt_tokens,
            tokens=found.usage.completion_tokens if ids is None else len(ids),
        )

    def _spelt(self, scores: Sequence[_TokenScore], text: str) -> list[int] | None:
        """Return the tokens of an answer from their bytes or texts. `None`: these do not spell the answer."""
        spelt = [score.token.encode() if score.bytes is None else bytes(score.bytes) for score in scores]
        if self.encoder is None or b"".join(spelt) != text.encode():
            return None
        ids = [token_of_bytes(self.encoder.tokenizer, each) for each in spelt]
        return [token for token in ids if token is not None] if None not in ids else None

    def _compare(self, request: Request, theirs: int) -> None:
        """Compare the tokens of a prompt with dcap's own count."""
        if self.encoder is None:
            return
        ours, about, way_out = self._count(request, self.encoder)
        if theirs != ours:
            what = f"{self.server} must count {ours} tokens in a prompt {about}, not {theirs}"
            raise _DisagreementError(f"{what}. {way_out}")

    def _count(self, request: Request, encoder: Encoder) -> tuple[int, str, str]:
        """Return dcap's count of the tokens of a prompt, what it is about, and what to do about another count."""
        if request.image is None:
            ours = len(encoder.prompt_ids(request.system, request.user, None))
            return ours, "of text", "It must use the chat template and the tokenizer of the model"
        canvas = Canvas(*request.image.shape[:2])
        ours = encoder.num_prompt_tokens(request.system, request.user, canvas)
        bounds = msgspec.json.encode(self._bounds).decode()
        way_out = (
            "It resizes images, or has another chat template or system message. Start vLLM with --mm-processor-kwargs "
            f"'{bounds}', or write this size into the model's preprocessor_config.json"
        )
        return ours, f"with an image of {canvas.width} x {canvas.height}", way_out


_NEEDED: Mapping[str, str] = {
    "logprobs": "logprobs must be left out",
    "stop": "stop must be left out",
    "seed": "temperature must be 0",
    "top_p": "temperature must be 0",
}
"""Fields without which answers would be others, and what is to be done without each."""
_FINISHES: Mapping[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


def _is_final(error: ServerError) -> bool:
    """Whether an error is no fault of its request, so that others would meet it too."""
    missing = isinstance(error, RefusedRequestError) and error.status == _MISSING
    # A server that is busy now may answer the next request, which says nothing against this one.
    busy = isinstance(error, UnansweredError) and error.is_busy
    return missing or busy or isinstance(error, _DisagreementError)


def _one_token(decoding: Decoding) -> Decoding:
    return replace(decoding, max_new_tokens=1, num_samples=1)


def _num_image_tokens(request: Request) -> int:
    return 0 if request.image is None else int(request.image[..., 0].size) // (MULTIPLE * MULTIPLE)


def data_url(image: npt.NDArray[np.uint8]) -> str:
    """Return an image as a data URL that holds its pixels without loss.

    Args:
        image: uint8 (H, W, 3) RGB.
    """
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getbuffer()).decode('ascii')}"


def _list(server: Server) -> list[_Model]:
    """Return the models of a server.

    Raises:
        UnansweredError: The server does not answer.
        RefusedRequestError: It has no list.
    """
    return _typed(server.get(MODELS, attempts=2, timeout_s=PROBE_TIMEOUT_S), _Models, f"{server}{MODELS}").data


T = TypeVar("T")


def _typed(tree: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise _DisagreementError(
            f"{where} must answer as a server that speaks OpenAI's protocol does, and does not: "
            f"{misfit(str(error), 'reply')}. Correct the address, or give another server"
        ) from None
