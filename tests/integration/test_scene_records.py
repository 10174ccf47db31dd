"""Scenes by name in everything that takes records: a run and its resume, predictions, scores, checks, conversion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dcap.cli.__main__ import main
from dcap.data.config import DataConfig, MixtureEntry
from dcap.data.dataset import DenseCaptionDataset
from dcap.demo import SceneOptions, SceneRecords
from dcap.records.files.jsonl import JsonlFile
from dcap.train.data_files import changed_files, data_files

TRAIN, VAL = "builtin:scenes?num=6&seed=1", "builtin:scenes?num=3&seed=2&summary=true"


def run(*arguments: str | Path) -> None:
    assert main([str(a) for a in arguments]) == 0, arguments


@pytest.fixture
def config(micro_folder: Path, tmp_path: Path) -> Path:
    tree = {
        "model": {"name_or_path": str(micro_folder), "dtype": "float32"},
        "data": {"train": TRAIN, "val": VAL, "num_workers": 0, "answer": {"min_pixels": 4096}},
        "augmentation": {"ops": [{"name": "hflip"}]},
        "training": {"output_dir": str(tmp_path / "run"), "max_steps": 2, "eval_steps": 2, "effective_batch_size": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "run.yaml"


def test_a_run_on_scenes(config: Path, micro_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("train", config)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert main(["train", str(config), f"data.train={TRAIN}0", "training.max_steps=3"]) == 1
    assert "data.train" in capsys.readouterr().err
    pred, scores = tmp_path / "pred.jsonl", tmp_path / "scores.json"
    run("predict", "--model", micro_folder, "--adapter", tmp_path / "run/final", "--data", VAL, "--out", pred,
        "--max-new-tokens", "4", "--sheet", tmp_path / "pred.png")  # fmt: skip
    found = [json.loads(line) for line in pred.read_text().splitlines()]
    assert [line["source"] for line in found] == [{"file": VAL, "line": i} for i in (1, 2, 3)]
    assert [line["images"] for line in found] == [[record.image] for record in SceneRecords(SceneOptions(3, 2))]
    run("evaluate", "--truth", VAL, "--pred", pred, "--json", scores, "--sheet", tmp_path / "scores.png")
    assert json.loads(scores.read_text())["report"] == "dcap evaluate"


def test_checks_and_pictures(config: Path, tmp_path: Path) -> None:
    run("validate", TRAIN, VAL, "--decode", "--html", tmp_path / "page.html")
    run("audit", config)
    run("inspect", config)
    run("preview", config, "--out", tmp_path / "preview", "--num-samples", "2")
    run("replay", "--config", config, "--index", "3", "--out", tmp_path / "replay")
    run("replay", "--plan", tmp_path / "replay/plan.json", "--out", tmp_path / "again")
    assert (tmp_path / "again/image.png").read_bytes() == (tmp_path / "replay/image.png").read_bytes()


def test_conversion(tmp_path: Path) -> None:
    run("convert", "jsonl", VAL, "-o", tmp_path / "val.jsonl")
    scenes = SceneRecords(SceneOptions(3, 2, summary=True))
    for record, scene in zip(JsonlFile(tmp_path / "val.jsonl"), scenes, strict=True):
        assert (record.shapes, record.captions, record.summary) == (scene.shapes, scene.captions, scene.summary)
    run("validate", tmp_path / "val.jsonl", "--decode")
    run("convert", "to-coco", VAL, "-o", tmp_path / "val.json")
    assert len(json.loads((tmp_path / "val.json").read_text())["images"]) == 3


def test_scenes_in_a_mixture() -> None:
    entries = (
        MixtureEntry("easy", train=TRAIN),
        MixtureEntry("hard", train="builtin:scenes?num=4&level=hard", ratio=1.0),
    )
    dataset = DenseCaptionDataset(DataConfig(mixture=entries, check_images=False), "train", None)
    assert len(dataset) == 10
    assert {dataset.records[k].canvas.width for k in range(10)} == {128, 320}


def test_a_resume_knows_scenes_by_their_name() -> None:
    saved = data_files([Path(TRAIN)])
    assert changed_files(saved, data_files([Path(TRAIN)])) is None
    other = Path("builtin:scenes?num=6&seed=3")
    assert changed_files(saved, data_files([other])) == f"{other} stands where {TRAIN} stood"
