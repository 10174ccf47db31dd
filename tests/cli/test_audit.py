"""``dcap audit``: the table, the examples, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcap.cli.__main__ import main

PHOTOS = "builtin:photos/train.jsonl"


def test_good_records_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", PHOTOS, "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert out.count("pass  train") >= 8
    assert out.endswith("all checks passed\n")


def test_a_failed_check_exits_1_with_examples(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n")
    assert main(["audit", str(tmp_path / "bad.jsonl"), "data.answer.max_pixels=90000"]) == 1
    out = capsys.readouterr().out
    assert "fail  train  records" in out
    assert "  bad.jsonl:1: images must be given" in out
    assert out.endswith("1 of 15 checks failed\n")


def test_json_and_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    sources = [PHOTOS, f"data.val={PHOTOS}", "data.answer.max_pixels=90000"]
    assert main(["audit", *sources, "--json", "--encode", "all", "--no-decode", "--epoch", "3"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is False
    failed = [check["name"] for check in report["checks"] if check["status"] == "fail"]
    assert failed == ["leakage"]


def test_a_config_is_audited(capsys: pytest.CaptureFixture[str]) -> None:
    demo = Path(__file__).parents[2] / "configs" / "demo.yaml"
    assert main(["audit", str(demo), "--encode", "1"]) == 0
    assert "pass  all    leakage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a.yaml", PHOTOS], "must be given one config, or files of records"),
        (["data.mode=mixed"], "must be given one config, or files of records"),
        ([PHOTOS, "--epoch", "-1"], "--epoch must be at least 0"),
        (["nowhere.jsonl"], "nowhere.jsonl: file must exist"),
    ],
)
def test_what_cannot_run_exits_2(sources: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *sources]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("value", ["-1", "some"])
def test_a_number_that_is_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["audit", PHOTOS, "--encode", value])
    assert "--encode" in capsys.readouterr().err
