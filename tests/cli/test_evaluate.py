from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.records.files.opening import open_source, resolve_data

CUP = {"desc": "cup", "bbox_2d": [10, 10, 40, 40]}
RECORD = {"images": ["a.png"], "width": 100, "height": 50, "objects": [CUP]}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    Image.new("RGB", (100, 50)).save(tmp_path / "a.png")
    (tmp_path / "truth.jsonl").write_text(json.dumps(RECORD) + "\n")
    (tmp_path / "pred.jsonl").write_text(json.dumps({**RECORD, "text": "x", "problems": []}) + "\n")
    return ["--truth", str(tmp_path / "truth.jsonl"), "--pred", str(tmp_path / "pred.jsonl")]


def test_scores_are_printed_written_and_drawn(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--json", str(tmp_path / "scores.json"), "--sheet", str(tmp_path / "sheet.png")]
    assert main(["evaluate", *files, *extra]) == 0
    out = capsys.readouterr().out
    assert "boxes and polygons, IoU 0.50:0.95" in out
    assert "1.000" in out
    assert "worst images" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["total"]["objects"]["f1"] == 1.0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_worst_may_be_left_out(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *files, "--worst", "0"]) == 0
    assert "worst images" not in capsys.readouterr().out


def test_bundled_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pred = tmp_path / "pred.jsonl"
    pred.write_bytes(b"")
    assert main(["evaluate", "--truth", "builtin:photos/val.jsonl", "--pred", str(pred)]) == 2
    assert "pred.jsonl: predictions must be at least one line" in capsys.readouterr().err
    pred.write_bytes(open_source(resolve_data("builtin:photos/val.jsonl")).line(0) + b"\n")
    assert main(["evaluate", "--truth", "builtin:photos/val.jsonl", "--pred", str(pred)]) == 0
    assert "1 image, 1 answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--line-tolerance", "0"], "line_tolerance_px must be above 0"),
        (["--worst", "-1"], "--worst must be at least 0"),
        (["--pred", "missing.jsonl"], "Run dcap predict first"),
        (["--truth", "missing.jsonl"], "file must exist"),
        (["--truth", "empty.jsonl", "--pred", "empty.jsonl"], "--truth must hold at least one record"),
    ],
)
def test_mistakes_are_one_line(
    files: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert main(["evaluate", *files, *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
