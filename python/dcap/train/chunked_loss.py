"""The losses of a language model's head, in chunks: cross-entropy, and the divergence from another model.

With 151 936 words, the logits of a 4096-token row take 2.3 GiB in float32, several times over in the backward pass.
Here the head runs chunk by chunk. Each chunk's gradient is computed at once, from its logits and without a graph over
them. So memory depends on the chunk, not on the number of positions, and no logits are computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from dcap.train.distill_config import DivergenceKind

WeightsOf = Callable[[torch.Tensor, slice], torch.Tensor]
"""Returns the weights of some positions, from the log-probabilities of their labels and their place among all."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The model that another is compared with, at the same positions."""

    head: Callable[[torch.Tensor], torch.Tensor]
    """Returns the logits (n, V) of hidden states (n, H)."""
    hidden: torch.Tensor
    """(n, H), of each position."""
    weights: torch.Tensor
    """float32 (n,), of each position in the sum."""
    divergence: DivergenceKind = "forward_kl"
    """How the two are compared."""
    beta: float = 0.5
    """With ``jsd``: share of the reference in the mixture."""
    temperature: float = 1.0
    """Logits of both are divided by it."""


class Compared(NamedTuple):
    """How far a model is from its reference; all but the sum without gradient."""

    divergence_sum: torch.Tensor
    """float32 (): sum of weight x divergence x temperature squared."""
    divergence: torch.Tensor
    """float32 (n,): nats at each position."""
    agrees: torch.Tensor
    """bool (n,): whether both have the same likeliest token."""
    entropy: torch.Tensor
    """float32 (n,): of the model, at the temperature."""
    reference_entropy: torch.Tensor
    """float32 (n,): of the reference, at the temperature."""
    weights: torch.Tensor
    """float32 (n,): of the positions."""
    gradient_squares: torch.Tensor
    """float32 (2,): sum of squares of the gradient at the hidden states, of the cross-entropy sum and of the divergence
    sum. 0 where no gradient is wanted."""


class ChunkedLoss(NamedTuple):
    """Sums and values over n positions."""

    loss_sum: torch.Tensor
    """float32 (): sum of weight x cross-entropy, with label smoothing; differentiable."""
    token_loss: torch.Tensor
    """float32 (n,): cross-entropy of each position, without gradient and label smoothing."""
    correct: torch.Tensor
    """bool (n,): whether the label is the likeliest token."""
    compared: Compared | None
    """The distance from the reference. `None`: there is none."""


def chunked_loss(
    head: nn.Module,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | WeightsOf,
    chunk_tokens: int,
    label_smoothing: float = 0.0,
    reference: Reference | None = None,
) -> ChunkedLoss:
    """Return weighted sums of cross-entropies, and of divergences from a reference, with a chunk of logits at a time.

    Args:
        head: Maps (n, H) to logits (n, V).
        hidden: (n, H); n may be 0.
        targets: int64 (n,).
        weights: float32 (n,), or a function that gives them chunk by chunk: a policy gradient weighs a token by its own
            log-probability. They count as constants in the gradient.
        chunk_tokens: Positions per chunk.
        label_smoothing: Share of each label that is spread evenly over all tokens; it acts on the sum alone.
        reference: What the model is compared with. It gets no gradient.

    Returns:
        Both sums are differentiable in `hidden` and the head's parameters. Logits in float64 give values in float64.

    Source: the gradient in the forward pass as in Hsu et al., "Liger Kernel", 2024.
    """
    parameters = [p for p in head.parameters() if p.requires_grad]
    apply: Any = _ChunkedLoss.apply
    loss_sum, token_loss, correct, *compared = apply(
        head, targets, weights, chunk_tokens, label_smoothing, reference, hidden, *parameters
    )
    return ChunkedLoss(loss_sum, token_loss, correct, Compared(*compared) if compared else None)


class _ChunkedLoss(torch.autograd.Function):
    """Computes the gradients of both sums while it has the logits, and scales them in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        head: nn.Module,
        targets: torch.Tensor,
        weights: torch.Tensor | WeightsOf,
        chunk_tokens: int,
        label_smoothing: float,
        reference: Reference | None,
        hidden: torch.Tensor,
        *parameters: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        with_gradient = any(ctx.needs_input_grad)
        found = [_Gradients(hidden, parameters) for _ in range(1 if reference is None else 2)] if with_gradient else []
        chunks: list[tuple[torch.Tensor, ...]] = []
        # An empty row still makes one (empty) chunk, so that the graph is whole, as distributed training needs it.
        for start in range(0, max(len(hidden), 1), chunk_tokens):
            part = slice(start, start + chunk_tokens)
            with torch.set_grad_enabled(with_gradient):
                inputs = hidden[part].detach().requires_grad_(with_gradient)
                logits = _full_precision(head(inputs))
            values: tuple[torch.Tensor, ...] = ()
            if reference is not None:
                values, slope = _divergence(logits.detach(), part, reference)
                if with_gradient:
                    found[1].add(part, logits, inputs, slope, keeps_graph=True)
                del slope
            *of_labels, slope = _cross_entropy_in_place(logits.detach(), targets[part], weights, part, label_smoothing)
            if with_gradient:
                found[0].add(part, logits, inputs, slope)
            chunks.append((*of_labels, *values))
        ctx.save_for_backward(*(tensor for each in found for tensor in each.tensors))
        ctx.num_each = 1 + len(parameters)
        loss_sum, token_loss, correct, *compared = (torch.cat(each) for each in zip(*chunks, strict=True))
        if reference is None:
            ctx.mark_non_differentiable(token_loss, correct)
            return loss_sum.sum(), token_loss, correct
        divergence = compared[0]
        squares = [each.tensors[0].float().square().sum() for each in found] or [divergence.new_zeros(())] * 2
        rest = (*compared, reference.weights, torch.stack(squares))
        ctx.mark_non_differentiable(token_loss, correct, *rest)
        divergence_sum = (divergence * reference.weights).sum() * reference.temperature**2
        return loss_sum.sum(), token_loss, correct, divergence_sum, *rest

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        gradients = [gradient * scale for gradient in saved[: ctx.num_each]]
        if len(saved) > ctx.num_each:
            of_divergence = others[2]
            gradients = [
                gradient + more * of_divergence for gradient, more in zip(gradients, saved[ctx.num_each :], strict=True)
            ]
        return (None, None, None, None, None, None, *gradients)


class _Gradients:
    """The gradient of one sum, chunk by chunk: at the hidden states, then of each parameter of the head."""

    def __init__(self, hidden: torch.Tensor, parameters: tuple[torch.Tensor, ...]) -> None:
        self._parameters = parameters
        self.tensors = [torch.empty_like(hidden), *(torch.zeros_like(p) for p in parameters)]

    def add(
        self, part: slice, logits: torch.Tensor, inputs: torch.Tensor, slope: torch.Tensor, *, keeps_graph: bool = False
    ) -> None:
        """Add a chunk, whose sum has the gradient `slope` at its logits."""
        found = torch.autograd.grad(logits, [inputs, *self._parameters], slope, retain_graph=keeps_graph)
        self.tensors[0][part] = found[0]
        for gradient, more in zip(self.tensors[1:], found[1:], strict=True):
            gradient += more


def _full_precision(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _cross_entropy_in_place(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | WeightsOf,
    part: slice,
    label_smoothing: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weight x cross-entropy, smoothed; cross-entropy; hits; and the gradient of the sum of the first.

    The gradient takes the place of `logits`.
    """
    highest, likeliest = logits.max(dim=-1, keepdim=True)
    correct = likeliest[:, 0] == targets
    picked = logits.gather(1, targets[:, None])
    mean = logits.mean(dim=-1) if label_smoothing else None
    powers = logits.sub_(highest).exp_()
    total = powers.sum(dim=-1, keepdim=True)
    losses = (total.log() + highest - picked)[:, 0]
    weight = weights(-losses, part) if callable(weights) else weights[part]
    slope = powers.mul_(weight[:, None] / total)
    if mean is None:
        slope.scatter_add_(1, targets[:, None], -weight[:, None].to(slope.dtype))
        return losses * weight, losses, correct, slope
    # With the label's share 1 - e and e / V for each of the V tokens: (1 - e) x loss + e x mean loss over all labels.
    even = losses + picked[:, 0] - mean
    slope.scatter_add_(1, targets[:, None], (label_smoothing - 1) * weight[:, None].to(slope.dtype))
    slope.sub_(weight[:, None] * (label_smoothing / slope.shape[1]))
    return torch.lerp(losses, even, label_smoothing) * weight, losses, correct, slope


def _divergence(
    logits: torch.Tensor, part: slice, reference: Reference
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Return divergence, agreement and both entropies, and the gradient of the weighted sum x temperature squared.

    Equal logits give exactly 0 and a gradient of exactly 0: both sides are computed in the same way.
    """
    temperature, beta = reference.temperature, reference.beta
    with torch.no_grad():
        theirs = _full_precision(reference.head(reference.hidden[part]))
    agrees = logits.argmax(dim=-1) == theirs.argmax(dim=-1)
    log_s, log_t = _log_softmax(logits / temperature), _log_softmax(theirs.div_(temperature))
    s, t = log_s.exp(), log_t.exp()
    entropies = -(s * log_s).sum(dim=-1), -(t * log_t).sum(dim=-1)
    apart = log_t.sub_(log_s)
    if reference.divergence == "forward_kl":
        divergence = (t * apart).sum(dim=-1)
        slope = s.sub_(t)
    elif reference.divergence == "reverse_kl":
        divergence = -(s * apart).sum(dim=-1)
        slope = s.mul_(apart.neg_().sub_(divergence[:, None]))
    else:
        # m = (1 - b) s + b t. Its logarithm is taken relative to the larger of s and t, so that nothing overflows.
        share = (apart > 0).to(apart.dtype).mul_(1 - 2 * beta).add_(beta)
        shift = apart.abs().neg_().expm1_().mul_(share).log1p_()
        from_s, from_t = -shift - apart.clamp(min=0), -shift - apart.neg().clamp_(min=0)  # log s / m, log t / m
        of_student = (s * from_s).sum(dim=-1)
        divergence = beta * (t * from_t).sum(dim=-1) + (1 - beta) * of_student
        slope = s.mul_(from_s.sub_(of_student[:, None])).mul_(1 - beta)
    slope.mul_(reference.weights[part][:, None] * temperature)
    return (divergence, agrees, *entropies), slope


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.sub_(logits.logsumexp(dim=-1, keepdim=True))
