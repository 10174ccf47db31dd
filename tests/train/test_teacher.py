"""The model with its adapters off is the base, and the distance from it trains, counts and is told as it says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.core.errors import ConfigError, StoppedError
from dcap.data.collate import Batch
from dcap.data.tokens import TokenKind
from dcap.demo.models import build_micro
from dcap.model.attention import attention_kwargs
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import bare_model
from dcap.train.config import RunConfig
from dcap.train.distill_config import DistillConfig
from dcap.train.loop import train
from dcap.train.loss import model_inputs
from dcap.train.parallel import build_accelerator
from dcap.train.setup import build_learner
from dcap.train.step import Learner, optimizer_step, validate
from dcap.train.teacher import Teacher
from dcap.train.teacher_check import check_teacher
from dcap.train.token_weights import teacher_weights
from support.batches import FakeSample, fake_sample, packed, padded
from support.training_runs import at_step, final_weights, metrics

MakeLearner = Callable[..., Learner]
CPU = torch.device("cpu")
EVERY = {"caption": 1.0, "coordinate": 1.0, "structure": 1.0}
SAMPLES = [
    fake_sample(70, images=((4, 4),), answer=3),
    fake_sample(71, images=(), answer=8),
    fake_sample(72, images=((4, 8),), answer=5, weight=0.5),
    fake_sample(73, images=((8, 4), (4, 4)), answer=4, weight=2.0),
]


def with_teacher(learner: Learner, dtype: torch.dtype = torch.float32, **settings: Any) -> Learner:
    """Give a learner a teacher; it then compares."""
    learner.distill = DistillConfig(**{"weight": 1.0, **settings})
    learner.bare_module.teacher = Teacher(learner.bare_module.model, learner.distill, dtype)
    return learner


def moved(learner: Learner) -> Learner:
    """Take the adapters away from where they begin."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)
    return learner


def inputs_of(learner: Learner, batch: Batch) -> dict[str, Any]:
    assert learner.distill is not None
    return model_inputs(batch, CPU) | {"teacher_weights": teacher_weights(batch, learner.distill)}


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_where_an_adapter_begins_the_distance_and_its_gradient_are_exactly_zero(
    make_learner: MakeLearner, dtype: str, kind: str
) -> None:
    model = {"freeze_vit": False, "dtype": dtype, "adapter": AdapterConfig(rank=2, modules_to_save=("merger",))}
    learner = with_teacher(make_learner(model), getattr(torch, dtype), divergence=kind, temperature=2.0)
    compared = learner.bare_module(**inputs_of(learner, packed(SAMPLES))).compared
    assert not compared.divergence.any()
    assert compared.agrees.all()
    compared.divergence_sum.backward()
    assert not any(p.grad is not None and p.grad.any() for p in learner.parameters.values())


@pytest.mark.parametrize(
    "adapter",
    [
        AdapterConfig(rank=2, dropout=0.5, modules_to_save=("merger",)),
        AdapterConfig("dora", rank=2),
        AdapterConfig(rank=2, init="olora"),
    ],
    ids=["saved modules", "dora", "olora"],
)
def test_the_teacher_is_the_base_to_the_bit_however_the_student_trained(
    make_learner: MakeLearner, micro_folder: Path, adapter: AdapterConfig
) -> None:
    learner = with_teacher(make_learner({"freeze_vit": False, "adapter": adapter}, {"learning_rate": 0.1}))
    trained = {name for name, p in learner.bare_module.model.named_parameters() if p.requires_grad}
    for step in range(1, 4):
        optimizer_step(learner, [packed(SAMPLES)], step, 1.0)
    assert {name for name, p in learner.bare_module.model.named_parameters() if p.requires_grad} == trained
    teacher, batch = learner.bare_module.teacher, padded(SAMPLES)
    assert teacher is not None
    base = load_model(ModelConfig(str(micro_folder), dtype="float32"), CPU)
    names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw")
    inputs = {name: batch[name] for name in names}  # type: ignore[literal-required]
    learner.bare_module.train()
    with teacher.switched_on():
        assert not teacher.model.training, "no dropout"
        hidden = teacher.model.model(**inputs, use_cache=False).last_hidden_state
    assert teacher.model.training
    assert not hidden.requires_grad
    with torch.no_grad():
        assert torch.equal(hidden, base.model(**inputs, use_cache=False).last_hidden_state)
        assert torch.equal(teacher.compared_at(hidden, torch.ones(())).head(hidden), base.lm_head(hidden))
        tuned = bare_model(learner.bare_module.model).model(**inputs, use_cache=False).last_hidden_state
    assert not torch.equal(hidden, tuned), "the adapters are on again"


@pytest.mark.parametrize(("frozen", "runs"), [(True, 1), (False, 2)])
def test_the_vision_side_runs_once_where_nothing_of_it_trains(
    make_learner: MakeLearner, frozen: bool, runs: int
) -> None:
    learner = moved(make_learner({"freeze_aligner": frozen}))
    plain = learner.bare_module(**model_inputs(packed(SAMPLES), CPU))
    with_teacher(learner)
    seen: list[int] = []
    bare_model(learner.bare_module.model).model.visual.register_forward_hook(lambda *_: seen.append(1))
    beside = learner.bare_module(**inputs_of(learner, packed(SAMPLES)))
    assert len(seen) == runs
    assert torch.equal(beside.token_loss, plain.token_loss)
    assert beside.compared.divergence.any()


LAYOUTS: dict[str, Callable[[list[FakeSample]], list[Batch]]] = {
    "a row each": lambda s: [packed([x]) for x in s],
    "uneven rows": lambda s: [packed(s[:3]), packed(s[3:])],
    "padded": lambda s: [padded(s)],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_update_does_not_depend_on_the_layout(make_learner: MakeLearner, name: str) -> None:
    def step(batches: list[Batch]) -> dict[str, torch.Tensor]:
        learner = moved(make_learner(training={"max_grad_norm": 1e9}))
        learner.module.double()
        with_teacher(learner, torch.float32, weight=3.0, divergence="jsd", temperature=2.0)
        before = {n: p.detach().clone() for n, p in learner.parameters.items()}
        learner.optimizer = torch.optim.SGD(
            [{"params": list(learner.parameters.values()), "tower": "llm", "peak_lr": 1.0}], lr=1.0
        )
        optimizer_step(learner, batches, step=1, lr_factor=1.0)
        return {n: p.detach() - before[n] for n, p in learner.parameters.items()}

    expected, found = step([packed(SAMPLES)]), step(LAYOUTS[name](list(SAMPLES)))
    for key, value in expected.items():
        scale = max(float(value.abs().max()), 1e-4)
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9 * scale, msg=key)


def test_the_gradient_of_a_step_is_the_mean_of_labels_plus_the_weighted_mean_of_distances(
    make_learner: MakeLearner,
) -> None:
    learner = with_teacher(moved(make_learner(training={"max_grad_norm": 1e9})), weight=0.7, tokens=EVERY)
    batch = packed(SAMPLES)
    module = learner.bare_module.train()
    output = module(**inputs_of(learner, batch))
    kept = teacher_weights(batch, learner.distill or DistillConfig())[:, 1:].sum()
    loss = float(output.loss.detach())
    (output.loss_sum / output.weight_sum + 0.7 * output.compared.divergence_sum / kept).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in learner.parameters.values() if p.grad is not None])
    learner.optimizer.zero_grad()
    result = optimizer_step(learner, [batch], 1, 1.0)
    assert result.grad_norm == pytest.approx(float(norm), rel=1e-5)
    assert result.totals.teacher_weight == pytest.approx(float(kept))
    assert result.loss == pytest.approx(loss), "the loss itself is that of the labels"
    assert result.teacher_seconds > 0


def test_weights_follow_the_kind_the_sample_and_the_data_set() -> None:
    samples = [fake_sample(1, weight=2.0), replace(fake_sample(2), dataset="other")]
    batch = packed(samples)
    kinds = torch.cat([s.token_kinds for s in samples])
    labelled = torch.cat([s.labels for s in samples]) != -100
    first = torch.arange(len(kinds)) < len(samples[0].input_ids)
    config = DistillConfig(tokens={"caption": 3.0})  # type: ignore[arg-type]
    by_kind = torch.tensor([0.0, 0.0, 3.0, 0.0, 1.0])
    assert [TokenKind.CAPTION, TokenKind.COORDINATE, TokenKind.STRUCTURE] == [2, 3, 4]
    expected = by_kind[kinds.long()] * labelled * torch.where(first, 2.0, 1.0)
    assert torch.equal(teacher_weights(batch, config)[0], expected)
    only = DistillConfig(sources=("other",), tokens={"caption": 3.0})  # type: ignore[arg-type]
    assert torch.equal(teacher_weights(batch, only)[0], torch.where(first, 0.0, expected))


def test_a_step_in_which_no_sample_takes_part_trains_by_its_labels_alone(make_learner: MakeLearner) -> None:
    plain, beside = make_learner(), with_teacher(make_learner(), sources=("elsewhere",))
    one, other = (optimizer_step(each, [packed(SAMPLES)], 1, 1.0) for each in (plain, beside))
    assert other.teacher_seconds == 0.0, "the teacher is not asked"
    assert one.loss == other.loss
    for name, parameter in plain.parameters.items():
        assert torch.equal(parameter, beside.parameters[name])


def steps_of(learner: Learner, batches: Sequence[Batch], count: int) -> dict[str, float]:
    for step in range(1, count + 1):
        optimizer_step(learner, batches, step, 1.0)
    found = validate(learner, batches)
    assert found is not None
    return found


def test_a_strong_term_keeps_the_model_close_and_a_weight_of_zero_only_measures(make_learner: MakeLearner) -> None:
    rates = {"learning_rate": 0.01}
    plain = make_learner(training=rates)
    free = with_teacher(make_learner(training=rates), weight=0.0)
    held = with_teacher(make_learner(training=rates), weight=10.0)
    steps_of(plain, [packed(SAMPLES)], 6)
    far, near = (steps_of(each, [packed(SAMPLES)], 6) for each in (free, held))
    assert 0 < near["eval/kd/loss"] < far["eval/kd/loss"]
    assert near["eval/loss"] > far["eval/loss"]
    for name, parameter in plain.parameters.items():
        assert torch.equal(parameter, free.parameters[name])


def distilled(run_config: Callable[..., RunConfig], photo_file: Path, output: Path, **changes: Any) -> RunConfig:
    training = {"output_dir": str(output), "save_steps": 2, "max_steps": 4}
    return run_config(
        data={"val": str(photo_file)}, training=training, distill={"weight": 2.0, "temperature": 2.0, **changes}
    )


def test_a_run_tells_the_distance_and_is_resumed_to_the_same_bits(
    run_config: Callable[..., RunConfig], photo_file: Path, tmp_path: Path
) -> None:
    whole, cut = (distilled(run_config, photo_file, tmp_path / name) for name in ("whole", "cut"))
    train(whole)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(StoppedError):
            train(cut)
    train(cut)
    one, other = final_weights(whole), final_weights(cut)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    told = metrics(whole)
    first, last = (line for line in (told[0], [line for line in told if "loss" in line][-1]))
    assert first["kd/loss"] == first["kd/grad_ratio"] == 0.0, "the adapters begin at the base"
    assert first["kd/agreement"] == 1.0
    assert last["kd/loss"] > 0
    assert last["kd/grad_ratio"] > 0
    assert last["kd/weighted"] == pytest.approx(2.0 * 2.0**2 * last["kd/loss"])
    assert {"kd/loss_kind/caption", "kd/loss_kind/structure", "kd/student_entropy", "kd/teacher_entropy"} <= set(last)
    assert "kd/loss_kind/coordinate" not in last
    assert 0 < last["time/teacher"] < last["step_time_s"]
    evaluated = next(line for line in told if "eval/loss" in line)
    assert evaluated["eval/kd/loss"] > 0
    assert "eval/kd/grad_ratio" not in evaluated


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        ({"temperature": 0.0}, "distill.temperature must be within 0.01..100, not 0"),
        ({"weight": -1.0}, "distill.weight must be within 0..1e.06, not -1"),
        ({"divergence": "jsd", "beta": 1.0}, "beta must be above 0 and below 1, not 1.*take divergence forward_kl"),
        ({"beta": 0.3}, "beta must be left out with divergence forward_kl"),
        ({"teacher": ""}, "teacher must be adapter_off or name a model, and is empty"),
        ({"tokens": {"caption": 0.0, "structure": 0.0}}, "caption, coordinate and structure must not all be 0"),
        ({"sources": ["fuor"]}, "distill.sources must name data sets of the run .four., not 'fuor'; did you mean four"),
    ],
)
def test_what_cannot_work_is_refused(
    run_config: Callable[..., RunConfig], distill: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(distill=distill)


def test_towers_that_train_in_full_have_no_adapter_to_switch_off(run_config: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match="adapter_off where llm and aligner train in full"):
        run_config(model={"adapter": {"type": "full"}}, distill={})


def test_another_model_can_be_the_teacher_also_of_full_tuning(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    other = build_micro(tmp_path / "other", seed=7)
    for kind in ("lora", "full"):
        config = run_config(model={"adapter": {"type": kind, "dropout": 0.0}}, distill={"teacher": str(other)})
        check_teacher(config.model, config.distill or DistillConfig())
        learner = build_learner(config, build_accelerator(config))
        batch = packed(SAMPLES)
        compared = learner.bare_module.eval()(**inputs_of(learner, batch)).compared
        names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw")
        inputs = {name: batch[name] for name in names} | attention_kwargs(batch["cu_seqlens"])  # type: ignore[literal-required]
        at = (batch["labels"][0, 1:] != -100).nonzero()[:, 0]
        with torch.no_grad():
            theirs = load_model(ModelConfig(str(other), dtype="float32"), CPU)(**inputs, use_cache=False).logits[0, at]
            ours = bare_model(learner.bare_module.model)(**inputs, use_cache=False).logits[0, at]
        log_s, log_t = ours.log_softmax(-1), theirs.log_softmax(-1)
        torch.testing.assert_close(compared.divergence, (log_t.exp() * (log_t - log_s)).sum(-1), rtol=1e-4, atol=1e-5)
        assert compared.divergence.min() > 0
        assert not any("other" in name for name, _ in learner.module.named_parameters())
        assert len(list(learner.module.parameters())) == len(list(learner.bare_module.model.parameters()))


def test_modules_that_overlap_are_refused_before_a_weight_is_read(run_config: Callable[..., RunConfig]) -> None:
    model = run_config(model={"adapter": {"modules_to_save": ["merger", "norm"]}}).model
    with pytest.raises(ConfigError, match=r"modules_to_save must not name .*norm beside .*merger, which holds it"):
        check_teacher(model, DistillConfig())


def test_weights_that_are_shared_out_have_no_teacher(run_config: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"distill must be null with training.parallel fsdp"):
        run_config(training={"parallel": "fsdp"}, distill={})
