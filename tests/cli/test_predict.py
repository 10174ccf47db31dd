from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import resolve_data


def arguments(out: Path, *more: str) -> list[str]:
    return ["predict", "--model", "builtin:micro", "--data", "builtin:photos/val.jsonl", "--out", str(out),
            "--max-new-tokens", "3", "--device", "cpu", *more]  # fmt: skip


@pytest.mark.usefixtures("micro_folder")
def test_predictions_can_be_drawn_scored_and_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sheet = tmp_path / "pred.jsonl", tmp_path / "sheet.png"
    assert main(arguments(out, "--sheet", str(sheet))) == 0
    line = json.loads(out.read_text("utf-8").splitlines()[0])
    record = JsonlFile(resolve_data("builtin:photos/val.jsonl"))[0]
    assert (line["images"], line["width"], line["height"]) == (
        [record.image],
        record.canvas.width,
        record.canvas.height,
    )
    with Image.open(sheet) as image:
        assert image.width > 1000
    before = out.read_bytes()
    parts, drawn = tmp_path / "parts.jsonl", tmp_path / "parts.png"
    assert main(arguments(parts, "--sheet", str(drawn), "--shard", "0/1")) == 0
    assert not drawn.exists()
    assert main(["merge", str(parts)]) == 0
    assert parts.read_bytes() == before
    assert drawn.read_bytes() == sheet.read_bytes()
    assert main(arguments(out)) == 0
    assert out.read_bytes() == before
    assert main(["evaluate", "--truth", "builtin:photos/val.jsonl", "--pred", str(out)]) == 0
    assert "boxes and polygons" in capsys.readouterr().out


@pytest.mark.usefixtures("micro_folder")
def test_answers_can_be_constrained(tmp_path: Path) -> None:
    out = tmp_path / "pred.jsonl"
    assert main(arguments(out, "--constrained", "--stop-repeats", "2", "--limit", "1")) == 0
    assert json.loads(out.read_text("utf-8"))["text"].startswith(('{"', "{}"))
    meta = json.loads((tmp_path / "pred.jsonl.meta.json").read_text("utf-8"))
    assert '"decoding": {"grammar": true, "stop_repeats": 2}' in json.dumps(meta)


@pytest.mark.usefixtures("micro_folder")
def test_records_that_are_left_out_give_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"images": ["none.png"], "width": 3, "height": 3, "objects": []}\n')
    args = arguments(tmp_path / "pred.jsonl", "--on-bad-record", "skip")
    args[args.index("builtin:photos/val.jsonl")] = str(tmp_path / "a.jsonl")
    assert main(args) == 1
    assert "none.png" in (tmp_path / "pred.jsonl.bad_records.jsonl").read_text()


@pytest.mark.usefixtures("micro_folder")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--max-new-tokens", "0"], "max_new_tokens must be at least 1"),
        (["--sheet-images", "0"], "--sheet-images must be at least 1"),
        (["--temperature", "-1"], "temperature must be at least 0"),
        (["--engine", "vllm"], "--engine must be hf or openai:URL"),
        (["--engine", "openai:localhost"], "address of the server must be http:// or https://"),
        (["--engine", "openai:http://127.0.0.1:1"], "http://127.0.0.1:1/v1 must answer, and did not at 2 tries"),
        (["--tiles", "32"], "--tiles, --overlap: size must be a whole number of at least 64 pixels, not 32"),
        (["--tiles", "512", "--overlap", "1"], "--tiles, --overlap: overlap must be a share within 0..0.9, not 1.0"),
        (["--overlap", "0.2"], "--overlap must go with --tiles"),
        (["--adapter", "missing"], "--adapter must be a folder with adapter_config.json"),
        (["--model", "missing_folder"], "missing_folder"),
        (["--model", "."], "--model must be a folder with config.json"),
        (["--data", "missing.jsonl"], "file must exist"),
        (["--data", "missing.jsonl", "--adapter", "missing"], "--adapter must be a folder with adapter_config.json"),
        (["--data", "missing.jsonl", "--device", "cuda:99"], "not cuda:99. Give --device cpu, or leave it out"),
        (["--data", "builtin:photos/vla.jsonl"], "did you mean photos/val.jsonl?"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments(tmp_path / "pred.jsonl", *change)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
