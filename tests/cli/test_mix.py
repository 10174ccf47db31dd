from __future__ import annotations

from pathlib import Path

import pytest

from dcap.cli.__main__ import main
from dcap.records.files.jsonl import JsonlFile

CONFIG = """
model: {name_or_path: "builtin:micro"}
training: {output_dir: none}
data:
  mixture:
    - {name: all, train: "builtin:photos/photos.jsonl"}
    - {name: few, train: "builtin:photos/val.jsonl", ratio: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


def test_the_table_tells_the_shares(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mix", str(config), "data.mixture[1].ratio=3"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    records = len(JsonlFile(Path(__file__).parents[2] / "python/dcap/assets/photos/photos.jsonl"))
    assert rows[1][:4] == ["all", "target", str(records), str(records)]
    assert rows[2][0:3] == ["few", "ratio", "3"]
    assert rows[2][4] == str(3 * records)
    assert rows[2][-1] == "75.0%"


def test_out_writes_the_epoch(config: Path, tmp_path: Path) -> None:
    assert main(["mix", str(config), "--out", str(tmp_path / "m.jsonl"), "--epoch", "1"]) == 0
    assert main(["validate", str(tmp_path / "m.jsonl")]) == 0
    names = {record.metadata["dataset"] for record in JsonlFile(tmp_path / "m.jsonl")}
    assert names == {"all", "few"}


def test_a_negative_epoch_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mix", str(config), "--epoch", "-1"]) == 2
    assert "--epoch must be at least 0, not -1" in capsys.readouterr().err
