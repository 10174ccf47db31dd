from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from batches import fake_sample, packed, padded
from dcap.train import loss as loss_module
from dcap.train.loss import chunked_cross_entropy, next_token_targets
from dcap.train.step import Learner, model_inputs

CPU = torch.device("cpu")


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
    expected = torch.autograd.grad((full * weights).sum(), [hidden, head.weight, head.bias])
    losses, correct = chunked_cross_entropy(head, hidden, targets, chunk)
    torch.testing.assert_close(losses, full)
    assert torch.equal(correct, logits.argmax(-1) == targets)
    found = torch.autograd.grad((losses * weights).sum(), [hidden, head.weight, head.bias])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_no_positions_is_a_loss_of_zero_with_a_graph() -> None:
    head, hidden, targets = random_problem(0)
    losses, correct = chunked_cross_entropy(head, hidden, targets, 4)
    assert losses.shape == correct.shape == (0,)
    losses.sum().backward()
    assert hidden.grad is not None
    assert not head.weight.grad.any()  # type: ignore[union-attr]


def test_half_precision_logits_are_graded_in_float32() -> None:
    head, hidden, targets = random_problem(5)
    losses, _ = chunked_cross_entropy(head.bfloat16(), hidden.bfloat16(), targets, 2)
    assert losses.dtype == torch.float32


def test_one_chunk_of_logits_is_alive_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    head, hidden, targets = random_problem(10)
    sizes = []

    def spy(h: Any, x: torch.Tensor, t: torch.Tensor) -> Any:
        sizes.append(len(x))
        return original(h, x, t)

    original = loss_module._cross_entropy
    monkeypatch.setattr(loss_module, "_cross_entropy", spy)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        losses, _ = chunked_cross_entropy(head, hidden, targets, 4)
    assert sizes == [4, 4, 2]
    assert all(t.shape[-1:] != (50,) for t in saved), "no logits are kept for the backward pass"
    losses.sum().backward()
    assert sorted(sizes) == sorted([4, 4, 2] * 2), "each chunk is computed once more in the backward pass"


def test_targets_are_the_next_tokens_with_their_own_weights() -> None:
    labels = torch.tensor([[-100, -100, 7, 8], [-100, 5, -100, 9]])
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    positions, targets, picked = next_token_targets(labels, weights)
    assert positions.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2]]
    assert targets.tolist() == [7, 8, 5, 9]
    torch.testing.assert_close(picked, torch.tensor([0.3, 0.4, 0.6, 0.8]))


def test_nothing_is_predicted_across_samples() -> None:
    samples = [fake_sample(0, answer=3), fake_sample(1, images=(), answer=4)]
    batch = packed(samples)
    positions, targets, _ = next_token_targets(batch["labels"], batch["loss_weights"])
    assert targets.tolist() == [*samples[0].input_ids[-3:].tolist(), *samples[1].input_ids[-4:].tolist()]
    first = len(samples[0].input_ids)
    assert positions[:, 1].tolist() == [
        *range(first - 4, first - 1),
        *range(len(batch["labels"][0]) - 5, len(batch["labels"][0]) - 1),
    ]


SAMPLES = [
    fake_sample(20, images=((4, 4),), weight=2.0),
    fake_sample(21, images=(), answer=3),
    fake_sample(22, images=((4, 8), (8, 4)), answer=9, weight=0.5),
    fake_sample(23, images=((6, 6),)),
]


def test_model_loss_equals_transformers_own(make_learner: Callable[..., Learner]) -> None:
    module = make_learner().bare_module.eval()
    sample = fake_sample(30)
    batch = padded([sample])
    ours = module(**model_inputs(batch, CPU))
    names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw", "labels")
    theirs = module.model(**{name: batch[name] for name in names}, use_cache=False)  # type: ignore[literal-required]
    torch.testing.assert_close(ours.loss_sum / 6, theirs.loss, rtol=1e-5, atol=1e-5)
    assert ours.token_loss.shape == (6,)
    accurate = theirs.logits[0, :-1].argmax(-1) == batch["labels"][0, 1:]
    assert int(ours.num_correct) == int(accurate.sum())


@pytest.mark.parametrize("layout", [packed, padded])
def test_rows_of_any_layout_give_the_sum_of_their_samples(
    make_learner: Callable[..., Learner], layout: Callable[..., Any]
) -> None:
    learner = make_learner(model={"freeze_vit": False})
    module = learner.bare_module
    alone = [module(**model_inputs(padded([s]), CPU)).loss_sum for s in SAMPLES]
    torch.stack(alone).sum().backward()
    expected = {name: p.grad.clone() for name, p in learner.parameters.items() if p.grad is not None}
    module.zero_grad()
    together = module(**model_inputs(layout(SAMPLES), CPU)).loss_sum
    torch.testing.assert_close(together, torch.stack(alone).sum(), rtol=1e-5, atol=1e-5)
    together.backward()
    assert set(expected) == set(learner.parameters)
    for name, parameter in learner.parameters.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-5 * max(scale, 1e-3), msg=name)


def test_bfloat16_runs_under_autocast_and_trains_in_float32(make_learner: Callable[..., Learner]) -> None:
    exact = make_learner().bare_module(**model_inputs(packed(SAMPLES), CPU)).loss_sum
    learner = make_learner(model={"dtype": "bfloat16"})
    output = learner.bare_module(**model_inputs(packed(SAMPLES), CPU))
    assert output.loss_sum.dtype == output.token_loss.dtype == torch.float32
    torch.testing.assert_close(output.loss_sum, exact, rtol=0.02, atol=0.0)
    output.loss_sum.backward()
    assert {p.grad.dtype for p in learner.parameters.values() if p.grad is not None} == {torch.float32}
