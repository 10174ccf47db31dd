"""Runs on a base in 4 bits, with moments in 8 bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dcap.core.config import build, merge, to_tree
from dcap.core.errors import CheckpointError, MissingPackageError
from dcap.model import init_adapter, quantization
from dcap.model.quantization import is_quantised
from dcap.train import setup
from dcap.train.config import RunConfig
from dcap.train.loop import train
from dcap.train.setup import prepare
from support.training_runs import assert_same_run, at_step, final_weights, kept_losses, metrics, outcome, steps

Config = Callable[..., RunConfig]
MODEL: dict[str, Any] = {"quantization": "nf4", "adapter": {"rank": 32, "dropout": 0.1}}
"""Adapters large enough for moments in 8 bits."""


def few_bits(run_config: Config, folder: Path, **training: Any) -> RunConfig:
    """A run of three steps in `folder` with a checkpoint after each."""
    given = {"output_dir": str(folder), "max_steps": 3, "save_steps": 1, "best_metric": None, **training}
    return run_config(model=MODEL, training={"optimizer": "adamw8bit", "lora_plus_ratio": 4.0, **given})


class StoppedHereError(Exception):
    pass


def stop() -> None:
    raise StoppedHereError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("whole") / "run"}


@pytest.fixture
def done(whole: dict[str, Any], run_config: Config) -> RunConfig:
    """The run from its start to its end; made once."""
    config = few_bits(run_config, whole["folder"])
    if "config" not in whole:
        train(config)
        whole["config"] = config
    return config


def test_a_run_resumes_to_the_same_bytes(
    done: RunConfig, run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = few_bits(run_config, tmp_path / "torn")
    with monkeypatch.context() as patch:
        at_step(patch, 3, stop)
        with pytest.raises(StoppedHereError):
            train(torn)
    train(torn)
    expected = {
        "outcome": outcome(done), "losses": kept_losses(done), "weights": final_weights(done), "steps": steps(done),
    }  # fmt: skip
    assert_same_run(torn, expected)
    names = ("adapter/adapter_model.safetensors", "optimizer.safetensors")
    for name in names:
        mine, theirs = (
            load_file(Path(config.training.output_dir) / "checkpoints/step-000003" / name) for config in (torn, done)
        )
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], value) for key, value in theirs.items())


def test_files_tell_how_the_base_was_held_and_hold_none_of_it(done: RunConfig) -> None:
    output = Path(done.training.output_dir)
    assert json.loads((output / "final/final.json").read_text())["quantization"] == "nf4"
    checkpoint = output / "checkpoints/step-000003"
    assert json.loads((checkpoint / "trainer_state.json").read_text())["quantization"] == "nf4"
    assert not any(is_quantised(name) for name in load_file(checkpoint / "adapter/adapter_model.safetensors"))
    moments = load_file(checkpoint / "optimizer.safetensors")
    assert {value.dtype for name, value in moments.items() if name.endswith("/state1")} == {torch.uint8, torch.float32}
    assert all(int(value) == 3 for name, value in moments.items() if name.endswith("/step"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"quantization": "none"}}, 'model.quantization was "nf4" and is "none"'),
        ({"training": {"optimizer": "adamw"}}, 'training.optimizer was "adamw8bit" and is "adamw"'),
    ],
)
def test_a_run_goes_on_with_the_bits_it_began_with(
    done: RunConfig, run_config: Config, changes: dict[str, Any], message: str
) -> None:
    given = few_bits(run_config, Path(done.training.output_dir), max_steps=4)
    other = build(RunConfig, merge(to_tree(given), changes))
    with pytest.raises(CheckpointError, match=message):
        train(other)


def test_the_loss_stays_within_a_percent_of_that_of_an_unquantised_base(run_config: Config, tmp_path: Path) -> None:
    losses = []
    for name in ("none", "nf4"):
        model = {"quantization": name, "dtype": "bfloat16", "adapter": {"rank": 8, "dropout": 0.0}}
        given = {"output_dir": str(tmp_path / name), "max_steps": 6, "save_steps": 100, "learning_rate": 0.003}
        config = run_config(model=model, training=given)
        train(config)
        losses.append(torch.tensor([line["loss"] for line in metrics(config)]))
    plain, quantised = losses
    assert quantised[-1] < 0.9 * quantised[0], "it learns"
    apart = (quantised - plain).abs() / plain
    assert apart[-1] < 0.01
    assert apart.max() < 0.02, "the weights are random, where 4 bits cost the most: 1.1 % in one step"
    assert not torch.equal(plain, quantised)


def test_a_second_stage_may_begin_with_an_adapter_of_a_base_in_4_bits(
    done: RunConfig, run_config: Config, tmp_path: Path
) -> None:
    final = str(Path(done.training.output_dir) / "final")
    for name, folds in (("nf4", False), ("nf4", True), ("none", False)):
        model = {**MODEL, "quantization": name, "init_adapter": {"path": final, "merge": folds}}
        config = run_config(model=model, training={"output_dir": str(tmp_path / f"{name}{folds}"), "max_steps": 1})
        train(config)
        assert metrics(config)[0]["loss"] < metrics(done)[0]["loss"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": {"quantization": "nf4"}}, "model.quantization nf4"),
        ({"training": {"optimizer": "adamw8bit"}}, "training.optimizer adamw8bit"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_read(
    run_config: Config, changes: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "has_bitsandbytes", lambda: False)
    for module, function in ((setup, "check_source"), (setup, "_loaders"), (init_adapter, "load_model")):
        monkeypatch.setattr(module, function, lambda *_: pytest.fail("too late"))
    with (
        pytest.raises(MissingPackageError, match=rf'{name}: .* pip install .*\[quantized\]"'),
        ExitStack() as closing,
    ):
        prepare(run_config(**changes), closing)
