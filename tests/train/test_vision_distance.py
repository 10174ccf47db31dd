"""Distances of visual features: what they are, what they train, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dcap.core.errors import ConfigError
from dcap.model.config import AdapterConfig
from dcap.model.lora import bare_model
from dcap.train.config import RunConfig
from dcap.train.distill_config import DeepstackTerm, DistillConfig, FeatureTerm, VisionTerms
from dcap.train.loss import LossOutput, model_inputs
from dcap.train.parallel import build_accelerator
from dcap.train.setup import build_learner
from dcap.train.step import Learner, optimizer_step, validate
from dcap.train.teacher import Teacher
from dcap.train.token_weights import teacher_weights, visual_weights
from dcap.train.vision_distance import check_vision, vision_weights
from support.batches import fake_sample, packed, padded

MakeLearner = Callable[..., Learner]
CPU = torch.device("cpu")
TERMS = VisionTerms(FeatureTerm(0.5), FeatureTerm(0.3, "mse"), DeepstackTerm(0.2))
SAMPLES = [
    fake_sample(80, images=((4, 4),)),
    fake_sample(81, images=()),
    replace(fake_sample(82, images=((8, 4), (4, 4)), answer=4), dataset="other"),
]
TEXT = [fake_sample(83, images=())]


def with_vision(learner: Learner, terms: VisionTerms, **settings: Any) -> Learner:
    config = DistillConfig(**{"weight": 0.0, "vision": terms, **settings})
    learner.distill, module = config, learner.bare_module
    module.teacher = Teacher(module.model, config, torch.float32)
    taps = bare_model(module.model).config.vision_config.deepstack_visual_indexes
    learner.vision_weights = vision_weights(terms, len(taps))
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return learner


def output_of(learner: Learner, batch: Any) -> LossOutput:
    assert learner.distill is not None
    weights = {
        "teacher_weights": teacher_weights(batch, learner.distill),
        "visual_weights": visual_weights(batch, learner.distill),
    }
    found: LossOutput = learner.bare_module(**model_inputs(batch, CPU), **weights)
    return found


@pytest.mark.parametrize(
    ("terms", "upstream"),
    [
        (VisionTerms(vit=FeatureTerm()), r"blocks.0"),
        (VisionTerms(aligner=FeatureTerm()), r"visual.merger"),
        (VisionTerms(deepstack=DeepstackTerm()), r"deepstack_merger_list.0"),
    ],
    ids=["vit", "aligner", "deepstack"],
)
def test_a_distance_trains_what_is_below_it_as_its_finite_difference_says(
    make_learner: MakeLearner, terms: VisionTerms, upstream: str
) -> None:
    learner = with_vision(make_learner({"freeze_vit": False}), terms)
    learner.module.double()
    batch = packed(SAMPLES)
    batch["pixel_values"] = batch["pixel_values"].double()
    name, parameter = next((n, p) for n, p in learner.parameters.items() if upstream in n and "lora_A" in n)

    def distance() -> torch.Tensor:
        return torch.stack(list(output_of(learner, batch).vision_apart.values())).sum()

    (gradient,) = torch.autograd.grad(distance(), parameter)
    direction = gradient / gradient.norm()
    assert gradient.norm() > 1e-4, name
    with torch.no_grad():
        parameter += 1e-2 * direction
        above = distance()
        parameter -= 2e-2 * direction
        below = distance()
    assert float(above - below) / 2e-2 == pytest.approx(float(gradient.norm()), rel=2e-2)


def test_distances_are_their_definition_over_the_visual_tokens_that_take_part(make_learner: MakeLearner) -> None:
    learner = with_vision(make_learner({"freeze_vit": False}), TERMS, sources=("other",))
    module, batch = learner.bare_module.eval(), packed(SAMPLES)
    found = output_of(learner, batch).vision_apart
    model, teacher = bare_model(module.model), module.teacher
    assert teacher is not None
    images = batch["pixel_values"], batch["image_grid_thw"]
    with torch.no_grad():
        ours = model.model.get_image_features(*images, return_dict=True)
        with teacher.switched_on():
            theirs = model.model.get_image_features(*images, return_dict=True)
    first = 4  # visual tokens of the sample that takes no part
    pairs = {
        "vit": (ours.last_hidden_state[4 * first :], theirs.last_hidden_state[4 * first :]),
        "aligner": (torch.cat(ours.pooler_output)[first:], torch.cat(theirs.pooler_output)[first:]),
        "deepstack_0": tuple(torch.cat(each.deepstack_features[0])[first:] for each in (ours, theirs)),
    }
    for name, (one, other) in pairs.items():
        if name == "aligner":
            wanted = (one - other).square().mean(dim=1).sum()
        else:
            wanted = (1 - (one * other).sum(dim=1) / one.norm(dim=1) / other.norm(dim=1)).sum()
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-5)
        assert wanted > 0


@pytest.mark.parametrize("layout", [lambda s: [packed([x]) for x in s], lambda s: [padded(s[:2]), padded(s[2:])]])
def test_the_update_and_what_is_told_do_not_depend_on_the_layout(make_learner: MakeLearner, layout: Any) -> None:
    def step(batches: list[Any]) -> tuple[dict[str, torch.Tensor], dict[str, float] | None]:
        learner = with_vision(make_learner({"freeze_vit": False}, {"max_grad_norm": 1e9}), TERMS, weight=0.5)
        evaluated = validate(learner, batches)
        optimizer_step(learner, batches, 1, 0.0)
        learner.optimizer = torch.optim.SGD(
            [{"params": list(learner.parameters.values()), "tower": "llm", "peak_lr": 1.0}], lr=1.0
        )
        before = {n: p.detach().clone() for n, p in learner.parameters.items()}
        optimizer_step(learner, batches, 2, 1.0)
        return {n: p.detach() - before[n] for n, p in learner.parameters.items()}, evaluated

    (expected, one), (found, other) = step([packed(SAMPLES)]), step(layout(SAMPLES))
    assert one == pytest.approx(other, rel=1e-5)
    assert one is not None
    assert {"eval/kd/vision_vit", "eval/kd/vision_aligner", "eval/kd/vision_deepstack_0"} <= set(one)
    for key, value in expected.items():
        scale = max(float(value.abs().max()), 1e-4)
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5 * scale, msg=key)


def test_a_step_of_text_alone_counts_nothing(make_learner: MakeLearner) -> None:
    learner = with_vision(make_learner({"freeze_vit": False}), TERMS, weight=1.0)
    result = optimizer_step(learner, [packed(TEXT)], 1, 1.0)
    assert result.totals.visual_tokens == 0
    assert not result.outputs[0].vision_apart


@pytest.mark.parametrize(
    ("model", "vision", "message"),
    [
        ({}, {"vit": {}}, "distill.vision.vit must be left out where model.freeze_vit is true"),
        (
            {"freeze_aligner": True},
            {"aligner": {}},
            "distill.vision.aligner must be left out where",
        ),
        ({"freeze_aligner": True}, {"deepstack": {}}, "distill.vision.deepstack must be left out"),
        ({}, {}, "vit, aligner or deepstack must be given"),
        ({}, {"aligner": {"weight": 0.0}}, "distill.vision.aligner.weight must be above 0"),
        ({}, {"deepstack": {"layers": [0, 0]}}, "layers must name each layer once, from 0, not 0, 0"),
    ],
)
def test_a_distance_that_trains_nothing_is_refused(
    run_config: Callable[..., RunConfig], model: dict[str, Any], vision: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(model=model, distill={"vision": vision})


def test_a_layer_below_which_nothing_trains_is_found_by_the_names_of_weights(make_learner: MakeLearner) -> None:
    model = {"freeze_vit": False, "freeze_aligner": True, "adapter": AdapterConfig(rank=2, layers={"vit": "last 1"})}
    learner = make_learner(model)
    vision = bare_model(learner.bare_module.model).config.vision_config
    taps = vision.deepstack_visual_indexes
    assert taps[0] < vision.depth - 1, "the model must be able to tell"
    check_vision(VisionTerms(vit=FeatureTerm(), aligner=FeatureTerm()), learner.parameters, vision)
    with pytest.raises(ConfigError, match=r"weights that train below it, and deepstack_0 has none"):
        check_vision(TERMS, learner.parameters, vision)
    with pytest.raises(ConfigError, match=f"layers must be within 0..{len(taps) - 1} for this model, not 9"):
        check_vision(VisionTerms(deepstack=DeepstackTerm(layers=(9,))), learner.parameters, vision)


def test_a_run_weighs_what_its_config_names(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(distill={"vision": {"aligner": {}, "deepstack": {"weight": 0.4}}})
    learner = build_learner(config, build_accelerator(config))
    layers = [name for name in learner.vision_weights if name.startswith("deepstack_")]
    assert layers
    assert learner.vision_weights == {"aligner": 0.1} | dict.fromkeys(layers, 0.4 / len(layers))
