"""The loss: weighted cross-entropy at the supervised positions only, in chunks.

With 151 936 words, the logits of a 4096-token row take 2.3 GiB in float32, several times over in the backward pass.
Here the head runs on supervised positions only, chunk by chunk. Each chunk's gradient is computed at once, in the
buffer of its logits. So memory depends on the chunk, not on the length of prompt or answer, and no logits are computed
twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.data.tokens import TokenKind
from dcap.model.attention import attention_kwargs
from dcap.model.lora import bare_model
from dcap.model.patch_embedding import pixels_for


class LossOutput(NamedTuple):
    """Sums over the supervised positions of one batch; nothing is averaged before the whole step is known."""

    loss_sum: torch.Tensor
    """float32 (): sum of weight x cross-entropy, in training with label smoothing."""
    num_correct: torch.Tensor
    """int64 (): number of positions with a positive weight whose likeliest token is the label."""
    correct: torch.Tensor
    """bool (n,): whether the likeliest token is the label, whatever the weight of the position."""
    token_loss: torch.Tensor
    """float32 (n,): cross-entropy of each supervised position, without gradient and label smoothing."""
    positions: torch.Tensor
    """int64 (n, 2): row and column of each supervised position."""
    weight_sum: torch.Tensor
    """float32 (): sum of the weights of the supervised positions."""

    @property
    def loss(self) -> torch.Tensor:
        """float32 (): mean cross-entropy of this batch, weighted; for a step of one batch."""
        return self.loss_sum / self.weight_sum


def next_token_targets(labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the supervised positions, their labels and their weights.

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
    head: nn.Module,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    chunk_tokens: int,
    label_smoothing: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the weighted sum of cross-entropies, with one chunk of logits alive at a time.

    Args:
        head: Maps (n, H) to logits (n, V).
        hidden: (n, H); n may be 0.
        targets: int64 (n,).
        weights: float32 (n,).
        chunk_tokens: Positions per chunk.
        label_smoothing: Share of each label that is spread evenly over all tokens; it acts on the sum alone.

    Returns:
        float32 () sum, differentiable in `hidden` and the head's parameters; without gradient: float32 (n,)
        cross-entropy of each position, and bool (n,), whether the label is the likeliest token.

    Source: the gradient in the forward pass as in Hsu et al., "Liger Kernel", 2024.
    """
    parameters = [p for p in head.parameters() if p.requires_grad]
    apply: Any = _ChunkedCrossEntropy.apply
    total, losses, correct = apply(head, targets, weights, chunk_tokens, label_smoothing, hidden, *parameters)
    return total, losses, correct


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes the gradient while it has the logits, and scales it in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        head: nn.Module,
        targets: torch.Tensor,
        weights: torch.Tensor,
        chunk_tokens: int,
        label_smoothing: float,
        hidden: torch.Tensor,
        *parameters: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with_gradient = any(ctx.needs_input_grad)
        losses, smoothed, correct = [], [], []
        hidden_gradient = torch.empty_like(hidden) if with_gradient else hidden
        gradients = [torch.zeros_like(p) for p in parameters]
        # An empty row still makes one (empty) chunk, so that the graph is whole, as distributed training needs it.
        for start in range(0, max(len(hidden), 1), chunk_tokens):
            part = slice(start, start + chunk_tokens)
            with torch.set_grad_enabled(with_gradient):
                inputs = hidden[part].detach().requires_grad_(with_gradient)
                logits = head(inputs).float()
            loss, spread, hit, slope = _cross_entropy_in_place(
                logits.detach(), targets[part], weights[part], label_smoothing
            )
            losses.append(loss)
            smoothed.append(spread)
            correct.append(hit)
            if with_gradient:
                found = torch.autograd.grad(logits, [inputs, *parameters], slope)
                hidden_gradient[part] = found[0]
                for gradient, more in zip(gradients, found[1:], strict=True):
                    gradient += more
        ctx.save_for_backward(hidden_gradient, *gradients)
        each = torch.cat(losses)
        ok = torch.cat(correct)
        ctx.mark_non_differentiable(each, ok)
        return (torch.cat(smoothed) * weights).sum(), each, ok

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        return (None, None, None, None, None, *(gradient * scale for gradient in ctx.saved_tensors))


def _cross_entropy_in_place(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, label_smoothing: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return cross-entropy, the same with label smoothing, hits, and the gradient of the weighted sum of the second.

    The gradient takes the place of `logits`.
    """
    highest, likeliest = logits.max(dim=-1, keepdim=True)
    correct = likeliest[:, 0] == targets
    picked = logits.gather(1, targets[:, None])
    mean = logits.mean(dim=-1) if label_smoothing else None
    powers = logits.sub_(highest).exp_()
    total = powers.sum(dim=-1, keepdim=True)
    losses = (total.log() + highest - picked)[:, 0]
    slope = powers.mul_(weights[:, None] / total)
    if mean is None:
        slope.scatter_add_(1, targets[:, None], -weights[:, None])
        return losses, losses, correct, slope
    # With the label's share 1 - e and e / V for each of the V tokens: (1 - e) x loss + e x mean loss over all labels.
    even = losses + picked[:, 0] - mean
    slope.scatter_add_(1, targets[:, None], (label_smoothing - 1) * weights[:, None])
    slope.sub_(weights[:, None] * (label_smoothing / slope.shape[1]))
    return losses, torch.lerp(losses, even, label_smoothing), correct, slope


class SupervisedLoss(nn.Module):
    """The model together with its loss: what Accelerate wraps, so that its forward pass is a whole training pass.

    Args:
        model: Qwen3-VL, bare or with adapters.
        chunk_tokens: Positions per cross-entropy chunk.
        dtype: Precision of the forward pass; below float32 it runs under autocast, the loss stays float32.
        label_smoothing: Share of each label that is spread evenly over all tokens, while the module trains.

    Attributes:
        shares_weights: Whether ranks share the weights out. They put a layer together at the same time, so all must run
            the same layers: where a batch has no image, the vision side runs on a blank one, times 0. And no copy of a
            weight in half precision outlives its layer.

    Example:
        out = loss(**model_inputs(batch, device))
        out.loss.backward()
    """

    def __init__(
        self,
        model: Any,
        chunk_tokens: int = 256,
        dtype: torch.dtype = torch.float32,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.model = model
        self.chunk_tokens = chunk_tokens
        self.dtype = dtype
        self.shares_weights = False

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
            **images: ``pixel_values``, as bytes or normalised, and ``image_grid_thw``, when there are images.
        """
        model = bare_model(self.model)
        if "pixel_values" in images:
            images["pixel_values"] = pixels_for(model, images["pixel_values"])
        positions, targets, weights = next_token_targets(labels, loss_weights)
        half = self.dtype != torch.float32
        with torch.autocast(
            input_ids.device.type, dtype=self.dtype, enabled=half, cache_enabled=not self.shares_weights
        ):
            blank = self.shares_weights and "pixel_values" not in images
            hidden = model.model(
                **({"inputs_embeds": _beside_a_blank_image(model, input_ids)} if blank else {"input_ids": input_ids}),
                position_ids=position_ids,
                use_cache=False,
                **attention_kwargs(cu_seqlens, longest),
                **images,
            ).last_hidden_state
            rows, columns = positions.unbind(1)
            loss_sum, losses, correct = chunked_cross_entropy(
                model.lm_head,
                hidden[rows, columns],
                targets,
                weights,
                self.chunk_tokens,
                self.label_smoothing if self.training else 0.0,
            )
        return LossOutput(
            loss_sum=loss_sum,
            num_correct=(correct & (weights > 0)).sum(),
            correct=correct,
            token_loss=losses,
            positions=positions,
            weight_sum=weights.sum(),
        )


def weighted_by_kind(batch: Batch, token_weights: Mapping[str, float]) -> Batch:
    """Return a batch whose tokens weigh by their kind too.

    Args:
        batch: In the memory of the host.
        token_weights: By name of the `TokenKind`, in lower case; a kind that is not named has 1.
    """
    if not token_weights:
        return batch
    by_kind = torch.tensor([token_weights.get(kind.name.lower(), 1.0) for kind in TokenKind])
    return batch | {"loss_weights": batch["loss_weights"] * by_kind[batch["token_kinds"].long()]}


def _beside_a_blank_image(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """Return the embeddings of tokens, (B, L, H), to which all of the vision side has added nothing."""
    embeddings: torch.Tensor = model.get_input_embeddings()(input_ids)  # first, as in the model itself
    vision = model.config.vision_config
    side = vision.spatial_merge_size
    patches = torch.zeros(side**2, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
    grid = torch.tensor([[1, side, side]], device=input_ids.device)
    seen = model.model.get_image_features(patches.to(input_ids.device), grid, return_dict=True)
    features = [feature.sum() for layer in (seen.pooler_output, *seen.deepstack_features) for feature in layer]
    return embeddings + 0.0 * torch.stack(features).sum().to(embeddings.dtype)


_HOST_ONLY = ("mm_token_type_ids", "token_kinds")


def model_inputs(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return the arguments of `SupervisedLoss` for a batch, its tensors on `device`."""
    inputs = {
        name: value.to(device, non_blocking=True)
        for name, value in batch.items()
        if isinstance(value, torch.Tensor) and name not in _HOST_ONLY
    }
    if "cu_seqlens" in batch:
        # The value is known here without waiting for the device.
        return inputs | {"longest": int(batch["cu_seqlens"].diff().max())}
    return inputs
