"""The choice of the next token of each row: the most probable one, or one that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dcap.core.random import generator
from dcap.model.decoding import Decoding


class TokenChoice:
    """Chooses tokens as a `Decoding` says.

    Args:
        decoding: Temperature, bounds and penalty.
    """

    def __init__(self, decoding: Decoding) -> None:
        from transformers.generation import logits_process as process

        self._decoding = decoding
        self._warpers: list[Any] = []
        if decoding.is_greedy:
            return
        # The order of transformers.
        if decoding.temperature != 1.0:
            self._warpers.append(process.TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_k:
            self._warpers.append(process.TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1.0:
            self._warpers.append(process.TopPLogitsWarper(decoding.top_p))

    def __call__(
        self, logits: torch.Tensor, seen: torch.Tensor | None, draws: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Return the chosen tokens, int64 (B,).

        Args:
            logits: float32 (B, V).
            seen: bool (B, V), as `scores` takes it.
            draws: Of each row, the seed of its answer and how many tokens that has. The draw depends on these two, so
                neither other rows nor their order matter.
        """
        scores = self.scores(logits, seen)
        if self._decoding.is_greedy:
            return scores.argmax(dim=-1)
        # In float64, so that rounding decides about one draw in millions, where rows are summed in another order.
        heights = scores.softmax(dim=-1).double().cumsum(dim=-1)
        drawn = [generator(seed, count).random() for seed, count in draws]
        levels = heights[:, -1:] * torch.tensor(drawn, dtype=torch.float64, device=logits.device)[:, None]
        return torch.searchsorted(heights, levels, right=True)[:, 0]

    def scores(self, logits: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """Return the logits, float32 (B, V), that tokens are drawn by.

        Args:
            logits: float32 (B, V).
            seen: bool (B, V): tokens of the prompt and of the answer so far. `None`: there is no penalty on them.
        """
        if seen is not None:
            penalty = self._decoding.repetition_penalty
            # A division would make a negative logit larger.
            penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
            logits = torch.where(seen, penalised, logits)
        for warper in self._warpers:
            logits = warper(None, logits)
        return logits
