from __future__ import annotations

import json
from pathlib import Path

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


def test_a_curriculum_needs_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ops = "augmentation.ops=[{name: rotate, params: {max_deg: 0}}]"
    for until in ("until_step: 48", "until_percent: 100"):  # of 12 epochs with 4 rows each
        phases = f"augmentation.curriculum=[{{{until}, ops: {{rotate: {{max_deg: 40}}}}}}]"
        args = ["replay", "--config", str(CONFIG), "data.global_max_length=1600", ops, phases, "--out", str(tmp_path)]
        turns = []
        for step in (0, 1000):
            assert main([*args, "--step", str(step)]) == 0
            plan = json.loads((tmp_path / "plan.json").read_text("utf-8"))
            assert plan["name"].endswith(f"epoch 0, step {step}")
            turns.append(plan["plan"]["affine"]["b"])
        assert turns[0] == 0.0 != turns[1]
        assert main(args) == 2
        assert "--step must say how many steps were made" in capsys.readouterr().err
    assert main(["replay", "--config", str(CONFIG), "--step", "3", "--out", str(tmp_path)]) == 2
    assert "--step must go with augmentation.curriculum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--config", str(CONFIG), "--index", "4"], r"--index must be within 0..3"),
        (["--config", str(CONFIG), "--image", "a.jpg"], "--image must go with --plan"),
        (["--plan", "plan.json", "seed=3"], "seed=3 must go with --config"),
        (["--plan", "plan.json", "--index", "3"], "--index must go with --config"),
        (["--plan", "plan.json", "--step", "3"], "--step must go with --config"),
        (["--plan", "missing.json"], "missing.json must exist"),
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
