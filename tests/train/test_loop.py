from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dcap.core.config import dump_yaml
from dcap.core.errors import TrainingError
from dcap.train import loop
from dcap.train.loop import train
from dcap.train.setup import Run
from dcap.train.state import Due
from support.forks import Forks
from support.training_runs import (
    RunMaker,
    assert_same_run,
    at_step,
    final_weights,
    metrics,
    outcome,
    run_standard,
    standard,
    steps,
)


def test_a_run_leaves_what_it_promises(reference: dict[str, Any], run_config: RunMaker, photo_file: Path) -> None:
    found = run_standard(reference, run_config, photo_file)
    assert found["steps"] == ["step-000002", "step-000004", "step-000005"]
    trained = [line for line in found["outcome"] if line[2] is not None]
    assert [line[0] for line in trained] == [1, 2, 3, 4, 5]
    assert [line[1] for line in trained] == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert trained[-1][2] < trained[0][2], "the loss falls"
    assert [line[0] for line in found["outcome"] if line[8] is not None] == [3, 5]
    output = photo_file.parent / "reference"
    assert {p.name for p in output.iterdir()} == {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "train.log",
        "losses",
        "checkpoints",
        "final",
    }
    log = (output / "train.log").read_text()
    assert "step 5/5" in log
    assert log.endswith("finished after 5 steps, 2.50 epochs\n")
    assert "trains: llm " in log
    assert (output / "final" / "answer_profile.json").is_file()


def test_the_curriculum_is_logged_as_it_was(reference: dict[str, Any], run_config: RunMaker, photo_file: Path) -> None:
    run_standard(reference, run_config, photo_file)
    config = standard(run_config, photo_file, output_dir=str(photo_file.parent / "reference"))
    lines = [line for line in metrics(config) if "augment/curriculum/rotate.max_deg" in line]
    # One line per step: the value of the steps made before.
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["augment/curriculum/rotate.max_deg"] for line in lines] == pytest.approx([0, 10, 20, 30, 40])
    assert lines[-1]["augment/curriculum/hflip.prob"] == pytest.approx(0.8)


KILLED = """
import os, signal, sys, torch
torch.set_num_threads(1)
import dcap.train.{module} as module
from dcap.train.__main__ import main
original, calls = module.{name}, []

def killed(*args, **kwargs):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

module.{name} = killed
sys.exit(main([sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("module", "name", "call", "left"),
    [
        # In the middle of step 4, after the update of step 3 that no checkpoint holds.
        ("step", "set_learning_rates", 4, ["step-000002"]),
        # While the checkpoint of step 4 is being written.
        pytest.param("atomic", "seal", 2, ["step-000002"], marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(
    forks: Forks,
    reference: dict[str, Any],
    run_config: RunMaker,
    photo_file: Path,
    tmp_path: Path,
    module: str,
    name: str,
    call: int,
    left: list[str],
) -> None:
    config = standard(run_config, photo_file)
    (tmp_path / "run.yaml").write_text(dump_yaml(config))
    script = KILLED.format(module=module, name=name, call=call)
    done = forks.run(script, str(tmp_path / "run.yaml"), folder=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert steps(config) == left
    train(config)
    assert_same_run(config, run_standard(reference, run_config, photo_file))


def test_a_run_that_is_over_is_finished_whatever_comes(run_config: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config(training={"max_steps": 2})
    at_step(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train(config).step == 2
    assert (Path(config.training.output_dir) / "final").is_dir()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_delay_best_and_limit_together(run_config: RunMaker, photo_file: Path, mode: str) -> None:
    config = run_config(
        data={"val": str(photo_file)},
        training={
            "max_steps": 4,
            "save_steps": 1,
            "eval_steps": 1,
            "save_delay_steps": 2,
            "save_total_limit": 1,
            "best_mode": mode,
        },
    )
    state = train(config)
    allowed = [(line["eval/loss"], line["step"]) for line in metrics(config) if "eval/loss" in line][1:]
    assert (state.best_value, state.best_step) == (min if mode == "min" else max)(allowed)
    assert steps(config) == sorted({f"step-{state.best_step:06d}", "step-000004"})
    best = Path(config.training.output_dir) / "best"
    assert best.resolve().name == f"step-{state.best_step:06d}"


def test_lines_tell_the_loss_in_parts_and_a_data_set_picks_the_best(
    run_config: RunMaker, photo_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "two.jsonl").write_text("".join(photo_file.read_text().splitlines(keepends=True)[:2]))
    config = run_config(
        data={"train": str(photo_file), "val": [str(photo_file), str(tmp_path / "two.jsonl")]},
        training={"max_steps": 3, "eval_steps": 1, "best_metric": "eval/two/loss"},
    )
    state = train(config)
    lines = [line for line in metrics(config) if "loss" in line]
    validations = [line for line in metrics(config) if "eval/loss" in line]
    assert len(lines) == len(validations) == 3
    for line in lines:
        assert line["loss_dataset/four"] == pytest.approx(line["loss"], rel=1e-6)
        parts = [line[f"loss_kind/{kind}"] for kind in ("caption", "coordinate", "structure")]
        assert min(parts) < line["loss"] < max(parts)
        assert line["data/bytes_per_sample"] > 4 * 1536 * 16
    assert (state.best_value, state.best_step) == min((line["eval/two/loss"], line["step"]) for line in validations)


def test_a_finished_run_is_left_as_it_is(reference: dict[str, Any], run_config: RunMaker, photo_file: Path) -> None:
    run_standard(reference, run_config, photo_file)
    config = standard(run_config, photo_file, output_dir=str(photo_file.parent / "reference"))
    written = (photo_file.parent / "reference" / "final" / "final.json").stat().st_mtime_ns
    assert train(config).step == 5
    assert (photo_file.parent / "reference" / "final" / "final.json").stat().st_mtime_ns == written
    assert_same_run(config, reference)
    last = (photo_file.parent / "reference" / "train.log").read_text().splitlines()[-1]
    assert "was finished before (5 steps, 2.50 epochs). To train on, raise training.max_steps; " in last


def test_a_longer_run_says_what_the_learning_rate_does(
    run_config: RunMaker, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(training={"max_steps": 2, "save_steps": 1})
    monkeypatch.setattr(Due, "end", lambda self, state: state.step >= 1)
    train(config)
    monkeypatch.undo()
    train(config)
    log = Path(config.training.output_dir) / "train.log"
    assert "the learning rate is that of" not in log.read_text(), "nothing was changed"
    longer = run_config(training={"max_steps": 4, "save_steps": 1})
    state = train(longer)
    assert (
        "the learning rate is that of a run of 4 steps from now on: it was 0.1 of its peak in step 2, and is 0.325 in "
        "step 3. To go on at the old rate: training.lr_schedule=constant training.learning_rate=0.001\n"
    ) in log.read_text()
    assert state.lr_factor == pytest.approx(0.1)
    held = run_config(training={"max_steps": 5, "lr_schedule": "constant", "learning_rate": 0.001})
    train(held)
    assert metrics(held)[-1]["lr/llm"] == pytest.approx(0.001)


def test_another_number_of_steps_than_planned_is_said(run_config: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config(training={"max_steps": None})
    monkeypatch.setattr(Run, "total_steps", lambda *_: 7)
    train(config)
    last = (Path(config.training.output_dir) / "train.log").read_text().splitlines()[-1]
    assert "finished after 2 steps, 1.00 epochs; 7 were expected" in last


def test_epochs_end_a_run_without_max_steps(run_config: RunMaker) -> None:
    config = run_config(training={"max_steps": None, "num_epochs": 2, "save_steps": None})
    state = train(config)
    assert (state.step, state.epoch, state.samples) == (4, 2, 16 // 2)
    assert steps(config) == ["step-000002", "step-000004"]


def test_full_training_and_padding_run_through(run_config: RunMaker) -> None:
    config = run_config(
        model={"dtype": "bfloat16", "adapter": {"type": "full"}},
        data={"packing": False},
        training={"max_steps": 2, "per_device_batch_size": 2, "activation_checkpointing": True, "learning_rate": 1e-3},
    )
    train(config)
    folder = Path(config.training.output_dir) / "final" / "model"
    assert {v.dtype for v in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}


def test_a_bad_sample_stops_the_run_by_name(run_config: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    original = loop.optimizer_step

    def poisoned(learner: Any, batches: Any, step: int, *args: Any) -> Any:
        if step == 2:
            batches[1]["pixel_values"][:] = torch.inf
        return original(learner, batches, step, *args)

    monkeypatch.setattr(loop, "optimizer_step", poisoned)
    config = run_config(training={"save_steps": 1})
    with pytest.raises(TrainingError, match=r"step 2: loss must be finite, not nan: look at four.jsonl:\d\. "):
        train(config)
    assert steps(config) == ["step-000001"], "nothing is saved from the bad step on"


def test_bad_records_are_left_out_and_listed(run_config: RunMaker, photo_file: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(
        photo_file.read_text() + '{"images": ["gone.png"], "width": 64, "height": 64, "objects": []}\n{no\n'
    )
    config = run_config(data={"train": str(mixed), "on_bad_record": "skip"}, training={"max_steps": 1})
    train(config)
    listed = (Path(config.training.output_dir) / "bad_records.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in listed] == [5, 6]
    log = (Path(config.training.output_dir) / "train.log").read_text().splitlines()
    assert "left out: 2 bad records; " in log[-1], "said at the end"


def test_an_adapter_with_a_start_of_its_own_resumes_to_the_same_bits(run_config: RunMaker, tmp_path: Path) -> None:
    adapter = {"rank": 2, "dropout": 0.1, "init": "pissa"}
    schedule = {"lr_schedule": "cosine_with_restarts", "lr_schedule_params": {"num_cycles": 2}}
    whole = run_config(model={"adapter": adapter}, training={"output_dir": str(tmp_path / "whole"), **schedule})
    train(whole)
    shutil.copytree(
        tmp_path / "whole" / "checkpoints" / "step-000002", tmp_path / "run" / "checkpoints" / "step-000002"
    )
    again = run_config(model={"adapter": adapter}, training=schedule)
    train(again)
    assert [line["step"] for line in metrics(again)] == [3, 4], "it went on from step 2"
    assert outcome(again) == outcome(whole)[2:]
    weights, expected = final_weights(again), final_weights(whole)
    assert {name: each.shape for name, each in weights.items()} == {name: each.shape for name, each in expected.items()}
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert json.loads((tmp_path / "run/final/adapter/adapter_config.json").read_text())["r"] == 4
