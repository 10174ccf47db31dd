from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.augment.schedule import TrainingStep
from dcap.core.config import merge
from dcap.core.errors import CheckpointError
from dcap.data.config import DataConfig
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.mixture import EpochSamples
from dcap.geometry.canvas import Canvas
from dcap.train.resume import check_same_run
from dcap.train.state import RunState
from support.epoch_cases import bare_plan

SAVED: dict[str, Any] = {
    "seed": 1,
    "world_size": 2,
    "model": {"name_or_path": "x", "attention": "auto", "adapter": {"rank": 4}},
    "data": {"train": ["a.jsonl"], "num_workers": 2, "val": [], "root": None},
    "augmentation": {"ops": []},
    "training": {"num_epochs": 1, "effective_batch_size": 8, "per_device_batch_size": 1, "resume": "auto"},
}


def change(dotted: str, value: Any) -> dict[str, Any]:
    *path, last = dotted.split(".")
    tree: dict[str, Any] = {last: value}
    for key in reversed(path):
        tree = {key: tree}
    return merge(SAVED, tree)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2),
        ("model.name_or_path", "y"),
        ("model.adapter.rank", 8),
        ("data.train", ["b.jsonl"]),
        ("data.packing", False),
        ("data.limit", 100),
        ("augmentation.bypass_prob", 0.5),
        ("training.per_device_batch_size", 2),
    ],
)
def test_a_change_of_samples_rows_or_model_is_refused(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=rf"{name} was .* and is .*training.resume=none"):
        check_same_run(SAVED, change(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.num_epochs", 3),
        ("training.effective_batch_size", 16),
        ("world_size", 4),
        ("data.num_workers", 0),
        ("data.val", ["v.jsonl"]),
        ("model.attention", "segments"),
        ("data.root", "/data"),
    ],
)
def test_other_changes_are_followed_and_said(
    name: str, value: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    check_same_run(SAVED, change(name, value))
    assert f"resuming with a change: {name} was" in caplog.text


def test_how_to_resume_is_no_change(caplog: pytest.LogCaptureFixture) -> None:
    check_same_run(SAVED, change("training.resume", "out/checkpoints/step-000002"))
    assert not caplog.text


@pytest.mark.parametrize(("until", "free"), [("until_step", True), ("until_percent", False)])
def test_the_length_of_a_run_binds_a_curriculum_in_percent(until: str, free: bool) -> None:
    saved = merge(SAVED, {"augmentation": {"curriculum": [{until: 50}]}})
    longer = merge(saved, {"training": {"num_epochs": 3}})
    if free:
        check_same_run(saved, longer)
        return
    with pytest.raises(CheckpointError, match=r"training\.num_epochs was 1 and is 3"):
        check_same_run(saved, longer)


@pytest.mark.parametrize(("max_steps", "free"), [(None, False), (100, True)])
def test_rows_per_step_bind_a_curriculum_in_percent_where_they_decide_on_the_steps(
    max_steps: int | None, free: bool
) -> None:
    saved = merge(
        SAVED, {"augmentation": {"curriculum": [{"until_percent": 50}]}, "training": {"max_steps": max_steps}}
    )
    larger = merge(saved, {"training": {"effective_batch_size": 16}, "world_size": 4})
    if free:
        check_same_run(saved, larger)
        return
    with pytest.raises(CheckpointError, match=r"training\.effective_batch_size was 8 and is 16"):
        check_same_run(saved, larger)


SAMPLES = 60


class Planned:
    """A data set that knows lengths alone; with a curriculum they change from step to step."""

    def __init__(self, phases: tuple[int, ...] = ()) -> None:
        self.split = "train"
        self.curriculum = SimpleNamespace(phases=phases)
        data = DataConfig(train="a.jsonl", global_max_length=100, packing_window=16)
        self.data, self.seed, self.planners = data, 5, ()
        self.mixture = SimpleNamespace(parts=[SimpleNamespace(entry=SimpleNamespace(is_target=False))])

    def __len__(self) -> int:
        return SAMPLES

    def check_tokenizer(self) -> None:
        """It knows its lengths without one."""

    def samples(self, epoch: int) -> EpochSamples:
        return EpochSamples.of_all(SAMPLES)

    def plan(self, epoch: int, index: int, when: TrainingStep | None = None, draw: int = 0) -> Any:
        tokens = 10 + (index * 7919 + epoch * 31 + (0 if when is None else when.step * (index % 5))) % 60
        scene, telemetry = SimpleNamespace(canvas=Canvas(32 * (tokens // 2), 32)), SimpleNamespace(fitted={})
        result = SimpleNamespace(scene=scene, telemetry=telemetry)
        return SimpleNamespace(fits=True, length=tokens, kept_iou=np.empty(0), result=result)


LEGS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 12)), min_size=1, max_size=5)


@pytest.mark.parametrize("curriculum", [False, True])
@settings(deadline=None, max_examples=50)
@given(legs=LEGS)
def test_every_sample_of_an_epoch_is_seen_once_however_the_ranks_change(
    curriculum: bool, legs: list[tuple[int, int, int]]
) -> None:
    """Each leg of a run has a world size, an accumulation and a number of steps; the last one goes on to the end."""
    dataset: Any = Planned((1,) if curriculum else ())
    seen: list[list[int]] = [[], []]
    state, rows_per_step = RunState(), 0
    for leg, (world, accumulation, count) in enumerate(legs):
        if rows_per_step not in (0, world * accumulation):
            state = state.regrouped(rows_per_step)
        rows_per_step = world * accumulation
        rules, done, plan = EpochRules(rows_per_step, total_steps=50), 0, None
        while state.epoch < 2 and (done < count or leg == len(legs) - 1):
            if plan is None or plan.epoch != state.epoch:
                plan = plan_epoch(dataset, state.epoch, rules, first_step=state.first_step, parts=state.parts)
            shares = plan.steps[state.step_in_epoch].shares(world)
            assert len({len(share) for share in shares}) == 1
            keys = [key for share in shares for row in share for key in row if not key.filler]
            assert {key.when.step for key in keys if key.when is not None} == ({state.step} if curriculum else set())
            seen[state.epoch] += [key.index for key in keys]
            after = state.advanced(plan, 1, 1)
            assert state.epochs_done < after.epochs_done
            state, done = after, done + 1
    assert [sorted(each) for each in seen] == [list(range(SAMPLES))] * 2
    assert state.epochs_done == 2.0
    assert state.parts == ()


def test_the_steps_of_a_run_are_planned_anew_where_rows_per_step_change() -> None:
    state = RunState()
    plan = bare_plan(0, [1] * 100)
    for _ in range(50):
        state = state.advanced(plan, 1, 1)
    assert state.total_steps(3, 100) == 300
    assert state.regrouped(8).total_steps(3, 50) == 50 + 25 + 100
    halfway = replace(state.regrouped(8), step=60, epochs_done=0.7)
    assert halfway.total_steps(2, 50) == 125, "whenever it is asked, and for another number of epochs"
