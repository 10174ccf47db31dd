"""Decoding: how answers are written, whatever engine writes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dcap.core.config import check_fields
from dcap.core.errors import ConfigError


@dataclass(frozen=True)
class Decoding:
    """How answers are written.

    The default is greedy: the same answer every time.

    Raises:
        ConfigError: A value is out of its range.
    """

    max_new_tokens: int = 4096
    """Stop an answer after this many tokens."""
    temperature: float = 0.0
    """0: always the most probable token. Above 0: draw each token; a larger temperature draws more evenly."""
    top_p: float = 1.0
    """Draw from the most probable tokens that together have at least this probability. 1: from all."""
    top_k: int = 0
    """Draw from this many of the most probable tokens. 0: from all."""
    repetition_penalty: float = 1.0
    """Above 1: tokens of the prompt and of the answer so far become less probable. 1: they do not."""
    num_samples: int = 1
    """Number of answers to each prompt. Greedy answers to one prompt are equal."""
    seed: int = 0
    """Seed of all draws."""
    stop: tuple[str, ...] = ()
    """An answer ends where one of these texts would begin."""
    logprobs: bool = False
    """Return the log-probability of each token too: that of the model, before temperature, bounds and penalty."""
    grammar: bool = False
    """Let the model write nothing but answers in the format of its profile, so that each one that ends can be read."""
    fast_forward: bool = True
    """With `grammar`: write what must come next without asking the model. The answer is the same, in less time."""
    stop_repeats: int | None = None
    """End an answer behind an object that was written so many times before. `null`: never."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_new_tokens", "num_samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("temperature", "top_k", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, not {getattr(self, name)}")
        if self.stop_repeats is not None and self.stop_repeats < 1:
            raise ConfigError(f"stop_repeats must be at least 1, not {self.stop_repeats}")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if self.repetition_penalty <= 0.0:
            raise ConfigError(f"repetition_penalty must be above 0, not {self.repetition_penalty}")
        if "" in self.stop:
            raise ConfigError("stop must hold texts of at least one character, not an empty one")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0.0

    def sample_seed(self, key: str, sample: int) -> int:
        """Return the seed of one answer, 0 .. 2**64 - 1. It depends on nothing but `seed` and the arguments.

        Args:
            key: Name of the prompt, such as file and line of a record.
            sample: Which answer to that prompt, from 0.
        """
        digest = hashlib.blake2b(f"{self.seed}\0{sample}\0{key}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "little")
