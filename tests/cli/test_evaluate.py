from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.records.files.opening import open_source, resolve_data
from support.openai_server import Play, serving, text_answer

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
    outputs = {name: str(tmp_path / file) for name, file in
               (("--json", "scores.json"), ("--sheet", "sheet.png"), ("--html", "page.html"))}  # fmt: skip
    assert main(["evaluate", *files, *(word for pair in outputs.items() for word in pair)]) == 0
    out = capsys.readouterr().out
    assert "boxes and polygons, IoU 0.50:0.95" in out
    assert "1.000" in out
    assert "worst images" in out
    last = "F1 at IoU 0.5 in 1 image: boxes 1.00. The worst and best images are drawn in"
    assert out.splitlines()[-1] == f"{last} {outputs['--sheet']}"
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["total"]["objects"]["f1"] == 1.0
    assert "boxes and polygons, IoU 0.50:0.95" in (tmp_path / "page.html").read_text()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_worst_may_be_left_out(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *files, "--worst", "0"]) == 0
    assert "worst images" not in capsys.readouterr().out


def test_objects_are_dropped_and_grouped_as_asked(
    tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    named = [{**CUP, "desc": f"class={name}", "score": 0.5} for name in ("cup", "cup", "mug")]
    (tmp_path / "pred.jsonl").write_text(json.dumps({**RECORD, "objects": named}) + "\n")
    assert main(["evaluate", *files, "--category", "key:class", "--drop-repeats"]) == 0
    out = capsys.readouterr().out
    assert "dropped before scoring: 1 object for repeats" in out
    assert "pairs have one category, which is class= of the caption" in out
    assert main(["evaluate", *files, "--least-score", "0.6"]) == 0
    assert "boxes and polygons: 1 true, 0 predicted" in capsys.readouterr().out


@pytest.fixture
def scored(tmp_path: Path, files: list[str]) -> list[str]:
    """The same files, with scores in the predictions."""
    (tmp_path / "pred.jsonl").write_text(json.dumps({**RECORD, "objects": [{**CUP, "score": 0.5}]}) + "\n")
    return files


def test_curves_are_drawn_where_there_are_scores(
    scored: list[str], files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *scored, "--curves", str(tmp_path / "curves.png")]) == 0
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 2 * picture.height
    (tmp_path / "pred.jsonl").write_text(json.dumps(RECORD) + "\n")
    assert main(["evaluate", *files, "--curves", str(tmp_path / "curves.png")]) == 2
    assert "--curves must be given where each prediction has a score" in " ".join(capsys.readouterr().err.split())


def test_ap_is_measured_on_request(scored: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("hotcoco", reason="the extra eval brings it")
    assert main(["evaluate", *scored, "--ap", "--json", str(tmp_path / "scores.json")]) == 0
    out = capsys.readouterr().out
    assert "average precision, as COCO has it" in out
    assert "dense caption mAP 1.000" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["average_precision"]["coco"]["boxes"]["AP50"] == pytest.approx(1.0)


def test_two_runs_are_compared(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse = tmp_path / "worse.jsonl"
    worse.write_text(json.dumps({**RECORD, "objects": []}) + "\n")
    command = ["evaluate", *files[:2], "--compare", str(worse), files[3], "--resamples", "20"]
    assert main([*command, "--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")]) == 0
    out = capsys.readouterr().out
    assert "F1 of all objects, 0.50 0.000 1.000 +1.000" in " ".join(out.split())
    assert "B is better" in out
    tree = json.loads((tmp_path / "c.json").read_text())
    assert tree["runs"] == {"a": str(worse), "b": files[3]}
    assert tree["differences"][0]["verdict"] == "B is better"
    assert "B is better" in (tmp_path / "c.html").read_text()
    for option in ("--sheet", "--curves"):
        assert main([*command, option, str(tmp_path / "s.png")]) == 2
        assert f"{option} must be given with --pred, not with --compare" in capsys.readouterr().err


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
        (["--ap"], "each object must have a score for AP"),
        (["--categories", "-1"], "--categories must be at least 0"),
        (["--line-tolerance-share", "0"], "line_tolerance_share must be above 0"),
        (["--suppress-iou", "1.5"], "suppress_iou must be within 0..1, not 1.5"),
        (["--category", "class"], 'category must be caption, key:NAME or before:SEPARATOR, not "class"'),
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


def test_a_model_predicts_first_and_goes_on_where_it_stopped(
    generator: Any, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pred.jsonl").unlink()
    play = Play(text_answer('{"object_1": {"bbox_2d": [100, 200, 400, 800], "desc": "cup"}}'), generator.tokenizer)
    with serving(play) as url:
        command = ["evaluate", *files, "--model", "builtin:micro", "--engine", f"openai:{url}"]
        assert main([*command, "--json", str(tmp_path / "scores.json")]) == 0
        asked = len(play.asked)
        assert main(command) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["total"]["objects"]["f1"] == 1.0
    assert len(play.asked) == asked
    assert "pred.jsonl is complete: 1 prediction" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--engine", "openai:http://localhost:1"], "--adapter and --engine must go with --model"),
        (["--adapter", "runs/mine/final"], "--adapter and --engine must go with --model"),
        (["--model", "builtin:micro", "--pred", "truth.jsonl"], "--pred must be another file than the input"),
        (["--model", "builtin:micro", "--json", "pred.jsonl"], "--json must be another file than"),
        (["--model", "builtin:micro", "--engine", "vllm"], "--engine must be hf or openai:URL"),
        (["--model", "builtin:micro"], "must have pred.jsonl.meta.json beside it to be continued"),
    ],
)
@pytest.mark.usefixtures("tiny_folder")
def test_mistakes_with_a_model_are_one_line(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["evaluate", *files, *change]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_runs_are_compared_without_a_model(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *files[:2], "--compare", files[3], files[3], "--model", "builtin:micro"]) == 2
    assert "--model must be given with --pred, not with --compare" in capsys.readouterr().err
