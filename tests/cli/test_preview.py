from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dcap.cli.__main__ import main
from dcap.cli.run_data import load_config
from dcap.core.config import dump_yaml
from dcap.core.errors import MissingPackageError

CONFIG = """\
model: {name_or_path: "builtin:micro"}
data: {train: [builtin:photos/train.jsonl], val: [builtin:photos/val.jsonl], global_max_length: 20000}
training: {output_dir: none}
augmentation:
  ops: [{name: hflip}]
"""


def test_config_gives_a_sheet_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    args = ["preview", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "new" / "out"), "--num-samples", "2"]
    assert main(args) == 0
    out = tmp_path / "new" / "out"
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "sheet.png"]
    page = (out / "index.html").read_text("utf-8")
    assert "mirrored left to right" in page
    assert "2 of 4 records of train, 1 epoch of each" in page
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.height < 2 * 1000, "a long answer is cut"
    assert "… (whole text" not in page
    assert capsys.readouterr().out == ""


def test_a_curriculum_is_shown_where_it_stands(tmp_path: Path) -> None:
    phases = "augmentation.curriculum=[{until_step: 10, ops: {hflip: {prob: 0}}}]"
    (tmp_path / "run.yaml").write_text(CONFIG)
    args = ["preview", str(tmp_path / "run.yaml"), phases, "--out", str(tmp_path), "--num-samples", "1"]
    for more, said, told in (
        ([], "1 epoch of each;", "hflip.prob 1"),
        (["--step", "5"], "1 epoch of each, as after 5 steps;", "hflip.prob 0.5"),
    ):
        assert main([*args, *more]) == 0
        page = (tmp_path / "index.html").read_text("utf-8")
        assert said in page
        assert f"curriculum: {told}" in page


def test_fields_may_stand_behind_options(tmp_path: Path) -> None:
    source = "builtin:photos/val.jsonl"
    args = ["preview", source, "seed=3", "--out", str(tmp_path), "data.answer.format=qwen", "--num-samples", "1"]
    assert main(args) == 0
    assert "&#34;label&#34;" in (tmp_path / "index.html").read_text("utf-8")


def test_validation_is_never_augmented(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    assert main(["preview", str(tmp_path / "run.yaml"), "--out", str(tmp_path), "--split", "val"]) == 0
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "no augmentation" in page
    assert "mirrored left to right" not in page


def test_records_alone_need_no_config(tmp_path: Path) -> None:
    assert main(["preview", "builtin:photos/photos.jsonl", "data.answer.format=qwen", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "&#34;label&#34;: &#34;rocket&#34;" in page


def test_records_alone_get_no_augmentation_and_any_length() -> None:
    config = load_config(["a.jsonl"], ["seed=3"], "dcap preview")
    assert (config.data.train, config.augmentation.ops, config.seed) == (("a.jsonl",), (), 3)
    assert "a.jsonl" in dump_yaml(config)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["builtin:photos/val.jsonl", "--num-samples", "0"], "--num-samples must be at least 1, not 0"),
        (["builtin:photos/val.jsonl", "--draws", "-1"], "--draws must be at least 1, not -1"),
        (["builtin:photos/val.jsonl", "data.anser=1"], "data.anser is not a field"),
        (["missing.yaml"], "config must exist"),
        (["missing.jsonl"], "file must exist"),
        (["empty.jsonl"], "must hold at least one record"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert main(["preview", *args, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_records_need_no_tokenizer_and_a_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> None:
        raise MissingPackageError("transformers must be installed.")

    monkeypatch.setattr("dcap.cli.run_data.load_tokenizer", missing)
    assert main(["preview", "builtin:photos/val.jsonl", "--out", str(tmp_path), "--num-samples", "1"]) == 0
    assert "tokens are not counted: transformers must be installed." in capsys.readouterr().err
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "tokens are not counted: there is no tokenizer" in page
    assert "object_1" in page
    (tmp_path / "run.yaml").write_text(CONFIG)
    assert main(["preview", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
