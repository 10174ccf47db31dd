from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from dcap.core.errors import TrainingError
from dcap.data.collate import Batch
from dcap.model.config import AdapterConfig
from dcap.model.lora import bare_model
from dcap.train.loss import next_token_targets
from dcap.train.step import Learner, StepResult, optimizer_step, seed_dropout, validate
from dcap.train.token_weights import weighted_by_kind
from support.batches import FakeSample, fake_sample, packed, padded

MakeLearner = Callable[..., Learner]

SAMPLES = [
    fake_sample(40, images=((4, 4),), answer=3),
    fake_sample(41, images=(), answer=8),
    fake_sample(42, images=((4, 8),), answer=5, weight=0.5),
    fake_sample(43, images=((8, 4), (4, 4)), answer=2, weight=2.0),
]


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.parameters.items()}


def one_step(make_learner: MakeLearner, batches: Sequence[Batch], **kwargs: Any) -> tuple[Learner, StepResult]:
    learner = make_learner(**kwargs)
    return learner, optimizer_step(learner, batches, step=1, lr_factor=1.0)


# Eight ways to lay the same samples into rows and micro-batches.
LAYOUTS: dict[str, Callable[[list[FakeSample]], list[Batch]]] = {
    "one row": lambda s: [packed(s)],
    "a row each": lambda s: [packed([x]) for x in s],
    "uneven rows": lambda s: [packed(s[:3]), packed(s[3:])],
    "other order": lambda s: [packed([s[2], s[0]]), packed([s[3], s[1]])],
    "padded": lambda s: [padded(s)],
    "padded in two": lambda s: [padded(s[:2]), padded(s[2:])],
    "with a filler": lambda s: [packed(s), packed([replace(s[0], weight=0.0)])],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_update_does_not_depend_on_the_layout(make_learner: MakeLearner, name: str) -> None:
    # In float64 the order of sums is no noise to speak of. SGD instead of AdamW, whose first step is the sign of the
    # gradient and would hide its size.
    def step(batches: list[Batch]) -> tuple[dict[str, torch.Tensor], StepResult]:
        learner = make_learner(training={"max_grad_norm": 1e9})
        learner.module.double()
        before = weights(learner)
        learner.optimizer = torch.optim.SGD(
            [{"params": list(learner.parameters.values()), "tower": "llm", "peak_lr": 1.0}], lr=1.0
        )
        result = optimizer_step(learner, batches, step=1, lr_factor=1.0)
        return {n: p.detach() - before[n] for n, p in learner.parameters.items()}, result

    expected, reference = step([packed(SAMPLES)])
    moved, result = step(LAYOUTS[name](list(SAMPLES)))
    assert result.loss == pytest.approx(reference.loss, rel=1e-6)
    assert result.token_accuracy == reference.token_accuracy
    assert result.totals.tokens == reference.totals.tokens, "a filler has none"
    assert result.totals.weight == pytest.approx(3 + 8 + 2.5 + 4)
    for key, value in expected.items():
        scale = max(float(value.abs().max()), 1e-4)
        torch.testing.assert_close(moved[key], value, rtol=1e-9, atol=1e-9 * scale, msg=key)


def test_result_counts_the_step(make_learner: MakeLearner) -> None:
    _, result = one_step(make_learner, [packed(SAMPLES[:2]), padded(SAMPLES[2:])])
    assert result.totals.samples == 4
    assert result.totals.images == 4
    assert result.totals.supervised == 18
    assert result.totals.tokens == sum(len(s.input_ids) for s in SAMPLES), "padding is not counted"
    assert result.grad_norm > 0
    assert not result.stop


def test_the_modules_are_not_looked_through_in_each_step(
    make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, calls = make_learner(), []
    unwrap = learner.accelerator.unwrap_model

    def counted(module: Any) -> Any:
        calls.append(module)
        return unwrap(module)

    monkeypatch.setattr(learner.accelerator, "unwrap_model", counted)
    for step in (1, 2):
        optimizer_step(learner, [packed(SAMPLES)], step, 1.0)
    assert len(calls) == 1


def test_stop_is_passed_on(make_learner: MakeLearner) -> None:
    assert optimizer_step(make_learner(), [packed(SAMPLES)], step=1, lr_factor=1.0, stop=lambda: True).stop


def test_gradients_are_clipped(make_learner: MakeLearner) -> None:
    learner, result = one_step(make_learner, [packed(SAMPLES)], training={"max_grad_norm": 1e-3})
    assert result.grad_norm > 1e-3, "what is reported is the norm before"
    moments = [state["exp_avg"].square().sum() for state in learner.optimizer.state.values()]
    assert float(torch.stack(moments).sum().sqrt()) == pytest.approx(1e-3 * (1 - 0.9), rel=1e-3)


def poisoned(sample: FakeSample) -> FakeSample:
    pixels = sample.pixel_values.clone()
    pixels[0, 0] = torch.nan
    return replace(sample, pixel_values=pixels)


@pytest.mark.parametrize("layout", [packed, padded])
def test_a_non_finite_loss_stops_before_the_update_and_names_the_sample(
    make_learner: MakeLearner, layout: Callable[..., Batch]
) -> None:
    learner = make_learner()
    before = weights(learner)
    batches = [packed(SAMPLES[:2]), layout([SAMPLES[3], poisoned(SAMPLES[2])])]
    with pytest.raises(TrainingError, match=r"step 7: loss must be finite, not nan: look at fake.jsonl:42\. "):
        optimizer_step(learner, batches, step=7, lr_factor=1.0)
    assert all(torch.equal(p, before[name]) for name, p in learner.parameters.items())


def test_a_non_finite_gradient_stops_before_the_update(make_learner: MakeLearner) -> None:
    learner = make_learner()
    before = weights(learner)
    parameter = next(iter(learner.parameters.values()))
    parameter.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(TrainingError, match=r"step 2: gradient norm must be finite.*fake.jsonl:40, fake.jsonl:41"):
        optimizer_step(learner, [packed(SAMPLES[:2])], step=2, lr_factor=1.0)
    assert all(torch.equal(p, before[name]) for name, p in learner.parameters.items())


def unlabelled(sample: FakeSample) -> FakeSample:
    return replace(sample, labels=torch.full_like(sample.labels, -100))


@pytest.mark.parametrize(
    "batches",
    [
        [packed([unlabelled(SAMPLES[0])]), packed([SAMPLES[1]])],
        [packed([SAMPLES[1], unlabelled(SAMPLES[0])])],
        [padded([unlabelled(SAMPLES[0]), SAMPLES[1]])],
    ],
)
def test_a_sample_without_a_label_stops_and_is_named(make_learner: MakeLearner, batches: list[Batch]) -> None:
    with pytest.raises(TrainingError, match=r"at least one supervised token, not none: look at fake.jsonl:40$"):
        one_step(make_learner, batches)


def test_a_step_of_no_weight_stops(make_learner: MakeLearner) -> None:
    with pytest.raises(TrainingError, match=r"look at fake.jsonl:40, fake.jsonl:41"):
        one_step(make_learner, [packed([replace(s, weight=0.0) for s in SAMPLES[:2]])])


def test_a_step_of_images_that_were_all_left_out_changes_nothing(make_learner: MakeLearner) -> None:
    learner = make_learner()
    before = weights(learner)
    filler = replace(SAMPLES[1], name="filler", weight=0.0)
    result = optimizer_step(learner, [packed([filler])], step=1, lr_factor=1.0, stop=lambda: True)
    assert (result.loss, result.totals.samples, result.totals.tokens, result.stop) == (0.0, 0, 0, True)
    assert all(torch.equal(p, before[name]) for name, p in learner.parameters.items())
    assert optimizer_step(learner, [packed(SAMPLES)], step=2, lr_factor=1.0).loss > 0


def test_a_tower_without_gradient_stops_the_first_step(make_learner: MakeLearner) -> None:
    learner = make_learner()
    bare_model(learner.bare_module.model).model.visual.register_forward_hook(_detached)
    with pytest.raises(TrainingError, match="the aligner must get a gradient in its first step"):
        optimizer_step(learner, [packed(SAMPLES)], step=1, lr_factor=1.0)


def _detached(_module: Any, _args: Any, output: Any) -> Any:
    output.pooler_output = output.pooler_output.detach()
    output.deepstack_features = [feature.detach() for feature in output.deepstack_features]
    return output


def test_a_tower_is_checked_at_its_first_image(make_learner: MakeLearner) -> None:
    learner = make_learner()
    optimizer_step(learner, [packed([SAMPLES[1]])], step=1, lr_factor=1.0)
    assert learner.unproven == {"aligner"}, "a step of text alone proves the language model only"
    optimizer_step(learner, [packed([SAMPLES[0]])], step=2, lr_factor=1.0)
    assert not learner.unproven


def test_dropout_depends_on_seed_step_and_rank_alone() -> None:
    def draw(*key: int) -> float:
        torch.rand(7)
        seed_dropout(*key)
        return float(torch.rand(()))

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({draw(*key) for key in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}) == 4


def test_dropout_is_on_in_a_step_and_off_in_validation(make_learner: MakeLearner) -> None:
    learner = make_learner(model={"adapter": AdapterConfig(rank=2, dropout=0.5)})
    optimizer_step(learner, [packed(SAMPLES)], step=1, lr_factor=100.0)
    assert learner.bare_module.training
    first = validate(learner, [packed(SAMPLES)])
    assert first == validate(learner, [packed(SAMPLES)])
    assert not learner.bare_module.training


def test_validation_is_weighted_by_tokens(make_learner: MakeLearner) -> None:
    learner = make_learner()
    together = validate(learner, [packed(SAMPLES)])
    apart = validate(learner, [packed([SAMPLES[0]]), padded(SAMPLES[1:])])
    assert apart == pytest.approx(together, rel=1e-6)
    plain_mean = sum(validate(learner, [packed([s])])["eval/loss"] for s in SAMPLES) / 4
    assert abs(plain_mean - together["eval/loss"]) > 1e-4, "the samples must be able to tell the two apart"


def test_validation_of_nothing_or_of_nan_stops(make_learner: MakeLearner) -> None:
    learner = make_learner()
    with pytest.raises(TrainingError, match="validation must have at least one supervised token"):
        validate(learner, [])
    with pytest.raises(TrainingError, match="validation loss must be finite, not nan"):
        validate(learner, [packed([poisoned(SAMPLES[0])])])


def test_full_training_lowers_the_loss(make_learner: MakeLearner) -> None:
    learner = make_learner(model={"adapter": AdapterConfig(type="full")}, training={"learning_rate": 3e-3})
    losses = [optimizer_step(learner, [packed(SAMPLES)], s, 1.0).loss for s in range(1, 6)]
    assert losses[-1] < losses[0] - 1.0


def test_validation_is_left_when_asked_to_stop(make_learner: MakeLearner) -> None:
    learner, asked = make_learner(), iter([False, True])
    assert validate(learner, [packed([sample]) for sample in SAMPLES], lambda: next(asked)) is None


def test_the_loss_is_the_mean_by_the_weights_of_kinds_and_samples(make_learner: MakeLearner) -> None:
    batch = weighted_by_kind(packed(SAMPLES), {"coordinate": 3.0})
    _, result = one_step(make_learner, [batch])
    _, _, weight = next_token_targets(batch["labels"], batch["loss_weights"])
    each = result.outputs[0].token_loss
    assert result.loss == pytest.approx(float((weight * each).sum() / weight.sum()))
    assert result.totals.weight == pytest.approx(float(weight.sum()))
    _, doubled = one_step(make_learner, [weighted_by_kind(batch, {"caption": 2, "coordinate": 2, "structure": 2})])
    assert doubled.loss == pytest.approx(result.loss)
