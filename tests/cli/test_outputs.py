"""What every command does with the files it is told to write: inputs and files of others stay, reports are renewed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.records.files.opening import resolve_data

CONFIG = """
extends: base.yaml
model: {name_or_path: "builtin:micro"}
data: {train: a.jsonl}
"""
RECORD = {"images": ["a.png"], "width": 100, "height": 50, "objects": [{"desc": "cup", "bbox_2d": [10, 10, 40, 40]}]}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (100, 50)).save("a.png")
    Path("a.jsonl").write_text(json.dumps(RECORD) + "\n")
    Path("pred.jsonl").write_text(json.dumps({**RECORD, "text": "x", "problems": []}) + "\n")
    shutil.copy("pred.jsonl", "p.jsonl")
    Path("coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
                "categories": [{"id": 1, "name": "cup"}],
            }
        )
    )
    Path("base.yaml").write_text("training: {output_dir: run}\n")
    Path("c.yaml").write_text(CONFIG)
    Path("notes.html").write_text("<html>mine</html>\n")
    Path("notes.json").write_text('{"mine": 1}\n')
    Path("samples").mkdir()
    for name in ("index.html", "sheet.png", "image.png", "answer.txt"):
        Path("samples", name).write_text("mine")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REFUSED = """
validate a.jsonl --html a.jsonl
validate a.jsonl --html notes.html
validate . --html a.jsonl
evaluate --truth a.jsonl --pred pred.jsonl --json a.jsonl
evaluate --truth a.jsonl --pred pred.jsonl --html pred.jsonl
evaluate --truth a.jsonl --pred pred.jsonl --sheet a.jsonl
evaluate --truth a.jsonl --pred pred.jsonl --sheet a.png
evaluate --truth a.jsonl --pred pred.jsonl --json notes.json
evaluate --truth a.jsonl --pred pred.jsonl --json new --html new
evaluate --truth a.jsonl --compare pred.jsonl p.jsonl --json p.jsonl
evaluate --truth a.jsonl --model builtin:micro --pred a.jsonl
evaluate --truth a.jsonl --pred new.jsonl --model builtin:micro --json new.jsonl
evaluate --truth a.jsonl --pred new.jsonl --model builtin:micro --sheet new.jsonl.meta.json
serve-check http://localhost:1 --model builtin:micro --data a.jsonl --json a.jsonl
convert jsonl a.jsonl -o b.jsonl --report a.jsonl
convert jsonl a.jsonl -o b.jsonl --report b.jsonl
convert jsonl a.jsonl -o b.jsonl --report notes.json
convert jsonl a*.jsonl -o a.jsonl --overwrite
convert coco coco.json -o pred.jsonl
convert coco coco.json -o coco.json --overwrite
convert coco coco.json --captions notes.json -o notes.json --overwrite
convert voc . --split notes.json -o notes.json --overwrite
convert labelme . -o notes.json --overwrite
convert to-coco a.jsonl -o coco.json
convert to-coco a.jsonl -o a.jsonl --overwrite
convert to-coco a.jsonl --categories coco.json -o coco.json --overwrite
predict --model builtin:micro --data a.jsonl --out new.jsonl --sheet a.jsonl
predict --model builtin:micro --data a.jsonl --out new.jsonl --sheet a.png
predict --model builtin:micro --data a.jsonl --out a.jsonl --overwrite
predict --model builtin:micro --data a.jsonl --out new.jsonl --sheet new.jsonl
predict --model builtin:micro --data a.jsonl --out new.jsonl --sheet new.jsonl.meta.json
inspect c.yaml --html c.yaml
inspect c.yaml --html a.jsonl
mix c.yaml --out a.jsonl --overwrite
mix c.yaml --out c.yaml --overwrite
mix c.yaml --out base.yaml --overwrite
mix c.yaml --out pred.jsonl
schema --out notes.json
schema --ops --out notes.json
export --model builtin:micro --adapter run --out exported --json notes.json
export --model builtin:micro --adapter run --out exported --data a.jsonl --json a.jsonl
export --model builtin:micro --adapter run --out exported --json exported/export.json
export --model builtin:micro --adapter run --check-url http://localhost:1 --data a.jsonl --json a.jsonl
scenes num=1 --out samples
scenes num=1 --out a.png
preview a.jsonl --out samples
preview a.jsonl --out a.png
preview a.jsonl --out a.png/deep
replay --config c.yaml --out samples
replay --config c.yaml --out a.png
"""


@pytest.mark.parametrize("command", REFUSED.strip().splitlines())
def test_nothing_is_lost(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    assert main(command.split()) == 2
    assert contents(here) == before
    message = capsys.readouterr().err
    option = next(word for word in reversed(command.split()) if word.startswith("-") and word != "--overwrite")
    assert f"{'--out' if option == '-o' else option} must be " in message


def test_a_command_can_be_run_again(here: Path) -> None:
    for command in (
        "validate a.jsonl --html page.html",
        "evaluate --truth a.jsonl --pred pred.jsonl --json scores.json --html scores.html --sheet scores.png",
        "convert coco coco.json -o new.jsonl --overwrite --report losses.json",
        "mix c.yaml --out mixed.jsonl --overwrite",
        "schema --out schema.json",
        "schema --ops --out ops.txt",
        "scenes num=1 --out scenes --overwrite",
        "preview a.jsonl --out preview",
        "replay --config c.yaml --out again",
    ):
        for _ in range(2):
            assert main(command.split()) == 0, command


def test_a_plan_is_not_replayed_onto_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--config", "c.yaml", "--out", "again"]) == 0
    before = contents(here)
    assert main(["replay", "--plan", "again/plan.json", "--out", "again"]) == 2
    assert main(["replay", "--plan", "again/plan.json", "--image", "again/image.png", "--out", "again"]) == 2
    assert capsys.readouterr().err.count("--out must be another file than the input") == 2
    assert contents(here) == before


@pytest.mark.parametrize("kind", ["coco", "jsonl", "to-coco"])
def test_a_conversion_that_keeps_nothing_leaves_nothing(
    kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.jsonl").write_text('{"images": ["a.png"]}\n')
    coco = json.loads(Path("coco.json").read_text())
    Path("bad.json").write_text(json.dumps({**coco, "images": [{**coco["images"][0], "width": 7}]}))
    command = ["convert", kind, "bad.json" if kind == "coco" else "bad.jsonl", "-o", "new", "--on-bad", "skip"]
    assert main(command) == 1
    assert "nothing was written: no " in capsys.readouterr().err
    assert not Path("new").exists()
    shutil.copy(resolve_data("builtin:photos/train.jsonl"), "new")
    before = contents(here)
    assert main([*command, "--overwrite"]) == 1
    assert contents(here) == before
