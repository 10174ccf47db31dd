from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.audit.inspection import TrainingFacts, inspect_epoch, measured_rate
from dcap.core.errors import ConfigError
from dcap.data.epoch import EpochRules
from dcap.model.config import ModelConfig
from dcap.model.layer_cost import MemoryStep
from support.dataset_cases import make_dataset


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_rate_is_tokens_over_time_without_the_start(tmp_path: Path) -> None:
    lines = [(1000, 10.0), (3000, 1000.0), (6000, 500.0)]  # 2000 tokens in 2 s, 3000 in 6 s
    steps = [{"step": k, "tokens": tokens, "tokens_per_s": rate} for k, (tokens, rate) in enumerate(lines)]
    assert measured_rate(write(tmp_path, *steps, {"step": 2, "eval/loss": 1.0})) == pytest.approx(5000 / 8)


def test_one_line_is_enough(tmp_path: Path) -> None:
    assert measured_rate(write(tmp_path, {"tokens": 100, "tokens_per_s": 7.5})) == pytest.approx(7.5)


def test_a_folder_without_a_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--run must be the folder of a run, with metrics\.jsonl in it"):
        measured_rate(tmp_path)
    with pytest.raises(ConfigError, match="must tell tokens_per_s of at least one step"):
        measured_rate(write(tmp_path, {"step": 1, "eval/loss": 2.0}))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    with pytest.raises(ConfigError, match=r"metrics\.jsonl:2 must be JSON"):
        measured_rate(tmp_path)


def test_an_epoch_of_a_run_is_its_samples_its_model_and_its_length(micro_folder: Path) -> None:
    dataset, model = make_dataset(micro_folder), ModelConfig(str(micro_folder))
    facts = TrainingFacts(
        model=model,
        step=MemoryStep(torch.float32, False, 64, cuda=False),
        rates={"llm": 1e-4, "vit": 1e-5, "aligner": 1e-4},
        num_epochs=3,
        max_steps=None,
        tokens_per_s=100.0,
    )
    report = inspect_epoch(dataset, 2, EpochRules(1), facts, num_samples=1)
    assert report.epoch.name == "train epoch 2"
    assert [sample.title.split(": ")[0].endswith("epoch 2") for sample in report.samples] == [True]
    assert report.model is not None
    assert report.time is not None
    assert report.model.memory.total > 0
    assert (report.time.steps, report.time.tokens) == (
        3 * report.epoch.plans.num_rows,
        3 * report.epoch.plans.num_tokens,
    )
    assert report.time.hours == pytest.approx(report.time.tokens / 100 / 3600)


def test_an_epoch_without_a_run_has_neither_model_nor_time(micro_folder: Path) -> None:
    report = inspect_epoch(make_dataset(micro_folder), 0, EpochRules(1), num_samples=0)
    assert (report.samples, report.model, report.time, report.epoch.steps) == ((), None, None, None)
