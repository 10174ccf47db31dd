from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.core.errors import ConfigError, DcapError
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.planning import PlannedSample
from dcap.train.config import RunConfig, load_run_config
from dcap.train.setup import prepare, write_run_files
from dcap.train.state import RunState

RunMaker = Callable[..., RunConfig]


@pytest.mark.parametrize(
    ("packing", "per_device", "effective", "world", "expected"),
    [(True, 1, 8, 1, 8), (True, 1, 8, 4, 2), (False, 2, 8, 2, 2), (False, 4, 4, 1, 1)],
)
def test_accumulation_gives_the_effective_batch(
    run_config: RunMaker, packing: bool, per_device: int, effective: int, world: int, expected: int
) -> None:
    config = run_config(
        data={"packing": packing},
        training={"per_device_batch_size": per_device, "effective_batch_size": effective},
    )
    assert config.training.accumulation(world) == expected


def test_batches_that_do_not_divide_are_refused(run_config: RunMaker) -> None:
    config = run_config(data={"packing": False}, training={"per_device_batch_size": 3, "effective_batch_size": 8})
    with pytest.raises(
        ConfigError, match=r"effective_batch_size must be a multiple of 6 .*2 processes\), not 8\. Set it to 6,"
    ):
        config.training.accumulation(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"per_device_batch_size": 2}}, "per_device_batch_size must be 1 with data.packing, not 2"),
        ({"model": {"dtype": "float16"}}, "model.dtype must be bfloat16 or float32 for training"),
        (
            {"model": {"freeze_llm": True, "freeze_aligner": True}},
            "model.freeze_llm, freeze_vit and freeze_aligner must not all be true",
        ),
        (
            {"model": {"quantization": "nf4"}, "training": {"parallel": "fsdp"}},
            "model.quantization must be none with training.parallel fsdp, not nf4, .* Set training.parallel=ddp",
        ),
        (
            {"training": {"optimizer": "adamw8bit", "parallel": "fsdp"}},
            "training.optimizer must be adamw with training.parallel fsdp, not adamw8bit",
        ),
        (
            {"model": {"quantization": "nf4", "adapter": {"type": "full"}}},
            "model.quantization must be none with adapter.type full, not nf4",
        ),
    ],
)
def test_impossible_combinations_need_no_model(run_config: RunMaker, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"best_metric": "eval/los"}}, "did you mean eval/loss"),
        ({"training": {"best_metric": "eval/four/loss"}}, "must be a validation metric, not 'eval/four/loss'"),
        ({"model": {"attention": "flash_attention_2"}}, "model.attention must be auto or segments on cpu"),
        (
            {"model": {"attention": "flash_attention_2"}, "data": {"train": "/nowhere.jsonl"}},
            "model.attention must be auto or segments on cpu",  # before records are read
        ),
        (
            {"training": {"resume": "/x/step-9"}},
            r"training.resume must be .*, and /x/step-9 does not exist; .* has no c",
        ),
        ({"model": {"name_or_path": "/nowhere"}}, "must be an existing folder"),
        ({"data": {"train": "/nowhere.jsonl"}}, "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said(run_config: RunMaker, changes: dict[str, Any], message: str) -> None:
    with ExitStack() as closing, pytest.raises(DcapError, match=message):
        prepare(run_config(**changes), closing)


def test_a_metric_of_a_data_set_is_refused_where_the_other_one_is_left_out(
    run_config: RunMaker, photo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one left, validation has no metric of its own for it; that must not come out after the first epoch."""
    first, *_, last = photo_file.read_text().splitlines(keepends=True)
    val = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path, line in zip(val, (first, last), strict=True):
        path.write_text(line)
    config = run_config(
        data={"val": [str(path) for path in val], "overlong": "drop"}, training={"best_metric": "eval/one/loss"}
    )
    plan = DenseCaptionDataset.plan

    def too_long(self: DenseCaptionDataset, epoch: int, index: int, *args: Any) -> PlannedSample:
        return replace(plan(self, epoch, index, *args), fits=not (self.split == "val" and index == 1))

    with ExitStack() as closing:
        prepare(config, closing)
    monkeypatch.setattr(DenseCaptionDataset, "plan", too_long)
    with ExitStack() as closing, pytest.raises(ConfigError, match="must be a validation metric, not 'eval/one/loss'"):
        prepare(config, closing)


def test_a_prepared_run_is_the_one_the_config_describes(run_config: RunMaker) -> None:
    config = run_config(training={"max_steps": None, "num_epochs": 3})
    with ExitStack() as closing:
        torch.rand(3)  # adapters must not depend on what was drawn before
        run = prepare(config, closing)
        first = {name: p.detach().clone() for name, p in run.learner.parameters.items()}
        assert run.total_steps(RunState()) == 3 * len(run.loader.plan.steps) == 6
        assert [len(step.rows) for step in run.loader.plan.steps] == [2, 2]
        assert run.val_loader is None
    with ExitStack() as closing:
        again = prepare(config, closing)
        assert all(torch.equal(first[name], p) for name, p in again.learner.parameters.items())
    assert not (Path(config.training.output_dir) / "config.yaml").exists(), "a refused resume must not replace it"


def test_a_resumed_run_is_planned_anew_only_where_rows_per_step_changed(run_config: RunMaker) -> None:
    config = run_config(training={"max_steps": None, "num_epochs": 3})
    with ExitStack() as closing:
        run = prepare(config, closing)
        assert next(run.epoch_plans(RunState(step=1, step_in_epoch=1, epochs_done=0.5))) is run.loader.plan
        state = RunState(step=1, step_in_epoch=1, epochs_done=0.25).regrouped(1)
        plans = run.epoch_plans(state)
        changed = next(plans)
        assert (run.total_steps(state), changed.parts, len(changed.steps)) == (1 + 6, ((1, 1),), 3)
        following = next(plans)
        assert (following.epoch, following.parts, following.first_step) == (1, (), 3)
        later = replace(state, step=4, epoch=1, step_in_epoch=0, epochs_done=1.0, parts=())
        assert run.total_steps(later) == 1 + 6
        limited = replace(run, config=run_config(training={"max_steps": 9}))
        assert limited.total_steps(state) == 9


@pytest.mark.parametrize("curriculum", [False, True])
def test_no_epoch_is_planned_twice(run_config: RunMaker, curriculum: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    original = DenseCaptionDataset.plan

    def plan(self: DenseCaptionDataset, epoch: int, index: int, *more: Any) -> PlannedSample:
        calls.append((epoch, index))
        return original(self, epoch, index, *more)

    monkeypatch.setattr(DenseCaptionDataset, "plan", plan)
    phases = [{"until_percent": 100, "ops": {"hflip": {"prob": 1.0}}}] if curriculum else []
    config = run_config(augmentation={"curriculum": phases}, training={"max_steps": None, "num_epochs": 3})
    with ExitStack() as closing:
        run = prepare(config, closing)
        next(run.epoch_plans(RunState()))
    # A curriculum in percent needs the number of steps first, and looks again at samples of later steps.
    assert len(calls) <= 12 if curriculum else sorted(calls) == [(0, i) for i in range(4)]


def test_the_run_is_described_in_its_folder(run_config: RunMaker) -> None:
    config = run_config()
    with ExitStack() as closing:
        write_run_files(prepare(config, closing))
    output = Path(config.training.output_dir)
    assert {p.name for p in output.iterdir()} == {"config.yaml", "environment.json", "train.log"}
    assert load_run_config(output / "config.yaml") == config


def test_a_validation_record_that_does_not_fit_is_found_at_the_start(
    run_config: RunMaker, photo_file: Path, tmp_path: Path
) -> None:
    record = json.loads(photo_file.read_text().splitlines()[0])
    record["objects"] *= 9
    (tmp_path / "long.jsonl").write_text(json.dumps(record))
    with ExitStack() as closing, pytest.raises(DcapError, match=r"long.jsonl:1: sample must have at most 128 tokens"):
        prepare(run_config(data={"val": str(tmp_path / "long.jsonl")}), closing)


def test_checkpointing_is_switched_on(run_config: RunMaker) -> None:
    with ExitStack() as closing:
        run = prepare(run_config(training={"activation_checkpointing": True}), closing)
        model = run.learner.bare_module.model
        assert model.get_base_model().is_activation_checkpointing


def test_a_rate_of_a_frozen_tower_is_pointed_out(
    run_config: RunMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    with ExitStack() as closing:
        prepare(run_config(training={"vit_lr": 1e-5, "aligner_lr": 1e-4}), closing)
    assert "training.vit_lr has no effect: model.freeze_vit is true" in caplog.messages
    assert not [message for message in caplog.messages if "aligner_lr" in message]


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": -0.1},
        {"warmup_steps": -1},
        {"save_delay_epochs": -1.0},
        {"adam_betas": [0.9, 1.0]},
        {"adam_eps": 0.0},
    ],
)
def test_impossible_optimisers_are_refused(run_config: RunMaker, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"training.{next(iter(change))}|training.adam_betas"):
        run_config(training=change)
