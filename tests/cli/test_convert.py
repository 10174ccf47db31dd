"""``dcap convert``: what people see, files that appear, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcap.cli.__main__ import main
from dcap.cli.convert import SOURCES
from dcap.convert.readers import READERS
from support.convert_cases import image, instances, write_json

BOX = {"bbox": [1, 1, 3, 3]}


def test_bundled_photos_to_coco_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dcap.records.files.jsonl import JsonlFile
    from dcap.records.files.opening import resolve_data

    name = "builtin:photos/train.jsonl"
    source = resolve_data(name)
    coco, out = tmp_path / "coco.json", tmp_path / "train.jsonl"
    assert main(["convert", "to-coco", name, "-o", str(coco)]) == 0
    assert main(["convert", "coco", str(coco), "--images", str(source.parent), "-o", str(out)]) == 0
    assert main(["validate", str(out)]) == 0
    assert "no problems" in capsys.readouterr().out
    before, after = list(JsonlFile(source)), list(JsonlFile(out))
    assert [record.shapes for record in after] == [record.shapes for record in before]
    assert [record.captions for record in after] == [record.captions for record in before]
    small = tmp_path / "small.jsonl"
    assert main(["convert", "jsonl", str(out), "--max-pixels", "20000", "-o", str(small)]) == 0
    assert main(["validate", str(small), "--decode"]) == 0
    assert all(record.canvas.num_pixels <= 20000 for record in JsonlFile(small))
    assert (tmp_path / "images-20000").is_dir()


def test_losses_are_a_table_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = instances(tmp_path, BOX, {"bbox": [1, 1, 0, 0]})
    out, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    assert main(["convert", "coco", str(source), "-o", str(out), "--report", str(report)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:7] == ["dropped", "shape", "without", "area", "or", "length", "1"]
    assert json.loads(report.read_text())["total"] == 1
    out.unlink()
    assert main(["convert", "coco", str(source), "-o", str(out), "--strict"]) == 1
    assert not out.exists()
    assert "1 lost or changed, and --strict allows none" in capsys.readouterr().err


def test_broken_input_stops_or_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = instances(tmp_path, {"bbox": [1]}), tmp_path / "out.jsonl"
    assert main(["convert", "coco", str(source), "-o", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"dcap: {source}: image 3: annotations[0]: bbox must")
    assert not out.exists()
    assert main(["convert", "coco", str(source), "-o", str(out), "--on-bad", "skip"]) == 1
    assert not out.exists()


def test_options_of_a_format_are_the_fields_of_its_reader(tmp_path: Path) -> None:
    square = [1, 1, 2, 1, 2, 2]
    captions = write_json(tmp_path / "c.json", {"annotations": [{"image_id": 3, "caption": "two cups"}]})
    source = instances(tmp_path, {"segmentation": [square, square]})
    out = tmp_path / "out.jsonl"
    argv = ["convert", "coco", str(source), "-o", str(out), "--parts", "all", "--captions", str(captions)]
    assert main(argv) == 0
    record = json.loads(out.read_text())
    assert (len(record["objects"]), record["summary"]) == (2, "two cups")
    with pytest.raises(SystemExit, match="2"):
        main(["convert", "coco", str(source), "-o", str(out), "--parts", "some"])


@pytest.mark.parametrize("name", [*SOURCES, "to-coco"])
def test_each_format_has_a_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["convert", name, "--help"])
    out = capsys.readouterr().out
    assert f"\n  dcap convert {name} " in out
    assert "--strict" in out
    assert name == "to-coco" or name in READERS


def test_options_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "a.png")
    source = str(instances(tmp_path, BOX))
    assert main(["convert", "coco", source, "-o", str(tmp_path / "x"), "--resized", str(tmp_path)]) == 2
    assert "--resized must come with --max-pixels" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["convert"])


def yolo(folder: Path) -> Path:
    """Write a YOLO data set of four images in train and two in val."""
    for split, count in (("train", 4), ("val", 2)):
        for k in range(count):
            image(folder / "images" / split / f"{k}.png", 8 + k, 6)
            labels = folder / "labels" / split / f"{k}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(f"{k % 2} 0.5 0.5 0.5 0.5\n")
    data = folder / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [cup, dog]\n")
    return data


def objects(path: Path) -> list[str]:
    return [each["desc"] for line in path.read_text().splitlines() for each in json.loads(line)["objects"]]


def test_a_division_and_the_split_of_the_source_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = yolo(tmp_path), tmp_path / "train.jsonl"
    argv = ["convert", "yolo", str(data), "--by", "name", "-o", str(out)]
    assert main([*argv, "--split", "0.5,0.5", "--report", str(tmp_path / "report.json")]) == 0
    assert sum(json.loads((tmp_path / "report.json").read_text())["files"].values()) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "train.jsonl" in said
    assert "val.jsonl" in said
    assert said.count("the shares of --split hold on average") == 1
    assert main([*argv, "--split", "0.5,0.5"]) == 2
    assert f"each file of --split must be a new file, and {out} exists" in " ".join(capsys.readouterr().err.split())
    out.unlink()
    assert main([*argv, "--split", "0.5,0.5"]) == 2
    in_the_way = tmp_path / "val.jsonl"
    assert f"each file of --split must be a new file, and {in_the_way} exists" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main([*argv, "--split", "0.5,0.5", "--split", "val", "--overwrite"]) == 0
    assert len(objects(out)) == len(objects(tmp_path / "val.jsonl")) == 1
    capsys.readouterr()
    assert main([*argv, "--split", "val", "--overwrite"]) == 0
    assert "on average" not in capsys.readouterr().err
    assert len(objects(out)) == 2
    assert main([*argv, "--split", "val", "--split", "train"]) == 2
    assert "--split must be given once, not 2 times" in capsys.readouterr().err


def test_labels_and_a_sample_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, labels = yolo(tmp_path), tmp_path / "train.jsonl", tmp_path / "labels.yaml"
    argv = ["convert", "yolo", str(data), "-o", str(out), "--map", str(labels)]
    labels.write_text("cup: mug\n")
    assert main(argv) == 2
    assert 'label must be in the map, not "dog"' in capsys.readouterr().err
    assert main([*argv, "--unmapped", "keep", "--sample", "3"]) == 0
    assert set(objects(out)) <= {"mug", "dog"}
    assert len(objects(out)) == 3
    assert main([*argv, "--unmapped", "drop", "--strict", "--overwrite"]) == 1
    assert "2 lost or changed, and --strict allows none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "0.9,0.2"], "--split must be 2 or 3 shares above 0 that sum to 1"),
        (["--split", "val"], "--split must be 2 or 3 shares that sum to 1, such as 0.9,0.1, not val"),
        (["--unmapped", "keep"], "--unmapped must come with --map"),
        (["--min-area", "-0.5"], "--min-area must be at least 0, not -0.5"),
        (["--seed", "1"], "--seed must come with --sample or --split"),
        (["--map", "absent.yaml"], "absent.yaml"),
    ],
)
def test_options_of_choosing_that_do_not_fit(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = instances(tmp_path, BOX)
    assert main(["convert", "coco", str(source), "-o", str(tmp_path / "x.jsonl"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.jsonl").exists()


def test_no_output_of_a_division_is_an_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "val.jsonl"
    image(tmp_path / "a.png")
    source.write_text('{"images": ["a.png"], "width": 8, "height": 6, "objects": []}\n')
    argv = ["convert", "jsonl", str(source), "--split", "0.5,0.5", "-o", str(tmp_path / "train.jsonl"), "--overwrite"]
    assert main(argv) == 2
    assert "another file than the input" in capsys.readouterr().err
