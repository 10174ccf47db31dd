from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dcap.data.collate import normalised
from dcap.data.tokens import TokenKind
from dcap.model.config import AdapterConfig
from dcap.train.loss import model_inputs, next_token_targets
from dcap.train.step import Learner
from dcap.train.token_weights import weighted_by_kind
from support.batches import fake_sample, packed, padded

CPU = torch.device("cpu")


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


def test_labels_are_smoothed_in_training_alone(make_learner: Callable[..., Learner]) -> None:
    module = make_learner().bare_module.train()
    inputs = model_inputs(packed([fake_sample(3)]), CPU)
    plain = module(**inputs)
    module.label_smoothing = 0.2
    smoothed = module(**inputs)
    assert smoothed.loss_sum != plain.loss_sum
    assert torch.equal(smoothed.token_loss, plain.token_loss)
    assert torch.equal(module.eval()(**inputs).loss_sum, plain.loss_sum)


def test_tokens_weigh_by_their_kind_and_their_sample() -> None:
    batch = packed([fake_sample(1, weight=2.0), fake_sample(2)])
    weighted = weighted_by_kind(batch, {"coordinate": 3.0, "structure": 0.5})
    factors = {TokenKind.CAPTION: 1.0, TokenKind.COORDINATE: 3.0, TokenKind.STRUCTURE: 0.5}
    kinds = batch["token_kinds"][0].tolist()
    expected = [
        weight * factors.get(TokenKind(kind), 1.0)
        for weight, kind in zip(batch["loss_weights"][0].tolist(), kinds, strict=True)
    ]
    assert weighted["loss_weights"][0].tolist() == expected
    assert {kind for kind, label in zip(kinds, batch["labels"][0].tolist(), strict=True) if label != -100} == set(
        factors
    )
    assert weighted_by_kind(batch, {}) is batch


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_patches_as_bytes_give_the_same_bits(make_learner: Callable[..., Learner], dtype: str) -> None:
    module = make_learner(model={"dtype": dtype}).bare_module
    batch = packed(SAMPLES)
    random = torch.Generator().manual_seed(0)
    batch["pixel_values"] = torch.randint(0, 256, (len(batch["pixel_values"]), 768), generator=random).byte()
    from_bytes = module(**model_inputs(batch, CPU))
    batch["pixel_values"] = normalised(batch["pixel_values"])
    from_floats = module(**model_inputs(batch, CPU))
    assert torch.equal(from_bytes.token_loss, from_floats.token_loss)
    batch["pixel_values"] = batch["pixel_values"].flip(0)
    assert not torch.equal(from_bytes.token_loss, module(**model_inputs(batch, CPU)).token_loss), "pixels count"


def test_bfloat16_runs_under_autocast_and_trains_in_float32(make_learner: Callable[..., Learner]) -> None:
    exact = make_learner().bare_module(**model_inputs(packed(SAMPLES), CPU)).loss_sum
    learner = make_learner(model={"dtype": "bfloat16"})
    output = learner.bare_module(**model_inputs(packed(SAMPLES), CPU))
    assert output.loss_sum.dtype == output.token_loss.dtype == torch.float32
    torch.testing.assert_close(output.loss_sum, exact, rtol=0.02, atol=0.0)
    output.loss_sum.backward()
    assert {p.grad.dtype for p in learner.parameters.values() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("layout", [packed, padded])
def test_a_blank_image_changes_no_bit_and_leaves_no_part_of_the_vision_side_out(
    make_learner: Callable[..., Learner], layout: Callable[..., Any]
) -> None:
    learner = make_learner(model={"freeze_vit": False, "adapter": AdapterConfig(type="full")})
    module, batch = learner.bare_module, layout([fake_sample(1, images=()), fake_sample(2, images=(), answer=9)])
    plain = module(**model_inputs(batch, CPU))
    module.shares_weights = True
    blank = module(**model_inputs(batch, CPU))
    assert torch.equal(blank.loss_sum, plain.loss_sum)
    assert torch.equal(blank.token_loss, plain.token_loss)
    plain.loss_sum.backward()
    expected = {name: p.grad.clone() for name, p in learner.parameters.items() if p.grad is not None}
    assert not any("visual" in name for name in expected)
    learner.optimizer.zero_grad()
    blank.loss_sum.backward()
    for name, parameter in learner.parameters.items():
        assert parameter.grad is not None, f"{name} did not run"
        assert torch.equal(parameter.grad, expected.get(name, torch.zeros_like(parameter)))
