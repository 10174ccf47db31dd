"""``dcap validate``: what people and programs see, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dcap.cli.__main__ import main

GOOD = {"images": ["a.png"], "width": 8, "height": 6, "objects": [{"desc": "cup", "bbox_2d": [1, 1, 5, 5]}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    bad = {**GOOD, "objects": [{"desc": "[bold]cup", "poly": [1, 2, 3]}, {"desc": "cup", "bbox_2d": [9, 9, 1, 1]}]}
    clipped = {**GOOD, "objects": [{"desc": "cup", "bbox_2d": [-1, 1, 5, 5]}]}
    (tmp_path / "good.jsonl").write_text(json.dumps(GOOD) + "\n")
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, [GOOD, bad, {**GOOD, "images": ["b.png"]}, clipped])))
    return tmp_path


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_good_files_exit_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "good.jsonl"), "builtin:photos/train.jsonl", "--decode"]) == 0
    out, err = capsys.readouterr()
    assert "5 good, 0 bad" in out
    assert "no problems" in out
    assert err == ""


def test_every_problem_is_a_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "bad.jsonl")]) == 1
    out = capsys.readouterr().out
    rows = [line.split(maxsplit=2) for line in out.splitlines() if line.startswith("bad.jsonl:")]
    assert [(row[0], row[1]) for row in rows] == [
        ("bad.jsonl:2", "objects[0].poly"), ("bad.jsonl:2", "objects[1].bbox_2d"), ("bad.jsonl:3", "images[0]")
    ]  # fmt: skip
    assert f"{folder}/b.png must be a readable file, not missing" in out
    assert "has 3 numbers, must be an even count >= 6" in out
    assert "2 good, 2 bad" in out
    assert "clipped   1 shapes" in out
    assert "images    1 missing" in out
    assert "problems  3" in out


def test_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "bad.jsonl"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["bad"] == 2
    assert report["problems"][0] == {
        "file": str(folder / "bad.jsonl"), "line": 2, "field": "objects[0].poly",
        "text": "has 3 numbers, must be an even count >= 6",
    }  # fmt: skip


def test_options_reach_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "good.jsonl")
    assert main(["validate", file, "--max-pixels", "10"]) == 1
    assert "at most 10 pixels" in capsys.readouterr().out
    assert main(["validate", file, "--root", str(folder / "sub")]) == 1
    assert "data.root" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["0", "-5", "many"])
def test_a_bound_that_is_none(folder: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["validate", str(folder / "good.jsonl"), "--max-pixels", value])
    assert "--max-pixels" in capsys.readouterr().err


def test_a_file_that_is_none_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl: file must exist" in " ".join(capsys.readouterr().err.split())
