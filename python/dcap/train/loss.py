"""The loss: weighted cross-entropy at the supervised positions only, in chunks.

With 151 936 words, the logits of a 4096-token row take 2.3 GiB in float32, several times over in the backward pass.
Here the head runs on supervised positions only and chunk by chunk, each recomputed in the backward pass, so memory
depends on the chunk and neither on the prompt nor on the length of the answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import nn
from torch.utils.checkpoint import checkpoint

from dcap.data.encode import IGNORE_INDEX
from dcap.model.attention import attention_kwargs
from dcap.model.lora import core


class LossOutput(NamedTuple):
    """Sums over the supervised positions of one batch; nothing is averaged before the whole step is known."""

    loss_sum: torch.Tensor
    """float32 (): sum of weight x cross-entropy."""
    num_correct: torch.Tensor
    """int64 (): positions of positive weight where the likeliest token is the label."""
    token_loss: torch.Tensor
    """float32 (n,): cross-entropy of each supervised position, without gradient."""
    positions: torch.Tensor
    """int64 (n, 2): row and column of each supervised position."""


def next_token_targets(labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where the model is graded, on what, and how much it counts.

    The hidden state of position t predicts the token of t + 1. The first token of each sample carries no label, so
    nothing is predicted across a boundary.

    Args:
        labels: int64 (B, L), -100 where unsupervised.
        weights: float32 (B, L), of each label.

    Returns:
        int64 (n, 2) rows and columns of the predicting positions, int64 (n,) labels, float32 (n,) weights.
    """
    positions = (labels[:, 1:] != IGNORE_INDEX).nonzero()
    rows, columns = positions.unbind(1)
    return positions, labels[rows, columns + 1], weights[rows, columns + 1]


def chunked_cross_entropy(
    head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, chunk_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cross-entropy of each position, with one chunk of logits alive at a time.

    Args:
        head: Maps (n, H) to logits (n, V).
        hidden: (n, H); n may be 0.
        targets: int64 (n,).
        chunk_tokens: Positions per chunk.

    Returns:
        float32 (n,) cross-entropy, and bool (n,), whether the label is the likeliest token.
    """
    # An empty chunk keeps the graph whole, which distributed training counts on.
    pairs = zip(torch.split(hidden, chunk_tokens), torch.split(targets, chunk_tokens), strict=True)
    parts = [checkpoint(_cross_entropy, head, h, t, use_reentrant=False) for h, t in pairs]
    losses, correct = zip(*parts, strict=True)
    return torch.cat(losses), torch.cat(correct)


def _cross_entropy(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = head(hidden).float()
    correct = logits.detach().argmax(dim=-1) == targets
    return F.cross_entropy(logits, targets, reduction="none"), correct


class SupervisedLoss(nn.Module):
    """The model together with its loss: what Accelerate wraps, so that its forward pass is a whole training pass.

    Args:
        model: Qwen3-VL, bare or with adapters.
        chunk_tokens: Positions per cross-entropy chunk.
        dtype: Precision of the forward pass; below float32 it runs under autocast, the loss stays float32.
    """

    def __init__(self, model: Any, chunk_tokens: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = model
        self.chunk_tokens = chunk_tokens
        self.dtype = dtype

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        loss_weights: torch.Tensor,
        position_ids: torch.Tensor,
        cu_seqlens: torch.Tensor | None = None,
        longest: int | None = None,
        **images: torch.Tensor,
    ) -> LossOutput:
        """Return the loss of one batch.

        Args:
            input_ids: int64 (B, L).
            labels: int64 (B, L), -100 where unsupervised.
            loss_weights: float32 (B, L), of each label.
            position_ids: int64 (4, B, L): text, temporal, height, width.
            cu_seqlens: int32 (S + 1,) bounds of the samples of a packed row.
            longest: Tokens of the longest sample of a packed row.
            **images: ``pixel_values`` and ``image_grid_thw``, when there are images.
        """
        model = core(self.model)
        positions, targets, weights = next_token_targets(labels, loss_weights)
        with torch.autocast(input_ids.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            hidden = model.model(
                input_ids=input_ids,
                position_ids=position_ids,
                use_cache=False,
                **attention_kwargs(cu_seqlens, longest),
                **images,
            ).last_hidden_state
            rows, columns = positions.unbind(1)
            losses, correct = chunked_cross_entropy(model.lm_head, hidden[rows, columns], targets, self.chunk_tokens)
        return LossOutput(
            loss_sum=(losses * weights).sum(),
            num_correct=(correct & (weights > 0)).sum(),
            token_loss=losses.detach(),
            positions=positions,
        )
