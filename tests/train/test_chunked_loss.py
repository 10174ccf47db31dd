from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from hypothesis import given
from hypothesis import strategies as st

from dcap.train.chunked_loss import Reference, chunked_loss


def random_problem(count: int, seed: int = 0) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(6, 50)
    with torch.no_grad():
        head.weight.copy_(torch.randn(50, 6, generator=random))
        head.bias.copy_(torch.randn(50, generator=random))
    hidden = torch.randn(count, 6, generator=random, requires_grad=True)
    return head, hidden, torch.randint(0, 50, (count,), generator=random)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_give_the_full_loss_and_gradients(chunk: int) -> None:
    head, hidden, targets = random_problem(7)
    weights = torch.arange(7) / 3
    logits = head(hidden)
    full = F.cross_entropy(logits, targets, reduction="none")
    expected = torch.autograd.grad((full * weights).sum() * 2.5, [hidden, head.weight, head.bias])
    total, losses, correct, _ = chunked_loss(head, hidden, targets, weights, chunk)
    torch.testing.assert_close(losses, full)
    torch.testing.assert_close(total, (full * weights).sum())
    assert not losses.requires_grad
    assert torch.equal(correct, logits.argmax(-1) == targets)
    found = torch.autograd.grad(total * 2.5, [hidden, head.weight, head.bias])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("chunk", [3, 100])
def test_label_smoothing_is_that_of_torch_with_its_gradients(chunk: int, smoothing: float) -> None:
    head, hidden, targets = random_problem(7)
    head, hidden = head.double(), hidden.detach().double().requires_grad_()
    weights = torch.arange(7) / 4
    each = F.cross_entropy(head(hidden), targets, reduction="none", label_smoothing=smoothing)
    expected = torch.autograd.grad((each * weights).sum(), [hidden, head.weight, head.bias])
    total, losses, *_ = chunked_loss(head, hidden, targets, weights, chunk, smoothing)
    torch.testing.assert_close(total.double(), (each * weights).sum(), rtol=2e-6, atol=1e-6)
    plain = F.cross_entropy(head(hidden), targets, reduction="none")
    torch.testing.assert_close(losses.double(), plain, rtol=2e-6, atol=1e-6)
    found = torch.autograd.grad(total, [hidden, head.weight, head.bias])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@given(scale=st.floats(0.1, 1e4), seed=st.integers(0, 50))
def test_large_logits_neither_overflow_nor_lose_the_gradient(scale: float, seed: int) -> None:
    head, hidden, targets = random_problem(5, seed)
    big = (hidden.detach() * scale).requires_grad_()
    total, losses, *_ = chunked_loss(head, big, targets, torch.ones(5), 2)
    expected = F.cross_entropy(head(big), targets, reduction="none")
    # A loss is the difference of two logits, so its error grows with them.
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=2e-6 * max(scale, 5.0))
    ours, theirs = torch.autograd.grad(total, big), torch.autograd.grad(expected.sum(), big)
    # A probability is the exponential of one, so its relative error grows with them.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-7 * max(scale, 50.0))


def test_a_frozen_head_gets_no_gradient_and_passes_one_on() -> None:
    head, hidden, targets = random_problem(5)
    head.requires_grad_(False)
    total, *_ = chunked_loss(head, hidden, targets, torch.ones(5), 2)
    total.backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    assert hidden.grad.any()


def test_without_gradient_the_values_are_the_same() -> None:
    head, hidden, targets = random_problem(5)
    total, losses, correct, _ = chunked_loss(head, hidden, targets, torch.ones(5), 2)
    with torch.no_grad():
        again = chunked_loss(head, hidden, targets, torch.ones(5), 2)
    assert not again[0].requires_grad
    for one, other in zip(again[:3], (total, losses, correct), strict=True):
        assert torch.equal(one, other)


def test_no_positions_is_a_loss_of_zero_with_a_graph() -> None:
    head, hidden, targets = random_problem(0)
    total, losses, correct, _ = chunked_loss(head, hidden, targets, torch.ones(0), 4)
    assert losses.shape == correct.shape == (0,)
    assert total == 0
    total.backward()
    assert hidden.grad is not None
    assert head.weight.grad is not None
    assert not head.weight.grad.any()


def test_half_precision_logits_are_graded_in_float32() -> None:
    head, hidden, targets = random_problem(5)
    half = hidden.detach().bfloat16().requires_grad_()
    total, losses, *_ = chunked_loss(head.bfloat16(), half, targets, torch.ones(5), 2)
    assert total.dtype == losses.dtype == torch.float32
    total.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


class Head(torch.nn.Linear):
    """Remembers how many positions each call had."""

    def __init__(self) -> None:
        super().__init__(6, 50)
        self.calls: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(x))
        return super().forward(x)


def test_one_chunk_of_logits_is_alive_at_a_time_and_computed_once() -> None:
    head = Head()
    _, hidden, targets = random_problem(10)
    saved: list[torch.Size] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total, *_ = chunked_loss(head, hidden, targets, torch.ones(10), 4)
    total.backward()
    assert head.calls == [4, 4, 2]
    assert not {(4, 50), (2, 50), (10, 50)} & set(map(tuple, saved)), "no logits are kept"


KINDS: list[dict[str, Any]] = [
    {"divergence": "forward_kl"},
    {"divergence": "reverse_kl"},
    {"divergence": "jsd", "beta": 0.3},
]


def full_divergence(ours: torch.Tensor, theirs: torch.Tensor, temperature: float, kind: dict[str, Any]) -> torch.Tensor:
    """The definition, with all logits at once: nats at each position."""
    s, t = (logits.div(temperature).softmax(-1) for logits in (ours, theirs))

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return (p * (p.log() - q.log())).sum(-1)

    if kind["divergence"] == "jsd":
        mixture = (1 - kind["beta"]) * s + kind["beta"] * t
        return kind["beta"] * kl(t, mixture) + (1 - kind["beta"]) * kl(s, mixture)
    return kl(t, s) if kind["divergence"] == "forward_kl" else kl(s, t)


@pytest.mark.parametrize("chunk", [1, 7, 256])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["divergence"])
def test_divergences_are_their_definition_with_its_gradient(
    kind: dict[str, Any], temperature: float, chunk: int
) -> None:
    head, hidden, targets = random_problem(9)
    teacher, theirs, _ = random_problem(9, seed=1)
    head, teacher, hidden = head.double(), teacher.double(), hidden.detach().double().requires_grad_()
    theirs, weights, kept = theirs.detach().double(), torch.arange(9) / 4, torch.arange(9).flip(0) / 3
    each = full_divergence(head(hidden), teacher(theirs), temperature, kind)
    labels = F.cross_entropy(head(hidden), targets, reduction="none")
    wanted = (labels * weights).sum() * 0.7 + (each * kept).sum() * temperature**2 * 1.3
    expected = torch.autograd.grad(wanted, [hidden, head.weight, head.bias])

    reference = Reference(teacher, theirs, kept, temperature=temperature, **kind)
    found = chunked_loss(head, hidden, targets, weights, chunk, reference=reference)
    assert found.compared is not None
    torch.testing.assert_close(found.compared.divergence, each.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.token_loss, labels.detach(), rtol=1e-10, atol=1e-10)
    total = found.loss_sum * 0.7 + found.compared.divergence_sum * 1.3
    torch.testing.assert_close(total, wanted, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(total, [hidden, head.weight, head.bias])
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["divergence"])
def test_of_no_positions_the_divergence_is_zero_with_a_graph(kind: dict[str, Any]) -> None:
    head, hidden, targets = random_problem(0)
    found = chunked_loss(
        head, hidden, targets, torch.ones(0), 4, reference=Reference(head, hidden, torch.ones(0), **kind)
    )
    assert found.compared is not None
    assert found.compared.divergence_sum == 0
    found.compared.divergence_sum.backward()
    assert head.weight.grad is not None
    assert not head.weight.grad.any()


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["divergence"])
def test_from_itself_the_distance_is_exactly_zero(kind: dict[str, Any], temperature: float) -> None:
    head, hidden, targets = random_problem(7)
    reference = Reference(head, hidden.detach(), torch.ones(7), temperature=temperature, **kind)
    compared = chunked_loss(head, hidden, targets, torch.ones(7), 3, reference=reference).compared
    assert compared is not None
    assert not compared.divergence.any()
    assert compared.agrees.all()
    assert torch.equal(compared.entropy, compared.reference_entropy)
    for gradient in torch.autograd.grad(compared.divergence_sum, [hidden, head.weight, head.bias]):
        assert not gradient.any()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["divergence"])
def test_certain_and_opposed_models_stay_finite(kind: dict[str, Any]) -> None:
    head, hidden, targets = random_problem(5)
    sure, opposed = (hidden.detach() * 3e3).requires_grad_(), hidden.detach() * -3e3
    reference = Reference(head, opposed, torch.ones(5), **kind)
    compared = chunked_loss(head, sure, targets, torch.ones(5), 2, reference=reference).compared
    assert compared is not None
    exact = full_divergence_of_logs(head, sure, opposed, kind)
    torch.testing.assert_close(compared.divergence.double(), exact, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(compared.divergence_sum, sure)
    assert gradient.isfinite().all()


def full_divergence_of_logs(
    head: torch.nn.Linear, ours: torch.Tensor, theirs: torch.Tensor, kind: dict[str, Any]
) -> torch.Tensor:
    """The definition in float64 and in logarithms, so that nothing underflows."""
    log_s, log_t = (head(each).double().log_softmax(-1).detach() for each in (ours, theirs))
    if kind["divergence"] == "jsd":
        b = torch.tensor(kind["beta"], dtype=torch.float64)
        log_m = torch.logaddexp((1 - b).log() + log_s, b.log() + log_t)
        return (b * log_t.exp() * (log_t - log_m) + (1 - b) * log_s.exp() * (log_s - log_m)).sum(-1)
    if kind["divergence"] == "reverse_kl":
        log_s, log_t = log_t, log_s
    return (log_t.exp() * (log_t - log_s)).sum(-1)


def test_a_reference_leaves_every_bit_of_the_cross_entropy() -> None:
    head, hidden, targets = random_problem(10)
    weights, teacher = torch.arange(10) / 7, torch.nn.Linear(6, 50)
    plain = chunked_loss(head, hidden, targets, weights, 4, 0.1)
    beside = chunked_loss(head, hidden, targets, weights, 4, 0.1, Reference(teacher, hidden.detach(), weights))
    assert torch.equal(plain.loss_sum, beside.loss_sum)
    assert torch.equal(plain.token_loss, beside.token_loss)
    one, other = (torch.autograd.grad(each.loss_sum, [hidden, head.weight, head.bias]) for each in (plain, beside))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_position_of_weight_zero_keeps_the_gradient_of_its_label() -> None:
    head, hidden, targets = random_problem(8)
    kept = torch.tensor([1.0, 0.0] * 4)
    plain = chunked_loss(head, hidden, targets, torch.ones(8), 3).loss_sum
    reference = Reference(torch.nn.Linear(6, 50), hidden.detach(), kept)
    found = chunked_loss(head, hidden, targets, torch.ones(8), 3, reference=reference)
    assert found.compared is not None
    (alone,), (together,) = (
        torch.autograd.grad(total, hidden) for total in (plain, found.loss_sum + 5 * found.compared.divergence_sum)
    )
    assert torch.equal(together[kept == 0], alone[kept == 0])
    assert not torch.isclose(together[kept > 0], alone[kept > 0]).all(dim=-1).any()


def test_squares_are_those_of_both_gradients_at_the_hidden_states() -> None:
    head, hidden, targets = random_problem(6)
    reference = Reference(torch.nn.Linear(6, 50), hidden.detach(), torch.arange(6) / 2, temperature=2.0)
    found = chunked_loss(head, hidden, targets, torch.ones(6), 4, reference=reference)
    assert found.compared is not None
    sums = (found.loss_sum, found.compared.divergence_sum)
    squares = [torch.autograd.grad(each, hidden, retain_graph=True)[0].square().sum() for each in sums]
    torch.testing.assert_close(found.compared.gradient_squares, torch.stack(squares))


def test_weights_may_come_from_log_probabilities_as_those_of_a_policy() -> None:
    """A clipped policy gradient with a penalty: its gradient is that of autograd on the whole formula."""
    head, hidden, targets = random_problem(9)
    head, hidden = head.double(), hidden.detach().double().requires_grad_()
    before = F.cross_entropy(head(hidden), targets, reduction="none").neg().detach() + torch.linspace(-0.5, 0.5, 9)
    advantage, penalty = torch.linspace(-1, 1, 9).double(), 0.2
    log_p = -F.cross_entropy(head(hidden), targets, reduction="none")
    ratio = (log_p - before).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    wanted = (penalty * ((before - log_p).exp() - (before - log_p) - 1) - gain).sum()
    expected = torch.autograd.grad(wanted, [hidden, head.weight])

    def weights(log_p: torch.Tensor, part: slice) -> torch.Tensor:
        ratio, a = (log_p - before[part]).exp(), advantage[part]
        kept = ratio * a <= ratio.clamp(0.8, 1.2) * a
        return a * ratio * kept - penalty * (1 - (before[part] - log_p).exp())

    found = torch.autograd.grad(chunked_loss(head, hidden, targets, weights, 4).loss_sum, [hidden, head.weight])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
