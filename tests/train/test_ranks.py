"""Two processes on gloo do what one process does with twice the accumulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from batches import fake_sample, packed
from dcap.core.config import dump_yaml
from dcap.train.config import RunConfig
from dcap.train.loop import fit
from dcap.train.setup import prepare
from dcap.train.step import optimizer_step, validate

SCRIPT = Path(__file__).with_name("two_ranks.py")
TESTS = SCRIPT.parents[1]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Filled by the first test: one launch serves all."""
    return {}


@pytest.fixture
def found(results: dict[str, Any], run_config: Callable[..., RunConfig], photo_file: Path, tmp_path: Path) -> Any:
    if results:
        return results
    # Dropout differs between ranks on purpose; everything else must not.
    changes: dict[str, dict[str, Any]] = {
        "model": {"adapter": {"dropout": 0.0}},
        "data": {"val": str(photo_file)},
        # With the usual epsilon AdamW turns rounding noise of a vanishing gradient into a step of full size.
        "training": {"effective_batch_size": 4, "max_steps": 3, "adam_eps": 1e-3},
    }
    config = run_config(**changes)
    (tmp_path / "run.yaml").write_text(dump_yaml(config))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, str(SCRIPT), str(tmp_path / "run.yaml"), str(tmp_path)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results["output"] = Path(config.training.output_dir)
    results["ranks"] = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    results["weights"] = [load_file(tmp_path / f"weights-{rank}.safetensors") for rank in (0, 1)]
    results["stderr"] = done.stderr
    results["config"] = run_config(
        **changes | {"training": {**changes["training"], "output_dir": str(tmp_path / "one")}}
    )
    return results


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_ranks_equal_one_with_twice_the_accumulation(found: Any) -> None:
    # The same two batches as in two_ranks.py.
    text_only = packed([fake_sample(50, images=(), answer=9)])
    with_image = packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])
    config = found["config"]
    with ExitStack() as closing:
        run = prepare(config, closing)
        fit(run)
        result = optimizer_step(run.learner, [text_only, with_image], 90, 0.1)
        evaluated = validate(run.learner, [text_only, with_image])
        one = {name: p.detach().clone() for name, p in run.learner.parameters.items()}
    assert [r["world_size"] for r in found["ranks"]] == [2, 2]
    for line, other in zip(lines(found["output"]), lines(Path(config.training.output_dir)), strict=True):
        for key in ("step", "epoch", "tokens", "samples", "lr/llm", "token_accuracy"):
            assert line.get(key) == other.get(key)
        for key in {"loss", "grad_norm", "eval/loss"} & set(other):
            assert line[key] == pytest.approx(other[key], rel=1e-5)
    for rank in found["ranks"]:
        assert rank["loss"] == pytest.approx(result.loss, rel=1e-6)
        assert rank["eval"] == pytest.approx(evaluated, rel=1e-6)
        assert rank["samples"] == 3
    for name, value in one.items():
        assert torch.equal(found["weights"][0][name], found["weights"][1][name]), "ranks agree to the bit"
        torch.testing.assert_close(found["weights"][0][name], value, rtol=1e-6, atol=1e-7, msg=name)


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
    assert found["stderr"].count("what trains") == 1
