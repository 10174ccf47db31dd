"""Two processes on gloo do what one process does with twice the accumulation."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dcap.core.config import dump_yaml, merge
from dcap.core.errors import StoppedError
from dcap.data.sample_losses import epoch_files, read_losses, validation_file
from dcap.train.config import RunConfig
from dcap.train.loop import fit, train
from dcap.train.setup import prepare
from dcap.train.state import ANSWER_METRICS
from dcap.train.step import optimizer_step, validate
from support.batches import fake_sample, packed
from support.forks import Forks
from support.ports import free_port
from support.sharded_runs import small_model
from support.training_runs import at_step, recorded

pytestmark = pytest.mark.timeout(900)  # three runs of two processes take minutes on a loaded machine
SCRIPT = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Filled by the first test: one launch serves all."""
    return {}


# Dropout differs between ranks on purpose; everything else must not. With the usual epsilon AdamW turns rounding noise
# of a vanishing gradient into a step of full size.
SAME: dict[str, Any] = {"model": {"adapter": {"dropout": 0.0}}, "training": {"adam_eps": 1e-3}}


@pytest.fixture
def found(
    results: dict[str, Any], run_config: Callable[..., RunConfig], photo_file: Path, forks: Forks, tmp_path: Path
) -> Any:
    if results:
        return results
    four = {"effective_batch_size": 4, "max_steps": 3}
    made: dict[str, dict[str, Any]] = {
        "run": {"data": {"val": str(photo_file)}, "training": four | {"eval_generate": {"max_new_tokens": 3}}},
        "vision": {
            "model": {"freeze_vit": False},
            "data": {"train": str(without_an_image(photo_file, tmp_path)), "on_bad_record": "skip", "packing": False},
        },
        "interrupted": {
            "model": {"quantization": "nf4", "adapter": {"rank": 32}},
            "data": {"train": str(seven(photo_file, tmp_path))},
            "training": {"max_steps": None, "num_epochs": 2, "save_steps": 100, "optimizer": "adamw8bit"},
        },
    }

    def config_of(name: str, output: Path, **changes: Any) -> RunConfig:
        tree = merge(merge(SAME, made[name]), {"training": {"output_dir": str(output), **changes}})
        return run_config(**tree)

    for name in made:
        (tmp_path / f"{name}.yaml").write_text(dump_yaml(config_of(name, tmp_path / name)))
    done = forks.run_ranks(SCRIPT, str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    results["output"] = tmp_path
    results["ranks"] = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    for name in ("weights", "vision"):
        results[name] = [load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in (0, 1)]
    results["stderr"] = done.stderr
    results["config"] = config_of
    return results


def without_an_image(photo_file: Path, folder: Path) -> Path:
    """Four photos of which one breaks off after its header, and one shows no object."""
    records = [json.loads(line) for line in photo_file.read_text().splitlines()]
    image = Path(records[1]["images"][0]).read_bytes()
    (folder / "broken.png").write_bytes(image[: len(image) // 2])
    records[1]["images"] = ["broken.png"]
    records[2]["objects"] = []
    path = folder / "vision.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def seven(photo_file: Path, folder: Path) -> Path:
    """Seven records of four photos."""
    path = folder / "seven.jsonl"
    path.write_text("\n".join((photo_file.read_text().splitlines() * 2)[:7]) + "\n")
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_ranks_equal_one_with_twice_the_accumulation(found: Any) -> None:
    # The same two batches as in two_ranks.py.
    text_only = packed([fake_sample(50, images=(), answer=9)])
    with_image = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])
    config = found["config"]("run", found["output"] / "one")
    with ExitStack() as closing:
        run = prepare(config, closing)
        fit(run)
        result = optimizer_step(run.learner, [text_only, with_image], 90, 0.1)
        evaluated = validate(run.learner, [text_only, with_image])
        one = {name: p.detach().clone() for name, p in run.learner.parameters.items()}
    assert [r["world_size"] for r in found["ranks"]] == [2, 2]
    assert_same_metrics(found["output"] / "run", found["output"] / "one")
    assert_same_losses(found["output"] / "run", found["output"] / "one")
    assert any(line.get("data/imbalance") for line in lines(found["output"] / "run")), "they do not do exactly the same"
    for rank in found["ranks"]:
        assert rank["loss"] == pytest.approx(result.loss, rel=1e-6)
        assert rank["eval"] == pytest.approx(evaluated, rel=1e-6)
        assert rank["samples"] == 3
    assert_same_weights(found["weights"], one)


def assert_same_metrics(folder: Path, other_folder: Path) -> None:
    for line, other in zip(lines(folder), lines(other_folder), strict=True):
        for key in ("step", "epoch", "tokens", "samples", "lr/llm", "token_accuracy"):
            assert line.get(key) == other.get(key)
        for key in {"loss", "grad_norm", "eval/loss"} & set(other):
            assert line[key] == pytest.approx(other[key], rel=1e-5)
        for key in {"eval/answer_tokens", *ANSWER_METRICS} & set(other):
            assert line[key] == other[key]
        if "loss" in line:
            assert line["data/imbalance"] >= other["data/imbalance"] == 0.0


def assert_same_losses(folder: Path, other_folder: Path) -> None:
    files, others = ([*epoch_files(each).values(), validation_file(each)] for each in (folder, other_folder))
    for path, other in zip(files, others, strict=True):
        found, wanted = list(read_losses(path)), list(read_losses(other))
        assert [(one.step, one.index, one.sample) for one in found] == [(o.step, o.index, o.sample) for o in wanted]
        for one, two in zip(found, wanted, strict=True):
            assert [*one.caption, *one.coordinate, *one.structure] == pytest.approx(
                [*two.caption, *two.coordinate, *two.structure], rel=1e-4, abs=2e-4
            )


def assert_same_weights(ranks: list[dict[str, torch.Tensor]], one: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), "ranks agree to the bit"
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-6, atol=1e-7, msg=name)


def test_ranks_that_read_different_records_do_not_start(found: Any) -> None:
    for rank in found["ranks"]:
        assert "by rank there are 4, 7 records" in rank["differing"]


def test_the_vision_tower_trains_where_a_rank_has_no_image(found: Any) -> None:
    """An image that was left out, a photo without an object, and text in the micro-batch in which ranks exchange."""
    text_only = packed([fake_sample(50, images=(), answer=9)])
    with_image = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])
    with ExitStack() as closing:
        run = prepare(found["config"]("vision", found["output"] / "one-vision"), closing)
        fit(run)
        result = optimizer_step(run.learner, [with_image, text_only, text_only, text_only], 90, 0.1)
        one = {name: p.detach().clone() for name, p in run.learner.parameters.items()}
    shares = list(zip(*(rank["vision samples"] for rank in found["ranks"]), strict=True))
    assert sorted(map(len, shares[0] + shares[1])) == [0, 1, 1, 1], "one row lost its image"
    assert {sample for share in shares for rank in share for sample in rank} == {
        "vision.jsonl:1",
        "vision.jsonl:3",
        "vision.jsonl:4",
    }
    assert_same_metrics(found["output"] / "vision", found["output"] / "one-vision")
    assert [rank["vision loss"] for rank in found["ranks"]] == pytest.approx([result.loss] * 2, rel=1e-6)
    assert any(".visual.blocks." in name and "lora_B" in name and value.any() for name, value in one.items())
    assert_same_weights(found["vision"], one)


def test_a_run_of_two_ranks_goes_on_with_one_and_with_larger_steps(
    found: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    """The base is in 4 bits and the moments in 8, which ranks hold whole."""
    folder = found["output"] / "interrupted"
    first = [sample for rank in found["ranks"] for step in rank["samples until stopped"] for sample in step]
    assert len(first) == 2
    with monkeypatch.context() as patch:
        same = recorded(patch)
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(StoppedError):
            train(found["config"]("interrupted", folder))
    assert "resuming with a change: world_size was 2 and is 1" in caplog.text
    with monkeypatch.context() as patch:
        larger = recorded(patch)
        state = train(found["config"]("interrupted", folder, effective_batch_size=3))
    assert "the steps had 2 rows and have 3 from now on; the samples left of epoch 0 are shared out anew" in caplog.text
    assert [len(step) for step in (*same, *larger)] == [2, 3, 3, 3, 1]
    every = [f"seven.jsonl:{i}" for i in range(1, 8)]
    assert sorted([*first, *same[0], *larger[0]]) == every
    assert sorted(sample for step in larger[1:] for sample in step) == every
    assert (state.step, state.epoch, state.samples) == (6, 2, 14)
    assert [line["step"] for line in lines(folder)] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines(folder)] == pytest.approx([0.25, 0.5, 1.0, 4 / 3, 5 / 3, 2.0], abs=1e-5)


def test_a_stop_on_one_rank_stops_both(found: Any) -> None:
    assert [rank["stop"] for rank in found["ranks"]] == [True, True]
    assert [rank["leaves validation"] for rank in found["ranks"]] == [True, True]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no weight", "supervised token, not none: look at fake.jsonl:60, fake.jsonl:60"),
        ("no label", "supervised token, not none: look at fake.jsonl:61"),
        ("not finite", "step 99: loss must be finite, not nan: look at fake.jsonl:52. The update was not made"),
    ],
)
def test_every_rank_stops_and_names_the_sample_of_any(found: Any, kind: str, message: str) -> None:
    first, second = (rank[kind] for rank in found["ranks"])
    assert first == second
    assert first.endswith(message)


def test_only_the_first_rank_talks(found: Any) -> None:
    assert found["stderr"].count("what trains") == 3, "once in each of three runs"


RANK = """
import os, signal, sys
from dcap.train import loop
from dcap.train.__main__ import main

make = loop.optimizer_step

def make_or_die(learner, batches, step, *rest):
    if os.environ["DIES_IN_STEP"] == str(step):
        os.kill(os.getpid(), signal.SIGKILL)
    return make(learner, batches, step, *rest)

loop.optimizer_step = make_or_die
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_training_whose_rank_is_killed_ends_with_the_reason_and_resumes_to_the_same_bytes(
    run_config: Callable[..., RunConfig], photo_file: Path, tmp_path: Path, forks: Forks, parallel: str
) -> None:
    model = {"name_or_path": str(small_model(tmp_path / "small"))}
    training = {"max_steps": 4, "save_steps": 2, "parallel": parallel}
    changes: dict[str, Any] = {"model": model, "data": {"train": str(photo_file)}, "training": training}

    def launch(name: str, dies: str = "") -> tuple[subprocess.CompletedProcess[str], int, float]:
        """Return the first rank, the exit code of the second, and by how many seconds the first one outlived it."""
        config = tmp_path / f"{name}.yaml"
        config.write_text(dump_yaml(run_config(**merge(changes, {"training": {"output_dir": str(tmp_path / name)}}))))
        env = {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        env |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        ranks = [
            forks.start(RANK, str(config), folder=tmp_path, RANK=rank, LOCAL_RANK=rank, DIES_IN_STEP=step, **env)
            for rank, step in (("0", ""), ("1", dies))
        ]
        code, ended = ranks[1].wait().returncode, time.monotonic()
        return ranks[0].wait(), code, time.monotonic() - ended

    whole, code, _ = launch("whole")
    assert (whole.returncode, code) == (0, 0), whole.stderr
    left, code, seconds = launch("killed", dies="4")
    assert (left.returncode, code) == (1, -signal.SIGKILL)
    assert seconds < 60
    last = left.stderr.splitlines()[-1]
    assert "rank 1" in last, left.stderr
    assert "The same command resumes from the newest checkpoint" in last
    resumed, code, _ = launch("killed")
    assert (resumed.returncode, code) == (0, 0), resumed.stderr
    adapter = Path("final", "adapter", "adapter_model.safetensors")
    assert (tmp_path / "killed" / adapter).read_bytes() == (tmp_path / "whole" / adapter).read_bytes()
    assert [line["step"] for line in lines(tmp_path / "killed")] == [line["step"] for line in lines(tmp_path / "whole")]
