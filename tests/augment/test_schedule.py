from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment import OPS, Pipeline
from dcap.augment.policy import Skip
from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from support.augment_cases import CANVAS, CAPTIONS, SHAPES

OPS_LIST: list[dict[str, Any]] = [
    {"name": "rotate", "prob": 0.5, "params": {"max_deg": 5}},
    {"name": "random_crop", "params": {"scale": [0.9, 1.0]}},
    {"name": "resize_by_scale", "params": {"lo": 0.9, "hi": 1.1, "align_multiple": 32}},
]
PHASES: list[dict[str, Any]] = [
    {"until_step": 100, "bypass_prob": 0.5, "ops": {"rotate": {"max_deg": 15}}},
    {"until_step": 300, "ops": {"rotate": {"max_deg": 25, "prob": 1.0}, "random_crop": {"scale": [0.5, 1.0]}}},
    {"until_step": 400, "bypass_prob": 0.0, "ops": {"resize_by_scale": {"align_multiple": 64}}},
]


def pipeline(phases: list[dict[str, Any]] = PHASES, **config: Any) -> Pipeline:
    return Pipeline.from_config({"ops": OPS_LIST, "bypass_prob": 1.0, "curriculum": phases, **config})


def values(step: int, total: int | None = None, phases: list[dict[str, Any]] = PHASES) -> dict[str, float]:
    return dict(pipeline(phases).at(TrainingStep(step, total)).values)


@pytest.mark.parametrize(
    ("step", "bypass_prob", "max_deg", "prob", "scale", "multiple"),
    [
        (0, 1.0, 5, 0.5, 0.9, 32),
        (50, 0.75, 10, 0.5, 0.9, 32),
        (100, 0.5, 15, 0.5, 0.9, 32),
        (200, 0.5, 20, 0.75, 0.7, 32),
        (300, 0.5, 25, 1.0, 0.5, 32),
        (350, 0.25, 25, 1.0, 0.5, 48),
        (400, 0.0, 25, 1.0, 0.5, 64),
        (9999, 0.0, 25, 1.0, 0.5, 64),
    ],
)
def test_numbers_move_in_lines_from_one_end_to_the_next(
    step: int, bypass_prob: float, max_deg: float, prob: float, scale: float, multiple: int
) -> None:
    assert values(step) == pytest.approx(
        {
            "bypass_prob": bypass_prob,
            "rotate.max_deg": max_deg,
            "rotate.prob": prob,
            "random_crop.scale.0": scale,
            "random_crop.scale.1": 1.0,
            "resize_by_scale.align_multiple": multiple,
        }
    )
    at = pipeline().at(TrainingStep(step))
    assert at.config.bypass_prob == pytest.approx(bypass_prob)
    assert at.stages[0].prob == pytest.approx(prob)
    assert at.stages[0].op.max_deg == pytest.approx(max_deg)
    assert type(at.stages[2].op.align_multiple) is int


@given(st.integers(0, 500), st.integers(1, 2000))
def test_percent_is_of_all_steps(step: int, total: int) -> None:
    in_percent = [{**phase, "until_percent": phase["until_step"] / 4} for phase in PHASES]
    for phase in in_percent:
        del phase["until_step"]
    in_steps = [{**phase, "until_step": phase["until_step"] * total} for phase in PHASES]
    assert values(step, total, in_percent) == pytest.approx(values(step * 400, None, in_steps))


def test_percent_of_what_must_be_known() -> None:
    phases = [{"until_percent": 50, "bypass_prob": 0.5}]
    with pytest.raises(ConfigError, match="must have until_step where the number of steps is not known"):
        pipeline(phases).at(TrainingStep(3))


def test_the_numbers_act_and_are_told() -> None:
    def turned(step: int) -> list[float]:
        phases = [{"until_step": 10, "bypass_prob": 0.0, "ops": {"rotate": {"max_deg": 0, "prob": 1}}}]
        at = pipeline(phases, ops=OPS_LIST[:1])
        made = [at.at(TrainingStep(step)).plan(CANVAS, SHAPES, generator(s), CAPTIONS) for s in range(40)]
        assert all(dict(r.telemetry.curriculum) == dict(at.at(TrainingStep(step)).values) for r in made)
        assert all(r.telemetry.tally(1)["curriculum/rotate.max_deg"] == (10 - step) / 2 for r in made)
        return [abs(np.degrees(np.arctan2(r.plan.affine.d, r.plan.affine.a))) for r in made]

    assert max(turned(0)) == 0.0  # bypassed
    assert 0.0 < max(turned(5)) <= 2.5
    assert max(turned(10)) == 0.0  # turned by nothing


def test_without_a_step_it_is_the_first() -> None:
    first, plain = pipeline(bypass_prob=0.3), Pipeline.from_config({"ops": OPS_LIST, "bypass_prob": 0.3})
    for seed in range(20):
        results = [p.plan(CANVAS, SHAPES, generator(seed), CAPTIONS) for p in (first, first.at(TrainingStep(0)), plain)]
        assert len({r.plan.to_json() for r in results}) == 1
    assert plain.at(TrainingStep(7)) is plain
    assert plain.values == {}


@OPS.register("fussy")
@dataclass(frozen=True)
class Fussy:
    limit: float = 0.0
    size: float = 8  # a whole number, as people write it
    word: str = ""
    pair: tuple[float, ...] = (1.0, 2.0)
    maybe: float | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if 0.0 < self.limit < 0.5:
            raise ConfigError(f"limit must be 0 or at least 0.5, not {self.limit}")

    def sample(self, view: Any, rng: Any) -> Skip:
        return Skip("it is fussy")


@OPS.register("gap")
@dataclass(frozen=True)
class Gap(Fussy):
    def __post_init__(self) -> None:
        if 0.0 < self.limit < 0.001:
            raise ConfigError(f"limit must be 0 or at least 0.001, not {self.limit}")


def test_a_whole_default_of_a_number_moves_in_parts() -> None:
    made = Pipeline.from_config(
        {"ops": [{"name": "fussy"}], "curriculum": [{"until_step": 4, "ops": {"fussy": {"size": 9}}}]}
    )
    assert [made.at(TrainingStep(k)).values["fussy.size"] for k in range(5)] == [8.0, 8.25, 8.5, 8.75, 9.0]


def test_a_step_is_not_negative() -> None:
    with pytest.raises(ConfigError, match="step must be at least 0, not -5"):
        TrainingStep(-5)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"until_step": 5, "until_percent": 5}], r"curriculum\[0\].* and not both"),
        ([{"bypass_prob": 0.5}], r"curriculum\[0\].*until_percent or until_step must be given"),
        ([{"until_step": 0}], "until_step must be at least 1"),
        ([{"until_percent": 101}], "at most 100"),
        ([{"until_step": 5, "bypass_prob": 1.5}], r"bypass_prob must be within 0..1"),
        ([{"until_step": 5}, {"until_percent": 50}], "until_percent or by until_step, not by both"),
        ([{"until_step": 5}, {"until_step": 5}], r"curriculum\[1\] must end after 5"),
        ([{"until_step": 5, "ops": {"rotat": {}}}], "did you mean rotate"),
        ([{"until_step": 5, "ops": {"hflip": {"prob": 1}}}], "hflip must be one of augmentation.ops"),
        ([{"until_step": 5, "ops": {"shear": {"max_deg_x": 3}}}], "shear must be once .* not 2 times"),
        ([{"until_step": 5, "ops": {"rotate": {"max_dg": 3}}}], "did you mean max_deg"),
        ([{"until_step": 5, "ops": {"rotate": {"max_deg": "far"}}}], 'max_deg must be a number, not "far"'),
        ([{"until_step": 5, "ops": {"rotate": {"max_deg": -3}}}], "max_deg must"),
        ([{"until_step": 5, "ops": {"rotate": {"prob": 2}}}], "rotate.prob must be a number within"),
        ([{"until_step": 5, "ops": {"rotate": {"prob": True}}}], "rotate.prob must be a number within"),
        ([{"until_step": 5, "ops": {"fussy": {"word": "x"}}}], "fussy.word must be made of numbers"),
        ([{"until_step": 5, "ops": {"fussy": {"flag": True}}}], "fussy.flag must be made of numbers"),
        ([{"until_step": 5, "ops": {"fussy": {"maybe": 1.0}}}], "fussy.maybe must be made of numbers"),
        ([{"until_step": 5, "ops": {"fussy": {"pair": [1, 2, 3]}}}], "fussy.pair must be made of numbers"),
        (
            [{"until_step": 5, "ops": {"fussy": {"limit": 0.01}}}],
            "limit must be 0 or at least 0.5, not 0.01",
        ),
        (
            [{"until_step": 5, "ops": {"gap": {"limit": 1}}}],
            r"legal values on the way to its end as well .*not 1e-09",
        ),
        ([{"until_step": 5, "ops": {"fussy": {"limit": 1}}}], "legal values on the way to its end as well .limit must"),
        (
            [{"until_step": 5, "ops": {"random_crop": {"completeness_threshold": 0.9}}}],
            "completeness_threshold must have a rule",
        ),
    ],
)
def test_what_a_curriculum_cannot_be(phases: list[dict[str, Any]], message: str) -> None:
    ops = [
        *OPS_LIST,
        {"name": "fussy"},
        {"name": "gap"},
        *[{"name": "shear", "params": {"max_deg_x": 5, "max_deg_y": 5}}] * 2,
    ]
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_config({"ops": ops, "curriculum": phases})
