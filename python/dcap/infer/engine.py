"""The protocol of engines: requests in, replies out, wherever the model runs.

`dcap.infer.hf_engine` runs the model in this process, `dcap.infer.openai_engine` asks a server, and
`dcap.infer.scripted_engine` answers from a script. Whoever asks needs none of them, only this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from dcap.answers.profile import AnswerProfile
from dcap.model.decoding import Decoding


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """One question to a model."""

    key: str
    """Name of the question, such as file and line of a record. With the run's seed it decides what is drawn."""
    system: str | None
    """System message. `None`: the model gets none."""
    user: str
    """What the model is asked."""
    image: npt.NDArray[np.uint8] | None
    """uint8 (H, W, 3) RGB, exactly as the model sees it: H and W are multiples of 32. `None`: a question about text."""
    profile: AnswerProfile | None = None
    """How the objects of the answer are written, for `Decoding.grammar` and `Decoding.stop_repeats`. `None`: the answer
    is a text."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a model, or why there is none."""

    text: str
    """The answer without its end token. Other special tokens stay where the engine shows them."""
    finish: Literal["stop", "length", "error"]
    """Why it ended: by itself, after too many tokens, or because this one request could not be answered."""
    token_ids: tuple[int, ...] | None = None
    """The tokens of the text. `None`: the engine does not tell them."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each token; only if they were asked for and the engine tells them."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, as the engine counts them."""
    tokens: int = 0
    """Tokens of the answer, as the engine counts them."""
    error: str | None = None
    """What keeps this request from being answered; only with the finish ``error``."""


class TextEngine(Protocol):
    """A model that answers, wherever it runs."""

    @property
    def num_parallel(self) -> int:
        """How many calls of `generate` may run at the same time, each in a thread of its own."""
        ...

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Reply]:
        """Return the answers to some requests, in their order.

        Args:
            requests: The requests. An engine makes batches of them as it likes; no answer depends on that.
            decoding: How answers are written. There are `num_samples` replies to each request, side by side.

        Returns:
            ``len(requests) * decoding.num_samples`` replies. A request that cannot be answered, while others can, has
            replies with the finish ``error``.

        Raises:
            DcapError: No request can be answered: the model or its server fails, or is another one than agreed.
        """
        ...
