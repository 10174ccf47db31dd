"""``dcap validate``: what people and programs see, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dcap.audit.validation_report import FINDINGS_SHOWN
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
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is piped is never wrapped, whatever the terminal's width."""
    monkeypatch.setenv("COLUMNS", "40")


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
        ("bad.jsonl:2", "objects[0].poly"), ("bad.jsonl:2", "objects[1].bbox_2d"), ("bad.jsonl:3", "images[0]"),
        ("bad.jsonl:4", "objects[0].bbox_2d"), ("bad.jsonl:4", "images[0]"),
    ]  # fmt: skip
    assert "lies partly outside the image (8 x 6)" in rows[3][2]
    assert f"{folder}/b.png must be a readable file, not missing" in out
    assert "must have an even count of at least 6 numbers, not 3" in out
    assert "2 good, 2 bad" in out
    assert "clipped   1 shape partly outside its image;" in out
    assert "images    1 missing" in out
    assert "problems  3" in out


def test_a_clipped_shape_is_a_note_and_no_problem(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clipped.jsonl").write_text(json.dumps({**GOOD, "objects": [{"desc": "c", "line": [1, 1, 99, 5]}]}))
    assert main(["validate", str(folder / "clipped.jsonl")]) == 0
    assert "clipped.jsonl:1  objects[0].line  lies partly outside" in capsys.readouterr().out
    assert main(["validate", str(folder / "clipped.jsonl"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert [(note["line"], note["field"]) for note in report["notes"]] == [(1, "objects[0].line")]


def test_several_clipped_shapes_have_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = [{"desc": "c", "line": [1, 1, 99, 5]}] * 2
    (folder / "clipped.jsonl").write_text(json.dumps({**GOOD, "objects": objects}))
    assert main(["validate", str(folder / "clipped.jsonl")]) == 0
    assert "clipped   2 shapes partly outside their images;" in capsys.readouterr().out


def test_a_misspelt_key_is_a_note_and_no_problem(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "key.jsonl").write_text(json.dumps({**GOOD, "sumary": "a cup"}))
    assert main(["validate", str(folder / "key.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "key.jsonl:1  sumary  is not a known key; did you mean summary?" in out
    assert "no problems" in out


def test_an_empty_file_exits_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.jsonl").write_bytes(b"")
    assert main(["validate", str(folder / "empty.jsonl")]) == 1
    out = capsys.readouterr().out
    assert "empty.jsonl:1  file   must hold at least one record, not none" in out
    assert "no problems" not in out


def test_several_files_are_shown_as_they_were_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "bad.jsonl").write_text("{}")
    assert main(["validate", "./bad.jsonl", "sub/bad.jsonl", "builtin:photos/val.jsonl"]) == 1
    places = {line.split()[0] for line in capsys.readouterr().out.splitlines() if "jsonl:" in line}
    assert places == {"./bad.jsonl:2", "./bad.jsonl:3", "./bad.jsonl:4", "sub/bad.jsonl:1"}


def test_json_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "bad.jsonl"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["bad"] == 2
    assert report["problems"][0] == {
        "file": str(folder / "bad.jsonl"), "line": 2, "field": "objects[0].poly",
        "text": "must have an even count of at least 6 numbers, not 3",
    }  # fmt: skip


def test_options_reach_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "good.jsonl")
    assert main(["validate", file, "--max-pixels", "10"]) == 1
    assert "at most 10 pixels" in capsys.readouterr().out
    assert main(["validate", file, "--root", str(folder / "sub")]) == 1
    assert "data.root" in capsys.readouterr().out


@pytest.mark.parametrize(("value", "bound"), [("0", "least 1"), ("-5", "least 1"), ("715827883", "most 715827882")])
def test_a_bound_that_is_none(folder: Path, value: str, bound: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "good.jsonl"), "--max-pixels", value]) == 2
    assert f"--max-pixels must be at {bound}, not {value}" in capsys.readouterr().err


def test_a_file_that_is_none_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl: file must exist" in " ".join(capsys.readouterr().err.split())


def test_long_lists_are_cut_and_counted_by_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [{**GOOD, "images": [f"gone{i}.png"]} for i in range(FINDINGS_SHOWN + 30)]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, bad)))
    assert main(["validate", str(folder / "many.jsonl")]) == 1
    out = capsys.readouterr().out
    assert out.count("many.jsonl:") == FINDINGS_SHOWN
    assert "230    images[0] … must be a readable file" in out
    assert "problems  230" in out


def test_what_is_there_twice_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(folder / "good.jsonl")
    (folder / "again.jsonl").write_text((folder / "good.jsonl").read_text())
    assert main(["validate", good, str(folder / "again.jsonl"), "--workers", "0"]) == 0
    assert "repeated  1 record\n" in capsys.readouterr().out


def test_images_may_be_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.png").unlink()
    assert main(["validate", str(folder / "good.jsonl"), "--no-images"]) == 0
    assert main(["validate", str(folder / "good.jsonl"), "--no-images", "--decode"]) == 2
    assert "--decode must not be given with --no-images" in capsys.readouterr().err


def test_a_page_of_charts(folder: Path) -> None:
    assert main(["validate", str(folder / "bad.jsonl"), "--html", str(folder / "sub" / "report.html")]) == 1
    page = (folder / "sub" / "report.html").read_text("utf-8")
    assert "dcap validate: bad.jsonl" in page
    assert page.count('<table class="bars">') >= 4


def test_the_json_has_the_statistics(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder / "good.jsonl"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["statistics"]["captions"] == {"cup": 1}
    assert report["statistics"]["object_sizes"]["max"] == pytest.approx((16 / 48) ** 0.5)
    assert report["statistics"]["image_sizes"] == {"8 x 6": 1}
    assert report["duplicates"] == {"records": 0, "image_paths": 0, "image_bytes": 0, "objects": 0}
