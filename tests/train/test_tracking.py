from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState
from rich.console import Console

from dcap.core.errors import TrainingError
from dcap.data.config import DataConfig
from dcap.model.config import ModelConfig
from dcap.model.flops import FlopCount, Utilization, Work
from dcap.train import tracking
from dcap.train.config import RunConfig, TrainingConfig
from dcap.train.state import RunState
from dcap.train.step import StepResult, Totals
from dcap.train.tracking import Tracker, keep_until
from support.training_runs import files_of_at_most


@pytest.fixture(autouse=True)
def _state_of_a_run() -> None:
    """Accelerate's trackers log through the state that each run has."""
    PartialState(cpu=True)


def result(loss: float = 2.5, seconds: float = 0.5, tokens: int = 100) -> StepResult:
    return StepResult(
        loss=loss,
        token_accuracy=0.25,
        grad_norm=1.5,
        learning_rates={"llm": 1e-4, "aligner": 2e-4},
        totals=Totals(weight=10, supervised=10, tokens=tokens, samples=4, images=4, work=Work(tokens)),
        seconds=seconds,
        stop=False,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def config_of(folder: Path, trackers: Sequence[str] = ()) -> RunConfig:
    training = TrainingConfig(str(folder), trackers=tuple(trackers))
    return RunConfig(ModelConfig("m"), DataConfig(train="a.jsonl"), training)


def tracker(folder: Path, **kwargs: Any) -> Tracker:
    made = Tracker(config_of(folder, **kwargs), active=True)
    made.start(RunState(), 10)
    return made


def test_one_line_per_logged_step(tmp_path: Path) -> None:
    track = tracker(tmp_path)
    track.step(
        RunState(step=1, epochs_done=0.1, tokens=100, samples=4), result(), waited=0.5, more={"augment/objects": 3.0}
    )
    assert lines(tmp_path) == [
        {
            "step": 1,
            "epoch": 0.1,
            "loss": 2.5,
            "token_accuracy": 0.25,
            "grad_norm": 1.5,
            "lr/llm": 1e-4,
            "lr/aligner": 2e-4,
            "tokens": 100,
            "samples": 4,
            "step_time_s": 0.5,
            "data_wait_s": 0.5,
            "data_wait_share": 0.5,
            "tokens_per_s": 100.0,
            "augment/objects": 3.0,
        }
    ]


def test_speed_is_over_all_steps_since_the_line_before(tmp_path: Path) -> None:
    track = tracker(tmp_path)
    track.step(RunState(step=1), result(seconds=1.0), waited=1.0, more=None)
    track.step(RunState(step=2), result(seconds=2.0), waited=0.0, more={})
    track.step(RunState(step=3), result(seconds=1.0), waited=0.0, more={})
    assert [(line["step"], line["tokens_per_s"], line["data_wait_share"]) for line in lines(tmp_path)] == [
        (2, 50.0, 0.25),
        (3, 100.0, 0.0),
    ]


def test_utilization_is_over_the_same_steps(tmp_path: Path) -> None:
    flops = FlopCount(token=1e9, token_pair=0.0, supervised=0.0, patch=0.0, patch_pair=0.0)
    track = Tracker(config_of(tmp_path), active=True, utilization=Utilization(flops, num_devices=2, peak=1.0))
    track.start(RunState(), 10)
    track.step(RunState(step=1), result(seconds=1.0), waited=1.0, more=None)
    track.step(RunState(step=2), result(seconds=2.0), waited=0.0, more={})
    track.step(RunState(step=3), result(seconds=1.0), waited=0.0, more={})
    # 200 tokens of 1e9 operations on two devices in 4 seconds, then 100 in one.
    assert [(line["tflops"], line["mfu"]) for line in lines(tmp_path)] == [(0.025, 0.025), (0.05, 0.05)]


def test_validation_has_its_own_line(tmp_path: Path) -> None:
    tracker(tmp_path).evaluation(RunState(step=3, epochs_done=1.0), {"eval/loss": 1.25})
    assert lines(tmp_path) == [{"step": 3, "epoch": 1.0, "eval/loss": 1.25}]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    track = Tracker(config_of(tmp_path, ["tensorboard"]), active=False)
    track.start(RunState(), 10)
    track.step(RunState(step=1), result(), waited=0.0, more={})
    track.evaluation(RunState(step=1), {"eval/loss": 1.0})
    track.close()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_clear_error_and_what_it_left_is_cut(tmp_path: Path) -> None:
    track, path = tracker(tmp_path), tmp_path / "metrics.jsonl"
    track.evaluation(RunState(step=1), {"eval/loss": 1.0})
    with (
        files_of_at_most(path.stat().st_size + 9),
        pytest.raises(TrainingError, match=r"metrics\.jsonl must be writable, not File too large\. The same command"),
    ):
        track.evaluation(RunState(step=2), {"eval/loss": 1.0})
    keep_until(path, 2)
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_resuming_cuts_what_lies_beyond_and_what_a_crash_tore(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "eval/loss": 1}\n{"step": 3}\n{"step": 4, "lo')
    keep_until(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 2, "eval/loss": 1}\n'
    keep_until(tmp_path / "absent.jsonl", 2)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.fixture
def dcap_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    caplog.set_level(logging.INFO, "dcap")
    return caplog


@pytest.mark.parametrize(
    "damaged",
    [b'{"step": 2, "loss": \xff}', b'{"stup": 2}', b"[2]", b'{"step": null}', b"2", b'{"step": 2', b"[" * 5000],
)
def test_a_damaged_line_is_named_and_left_out(
    tmp_path: Path, dcap_log: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damaged + b'\n{"step": 2}\n')
    keep_until(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert dcap_log.messages == [f"{path}:2: line must be a JSON object with a step, and is damaged; left out"]


def test_a_started_tracker_goes_on_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    track = Tracker(config_of(tmp_path), active=True)
    track.start(RunState(step=1), 10)
    track.step(RunState(step=2), result(), waited=0.0, more={})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track = tracker(tmp_path, trackers=["tensorboard"])
    track.step(RunState(step=1), result(loss=3.0), waited=0.0, more={})
    track.evaluation(RunState(step=1), {"eval/loss": 1.5})
    track.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 3.0)]
    assert [e.value for e in events.Scalars("eval/loss")] == [1.5]
    assert "lr/aligner" in events.Tags()["scalars"]


def test_without_a_terminal_there_are_lines(
    tmp_path: Path, dcap_log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "console", Console(force_terminal=False))
    tracker(tmp_path).step(RunState(step=4, epochs_done=0.5), result(), waited=0.5, more={})
    (line,) = dcap_log.messages
    assert line == "step 4/10  epoch 0.50  loss 2.5000  100 tokens/s  waiting 50%  ETA 0:00:06"


def test_on_a_terminal_there_is_a_bar(
    tmp_path: Path, dcap_log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    out = io.StringIO()
    monkeypatch.setattr(tracking, "console", Console(file=out, force_terminal=True, width=120))
    track = tracker(tmp_path)
    track.step(RunState(step=4), result(), waited=0.5, more={})
    track.close()
    text = out.getvalue()
    assert "4/10" in text
    assert "loss 2.5000  100 tokens/s  waiting 50%" in text
    assert not dcap_log.messages
