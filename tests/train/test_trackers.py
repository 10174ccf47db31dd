"""Trackers of other packages: what they get, and that none of them can end a run. The packages are stand-ins."""

from __future__ import annotations

import logging
import os
import posixpath
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from accelerate import PartialState

from dcap.core.config import build
from dcap.core.errors import ConfigError, MissingPackageError, PluginError
from dcap.train import trackers as module
from dcap.train.config import RunConfig
from dcap.train.loop import train
from dcap.train.trackers import Trackers, accepted_name, check_packages

KEY = "0123456789abcdef-secret"


class FakeWandb(ModuleType):
    """As much of the package as Accelerate's tracker calls."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.config: dict[str, Any] = {}
        self.started: list[dict[str, Any]] = []
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.finished = 0
        self.error: Exception | None = None
        owner = self

        class Settings(dict):  # type: ignore[type-arg]
            def update(self, values: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
                owner.config |= values

        self.config = Settings()

    def init(self, **options: Any) -> FakeWandb:
        self.started.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if self.error is not None:
            raise self.error
        self.lines.append((step, dict(values)))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(autouse=True)
def _state_of_a_run() -> None:
    """Accelerate's trackers log through the state that each run has."""
    PartialState(cpu=True)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    PartialState(cpu=True)  # what a run has made before
    package = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setattr("dcap.train.trackers.find_spec", lambda name: SimpleNamespace(origin=f"{name}/__init__.py"))
    return package


def config_of(folder: Path, *trackers: str) -> RunConfig:
    tree = {
        "model": {"name_or_path": "m"},
        "data": {"train": "a.jsonl", "answer": {"prompts": {"dense": "x" * 1000}}},
        "training": {"output_dir": str(folder), "trackers": list(trackers)},
    }
    return build(RunConfig, tree)


def test_a_tracker_gets_the_config_and_the_numbers(tmp_path: Path, wandb: FakeWandb) -> None:
    trackers = Trackers(config_of(tmp_path / "mine", "wandb"), 0)
    trackers.log({"loss": 2, "eval/loss": 1.5}, 7)
    trackers.close()
    trackers.close()
    assert wandb.started == [{"project": "dcap", "name": "mine", "dir": str(tmp_path / "mine")}]
    assert wandb.lines == [(7, {"train/loss": 2.0, "eval/loss": 1.5})]
    assert wandb.finished == 1


MLFLOW_NAME = re.compile(r"[/\w.\- ]{1,250}")
"""As MLflow's ``validation.py`` has it, which also asks that a name is its own normal path."""


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("eval/loss", "eval/loss"),
        ("word_swaps/左边", "word_swaps/左边"),
        ("curriculum/rotate.max_deg", "curriculum/rotate.max_deg"),
        ("word_skips/red+blue", "word_skips/red_blue-"),
        ("word_skips/red blue", "word_skips/red_blue-"),
        ("loss_dataset/50%: a?", "loss_dataset/50___a_-"),
        ("loss_dataset//", "loss_dataset/_/_-"),
        ("loss_dataset/../..", "loss_dataset/_/_-"),
        ("word_swaps/e.g.", "word_swaps/e.g_-"),
        ("loss_dataset/" + "x" * 300, "loss_dataset/" + "x" * 187 + "-"),
        ("word_swaps/\ud800", "word_swaps/_-"),
    ],
)
def test_a_name_is_one_that_all_trackers_take(name: str, accepted: str) -> None:
    found = accepted_name(name)
    assert re.fullmatch(re.escape(accepted) + "[0-9a-f]{6}" * (found != name), found)
    assert MLFLOW_NAME.fullmatch(found)
    assert posixpath.normpath(found) == found
    assert not found.endswith((".", "/"))


def test_names_with_signs_reach_a_tracker_apart(tmp_path: Path, wandb: FakeWandb) -> None:
    trackers = Trackers(config_of(tmp_path, "wandb"), 0)
    trackers.log({"word_skips/red+blue": 1, "word_skips/red blue": 2, "word_skips/red_blue": 3}, 1)
    ((_, found),) = wandb.lines
    assert sorted(found.values()) == [1, 2, 3]


def test_names_of_users_in_the_config_are_accepted_ones(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(wandb.config, "update", lambda values, **_: given.update(values))
    config = config_of(tmp_path, "wandb")
    domains = {"street: night+rain": {"mode": "summary"}}
    Trackers(replace(config, data=replace(config.data, domains=domains)), 0)
    (name,) = [name for name in given if name.startswith("data.domains.")]
    assert re.fullmatch(r"data\.domains\.street__night_rain\.mode-[0-9a-f]{6}", name)
    assert all(accepted_name(name) == name for name in given)


def test_the_project_is_the_user_s(tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "towers")
    Trackers(config_of(tmp_path, "wandb"), 0)
    assert wandb.started[0]["project"] == "towers"


def test_the_config_is_flat_short_and_holds_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb: FakeWandb
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    given: dict[str, Any] = {}
    monkeypatch.setattr(wandb.config, "update", lambda values, **_: given.update(values))
    Trackers(config_of(tmp_path, "wandb"), 0)
    assert given["training.trackers.0"] == "wandb"
    assert given["data.answer.prompts.dense"] == "x" * 250
    assert all(isinstance(value, str | int | float | bool | None) for value in given.values())
    assert KEY not in repr(given)


def test_a_tracker_that_fails_does_not_end_the_run(
    tmp_path: Path, wandb: FakeWandb, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    trackers = Trackers(config_of(tmp_path, "wandb", "tensorboard"), 0)
    wandb.error = ConnectionError("no network")
    trackers.log({"loss": 2.0}, 1)
    trackers.log({"loss": 1.0}, 2)
    trackers.close()
    (warning,) = caplog.messages
    assert warning.startswith("training.trackers: wandb must not fail, and raised ConnectionError: no network")
    assert warning.endswith("It gets no more metrics; metrics.jsonl has them all")
    assert list((tmp_path / "tensorboard").iterdir())
    assert wandb.finished == 0


def test_a_tracker_that_does_not_start_is_named(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: {}["WANDB_API_KEY"])
    with pytest.raises(PluginError, match=r"^training\.trackers: wandb must not fail, and raised KeyError"):
        Trackers(config_of(tmp_path, "wandb"), 0)


def test_trackers_that_started_are_finished_when_another_one_does_not_start(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, *_: object) -> object:
        return started(name, *_) if name == "wandb" else {}[name]

    started = module._started
    monkeypatch.setattr(module, "_started", refuse)
    with pytest.raises(PluginError, match="mlflow"):
        Trackers(config_of(tmp_path, "wandb", "mlflow"), 0)
    assert wandb.finished == 1


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swanlab").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingPackageError, match="swanlab must be installed"):
        check_packages(["swanlab"])


def test_a_missing_package_is_named_with_its_install_command() -> None:
    check_packages(["tensorboard"])
    with pytest.raises(MissingPackageError, match=r"swanlab must be installed .* Run: pip install swanlab$"):
        check_packages(["tensorboard", "swanlab"])


@pytest.mark.parametrize(
    ("trackers", "message"),
    [
        (["wandb", "wandb"], "trackers must name each tracker once"),
        (["comet"], r"trackers\[0\] must be one of .*swanlab"),
        ("wandb", "trackers must be a list"),
    ],
)
def test_wrong_trackers_are_refused(trackers: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(
            RunConfig,
            {
                "model": {"name_or_path": "m"},
                "data": {"train": "a"},
                "training": {"output_dir": "r", "trackers": trackers},
            },
        )


def test_a_run_with_a_tracker(
    run_config: Callable[..., RunConfig], wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    config = run_config(training={"max_steps": 1, "trackers": ["wandb"]})
    train(config)
    assert [step for step, _ in wandb.lines] == [1]
    assert {"train/loss", "lr/llm", "train/tokens_per_s"} <= wandb.lines[0][1].keys()
    assert wandb.finished == 1
    assert os.environ["WANDB_API_KEY"] == KEY
    files = [path for path in Path(config.training.output_dir).rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_run_without_the_package_stops_before_its_folder_is_made(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(training={"trackers": ["swanlab"]})
    with pytest.raises(MissingPackageError, match="pip install swanlab"):
        train(config)
    assert not Path(config.training.output_dir).exists()
