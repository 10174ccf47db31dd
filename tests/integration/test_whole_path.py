"""From annotated images to scored predictions, through the same commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.__main__ import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRAIN = "builtin:photos/train.jsonl"


def run(*arguments: str | Path) -> None:
    assert main([str(a) for a in arguments]) == 0


def scores(truth: str, pred: Path, out: Path) -> dict[str, Any]:
    run("evaluate", "--truth", truth, "--pred", pred, "--json", out)
    total: dict[str, Any] = json.loads(out.read_text())["total"]
    return total


def test_train_predict_evaluate_preview(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = [f"training.output_dir={folder}", "training.max_steps=2", "data.num_workers=0", "training.eval_steps=2"]
    run("train", CONFIGS / "demo.yaml", *settings)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert any("eval/loss" in line for line in lines)
    pred = tmp_path / "pred.jsonl"
    adapter = ["--model", "builtin:tiny", "--adapter", folder / "final"]
    sheet = tmp_path / "pred.png"
    run("predict", *adapter, "--data", TRAIN, "--out", pred, "--max-new-tokens", "4", "--limit", "2", "--sheet", sheet)
    assert [json.loads(line)["source"]["line"] for line in pred.read_text().splitlines()] == [1, 2]
    assert sheet.stat().st_size > 10_000
    assert 0.0 <= scores(TRAIN, pred, tmp_path / "scores.json")["objects"]["f1"] <= 1.0
    run("preview", CONFIGS / "demo.yaml", "--out", tmp_path / "preview", "--num-samples", "1")
    assert (tmp_path / "preview" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tiny_model_writes_its_training_objects_from_memory(tmp_path: Path) -> None:
    """Data, positions, labels, loss, generation and parsing agree, or this could not be learnt."""
    folder = tmp_path / "overfit"
    run("train", CONFIGS / "overfit.yaml", f"training.output_dir={folder}")
    pred = tmp_path / "pred.jsonl"
    run("predict", "--model", folder / "final", "--data", TRAIN, "--out", pred, "--max-new-tokens", "1024")
    total = scores(TRAIN, pred, tmp_path / "scores.json")
    assert total["regions"]["0.50"]["f1"] >= 0.95
    assert total["objects"]["f1"] >= 0.95
