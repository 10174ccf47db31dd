from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.audit.rate import measured_rate
from dcap.core.errors import ConfigError


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
