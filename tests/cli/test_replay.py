from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.__main__ import main

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"
FILES = ("answer.txt", "image.png", "overlay.png", "plan.json")


def test_a_plan_replays_what_the_config_gave(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["replay", "--config", str(CONFIG), "--epoch", "3", "--index", "1", "--out", str(first)]) == 0
    assert main(["replay", "--plan", str(first / "plan.json"), "--out", str(second)]) == 0
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    other = tmp_path / "other"
    assert main(["replay", "--config", str(CONFIG), "seed=9", "--epoch", "3", "--index", "1", "--out", str(other)]) == 0
    assert (first / "plan.json").read_bytes() != (other / "plan.json").read_bytes()


@pytest.mark.parametrize("until", ["until_step: 40", "until_percent: 100"])
def test_a_curriculum_is_replayed_as_it_was(until: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ops = "augmentation.ops=[{name: rotate, params: {max_deg: 0}}]"
    phases = f"augmentation.curriculum=[{{{until}, ops: {{rotate: {{max_deg: 40}}}}}}]"
    sizes = ["data.global_max_length=1600", "data.num_workers=0"]
    args = ["replay", "--config", str(CONFIG), *sizes, ops, phases, "--out", str(tmp_path)]

    def replayed(*more: str) -> dict[str, Any]:
        assert main([*args, *more]) == 0
        made: dict[str, Any] = json.loads((tmp_path / "plan.json").read_text("utf-8"))
        return made

    assert replayed("--step", "0")["plan"]["affine"]["b"] == 0.0
    late = replayed("--epoch", "2", "--index", "1")
    assert late["plan"]["affine"]["b"] != 0.0
    # Each epoch has four rows at most, one for each photo, and trains on each once.
    step = int(late["name"].rpartition("step ")[2])
    assert 4 <= step < 12
    assert replayed("--epoch", "2", "--index", "1", "--step", str(step)) == late
    other = replayed("--epoch", "2", "--index", "1", "--step", str(step + 1))
    assert other["plan"]["affine"] != late["plan"]["affine"]
    if "percent" in until:
        assert main([*args, "--step", "1000"]) == 2
        assert "--step must be below" in capsys.readouterr().err


def test_a_step_needs_a_curriculum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--config", str(CONFIG), "--step", "3", "--out", str(tmp_path)]) == 2
    assert "--step must go with augmentation.curriculum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--config", str(CONFIG), "--index", "4"], "index must be within 0..3, the records of train, not 4"),
        (["--config", str(CONFIG), "--image", "a.jpg"], "--image must go with --plan"),
        (["--plan", "plan.json", "seed=3"], "seed=3 must go with --config"),
        (["--plan", "plan.json", "--index", "3"], "--index must go with --config"),
        (["--plan", "plan.json", "--step", "3"], "--step must go with --config"),
        (["--plan", "missing.json"], "missing.json: plan must exist"),
    ],
)
def test_refusals(args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *args, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_an_image_that_moved_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["replay", "--config", str(CONFIG), "--out", str(out)]) == 0
    plan = json.loads((out / "plan.json").read_text("utf-8"))
    (out / "plan.json").write_text(json.dumps({**plan, "image": "gone.jpg"}))
    assert main(["replay", "--plan", str(out / "plan.json"), "--out", str(tmp_path / "again")]) == 2
    assert "--image must name the source image, as there is no 'gone.jpg'" in capsys.readouterr().err
    assert main(["replay", "--plan", str(out / "plan.json"), "--image", plan["image"], "--out", str(tmp_path)]) == 0
    assert (tmp_path / "image.png").read_bytes() == (out / "image.png").read_bytes()


def test_a_record_that_a_mixture_takes_twice_is_replayed_by_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = "data.mixture=[{name: few, train: 'builtin:photos/val.jsonl', weight: 2}]"
    args = ["replay", "--config", str(CONFIG), "data.train=[]", "data.val=[]", mixture, "--out", str(tmp_path)]
    plans = []
    for draw in ("0", "1"):
        assert main([*args, "--draw", draw]) == 0
        plans.append(json.loads((tmp_path / "plan.json").read_text("utf-8")))
    assert plans[0]["plan"] != plans[1]["plan"]
    assert plans[1]["name"].endswith("epoch 0, draw 1")
    assert main([*args, "--draw", "2"]) == 2
    assert (
        "draw must be below 2, the number of samples that epoch 0 takes of record 0, not 2" in capsys.readouterr().err
    )
