from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from dcap.data.collate import Batch
from dcap.data.tokens import TokenKind
from dcap.train.loss import LossOutput, next_token_targets
from dcap.train.loss_parts import LossParts, Part
from dcap.train.step import Learner, optimizer_step, validate
from support.batches import FakeSample, fake_sample, packed, padded

SAMPLES = [
    fake_sample(40, images=((4, 4),), answer=3),
    replace(fake_sample(41, images=(), answer=8), dataset="towers"),
    fake_sample(42, images=((4, 8),), answer=5, weight=0.5),
    replace(fake_sample(43, images=((8, 4),), answer=2, weight=2.0), dataset="towers"),
    replace(fake_sample(44, images=(), answer=4, weight=0.0), dataset="filler"),
]


def made_up_loss(batch: Batch, seed: int = 0) -> LossOutput:
    """A loss that is a function of the token and its place in its sample, whatever the layout."""
    positions, targets, weights = next_token_targets(batch["labels"], batch["loss_weights"])
    losses = ((targets * 31 + seed) % 97).float() / 8
    correct = targets % 2 == 0
    return LossOutput(
        (losses * weights).sum(), (correct & (weights > 0)).sum(), correct, losses, positions, weights.sum()
    )


def token_by_token(samples: Sequence[FakeSample]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    kinds: dict[str, list[float]] = {}
    datasets: dict[str, list[float]] = {}
    for sample in samples:
        for label, kind in zip(sample.labels.tolist(), sample.token_kinds.tolist(), strict=True):
            if label != -100 and sample.weight:
                loss = label * 31 % 97 / 8
                for sums, name in ((kinds, TokenKind(kind).name.lower()), (datasets, sample.dataset)):
                    counts = (sample.weight, sample.weight * loss, 1, label % 2 == 0)
                    sums[name] = [a + b for a, b in zip(sums.get(name, [0.0] * 4), counts, strict=True)]
    return kinds, datasets


@given(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=6), st.integers(0, 6), st.booleans())
def test_sums_are_those_of_each_token(samples: list[FakeSample], cut: int, packs: bool) -> None:
    lay = packed if packs else padded
    batches = [lay(part) for part in (samples[:cut], samples[cut:]) if part]
    parts = LossParts.of(batches, [made_up_loss(batch) for batch in batches])
    kinds, datasets = token_by_token(samples)
    assert {name: list(part) for name, part in parts.kinds.items()} == kinds
    assert {name: list(part) for name, part in parts.datasets.items()} == datasets
    assert parts.whole == pytest.approx(Part(*(sum(values) for values in zip(*datasets.values(), strict=True))))


def test_what_has_no_weight_may_have_any_loss() -> None:
    batch = packed(SAMPLES)
    output = made_up_loss(batch)
    weights = next_token_targets(batch["labels"], batch["loss_weights"])[2]
    output.token_loss[weights == 0] = torch.inf
    assert LossParts.of([batch], [output]) == LossParts.of([batch], [made_up_loss(batch)])


@pytest.mark.parametrize("layout", [packed, padded])
def test_the_weighted_parts_of_a_step_give_its_loss(
    make_learner: Callable[..., Learner], layout: Callable[..., Batch]
) -> None:
    batches = [layout(SAMPLES[:2]), layout(SAMPLES[2:])]
    result = optimizer_step(make_learner(), batches, step=1, lr_factor=1.0)
    parts = LossParts.of(batches, result.outputs).over_ranks()
    metrics = parts.training_metrics()
    for group, sums in (("kind", parts.kinds), ("dataset", parts.datasets)):
        mean = sum(part.weight * metrics[f"loss_{group}/{name}"] for name, part in sums.items()) / result.totals.weight
        assert mean == pytest.approx(result.loss, rel=1e-6)
        assert sum(part.weight for part in sums.values()) == result.totals.weight
    hits = sum(part.counted * metrics[f"token_accuracy_kind/{name}"] for name, part in parts.kinds.items())
    assert hits / result.totals.supervised == pytest.approx(result.token_accuracy)
    assert len({metrics["loss_dataset/fake"], metrics["loss_dataset/towers"], result.loss}) == 3
    assert "loss_dataset/filler" not in metrics


def test_a_step_that_trained_on_nothing_has_no_parts(make_learner: Callable[..., Learner]) -> None:
    filler = packed([replace(SAMPLES[1], name="filler", weight=0.0)])
    result = optimizer_step(make_learner(), [filler], step=1, lr_factor=1.0)
    assert LossParts.of([filler], result.outputs).over_ranks().training_metrics() == {}


def test_validation_tells_its_parts(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    metrics: dict[str, Any] = validate(learner, [packed(SAMPLES[:3]), packed(SAMPLES[3:])]) or {}
    kinds = {kind.name.lower() for kind in TokenKind if kind >= TokenKind.CAPTION}
    assert set(metrics) == {
        "eval/loss",
        "eval/token_accuracy",
        "eval/fake/loss",
        "eval/towers/loss",
        *(f"eval/loss_kind/{kind}" for kind in kinds),
        *(f"eval/token_accuracy_kind/{kind}" for kind in kinds),
    }
    alone = validate(learner, [packed([s for s in SAMPLES if s.dataset == "towers"])]) or {}
    assert metrics["eval/towers/loss"] == pytest.approx(alone["eval/loss"], rel=1e-6)
    assert not [name for name in alone if "towers" in name], "one data set alone is the whole"


def test_ranks_may_see_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    Accelerator(cpu=True)  # knows the ranks
    here, there = LossParts(), LossParts()
    here.add(first := packed(SAMPLES[:1]), made_up_loss(first))
    there.add(second := packed(SAMPLES[1:4]), made_up_loss(second))
    monkeypatch.setattr("dcap.train.loss_parts.gather_object", lambda mine: [*mine, (there.kinds, there.datasets)])
    together = LossParts.of([whole := packed(SAMPLES)], [made_up_loss(whole)])
    assert here.over_ranks() == together
