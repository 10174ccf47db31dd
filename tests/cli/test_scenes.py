from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.demo import SceneOptions, SceneRecords
from dcap.records.files.jsonl import JsonlFile


def test_scenes_become_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    command = ["scenes", "--out", str(out), "num=13", "level=medium", "relations=all", "summary=true", "seed=6"]
    assert main(command) == 0
    scenes = SceneRecords(SceneOptions(13, 6, "medium", relations="all", summary=True))
    records = JsonlFile(out / "scenes.jsonl")
    assert len(records) == len(list((out / "images").iterdir())) == 13
    for i, record in enumerate(records):
        assert (record.shapes, record.captions) == (scenes[i].shapes, scenes[i].captions)
        with Image.open(out / record.image) as image:
            assert (np.asarray(image) == scenes.pixels(i)).all()
    assert main(["validate", str(out / "scenes.jsonl"), "--decode"]) == 0
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width == 4 * (320 + 14) + 14
        assert sheet.height > 3 * 320
    capsys.readouterr()
    assert main(command) == 2
    assert "scenes.jsonl exists. Give --overwrite to replace it" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["nmu=3"], "scenes.nmu is not a field of scenes; did you mean num?"),
        (["num=0"], "scenes.num must be within 1..10000000, not 0"),
        (["num=1", "num=2"], "option num must be given once, not twice"),
        (["easy"], 'option must be KEY=VALUE, not "easy"'),
    ],
)
def test_wrong_options_are_named(
    items: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scenes", *items, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_image_of_someone_else_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "scene-0-0000000.png")
    assert main(["scenes", "num=1", "--out", str(tmp_path)]) == 2
    assert "scene-0-0000000.png is another file" in capsys.readouterr().err
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == '["images"]'
