"""``dcap audit``: the table, the examples, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcap.cli.__main__ import main
from dcap.core.config import build, dump_yaml
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.sample_losses import ObjectLoss, SampleLoss, TokenLoss, epoch_file, losses_folder, validation_file
from dcap.train.config import RunConfig

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
    assert out.endswith("1 of 16 checks failed\n")


def test_json_and_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    sources = [PHOTOS, f"data.val={PHOTOS}", "data.answer.max_pixels=90000"]
    assert main(["audit", *sources, "--json", "--encode", "all", "--no-decode", "--epoch", "3"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is False
    failed = [check["name"] for check in report["checks"] if check["status"] == "fail"]
    assert failed == ["leakage"]


def test_words_that_augmentation_would_make_false_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", PHOTOS, "augmentation.ops=[{name: hflip}]", "--no-decode", "--encode", "0"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "train words: without augmentation.words, this epoch would have made false\n  left 3, right 3\n" in out
    assert main([*arguments, "--json", "augmentation.words.mirror=keep"]) == 0
    (words,) = [check for check in json.loads(capsys.readouterr().out)["checks"] if check["name"] == "words"]
    assert (words["status"], words["counts"], words["noted"]) == ("note", {"left": 3, "right": 3}, 2)


def test_conversations_are_not_passed_in_silence(
    micro_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    talk = {"name": "talk", "train": str(tmp_path / "talk.jsonl"), "text": True}
    scenes = {"name": "scenes", "train": "builtin:scenes?num=2&kinds=box"}
    model, training = {"name_or_path": str(micro_folder)}, {"output_dir": str(tmp_path / "run")}
    for mixture, code, said in (
        ([talk], 2, "data.mixture must hold a data set with images, which dcap audit checks, and all of them hold"),
        ([scenes, talk], 0, "not audited, as they are conversations: talk"),
    ):
        tree = {"model": model, "data": {"mixture": mixture, "global_max_length": 4096}, "training": training}
        (tmp_path / "run.yaml").write_text(dump_yaml(build(RunConfig, tree)))
        assert main(["audit", str(tmp_path / "run.yaml"), "--workers", "0", "--encode", "1"]) == code
        assert said in " ".join(capsys.readouterr().err.split())


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
        ([], "must be given one config, or files of records"),
        ([PHOTOS, "--worst", "3"], "--worst must go with --losses"),
        (["--losses", "nowhere"], "nowhere/config.yaml: config of the run must exist"),
        (
            [PHOTOS, "--losses", "nowhere"],
            "--losses must be given alone, as the config is that of the run, not with",
        ),
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


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run over the bundled photos, with the losses of its samples in one epoch."""
    tree = {"model": {"name_or_path": "builtin:micro"}, "data": {"train": PHOTOS},
            "training": {"output_dir": str(tmp_path / "run")}}  # fmt: skip
    losses_folder(tmp_path / "run").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(dump_yaml(build(RunConfig, tree)))
    dataset = DenseCaptionDataset({"train": PHOTOS}, "train", None)
    with epoch_file(tmp_path / "run", 0).open("wb") as file:
        for index in range(len(dataset)):
            each = TokenLoss(4, 1.0 + index)
            record = dataset.records[index]
            objects = tuple(ObjectLoss(n, "bbox_2d", each, each) for n in range(1, len(record.captions) + 1))
            file.write(SampleLoss(1, index, 0, record.name, each, each, each, objects).to_line())
    return tmp_path / "run"


def test_losses_list_the_worst_and_draw_them(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "suspects"
    for _ in range(2):  # an older report is replaced
        assert main(["audit", "--losses", str(run_folder), "--worst", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "objects with the highest loss" in printed
    assert printed.count("train.jsonl") == 4, "once below each table of each run"
    assert "line 4 " in printed
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "sheet.png"]
    assert "high loss" in (out / "index.html").read_text()


def test_losses_as_json(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--losses", str(run_folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == "train"
    assert report["samples"][0]["line"] == report["num_samples"]
    assert report["samples"][0]["file"].endswith("train.jsonl")


def test_losses_of_a_validation_that_took_a_part_of_the_records(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"data": {"train": PHOTOS, "val": PHOTOS}, "training": {"output_dir": str(run_folder), "eval_limit": 2}}
    tree = {"model": {"name_or_path": "builtin:micro"}, **config}
    (run_folder / "config.yaml").write_text(dump_yaml(build(RunConfig, tree)))
    dataset = DenseCaptionDataset(config["data"], "val", None, limit=2)
    losses = TokenLoss(4, 1.0)
    lines = [SampleLoss(1, i, 0, dataset.records[i].name, losses, losses, losses, ()).to_line() for i in range(2)]
    validation_file(run_folder).write_bytes(b"".join(lines))
    assert main(["audit", "--losses", str(run_folder), "--split", "val"]) == 0
    assert "samples with the highest loss, of 2 of the last validation" in " ".join(capsys.readouterr().out.split())


def test_a_run_without_losses_of_validation(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--losses", str(run_folder), "--split", "val"]) == 2
    assert "has none of val. Train with training.sample_losses=true" in " ".join(capsys.readouterr().err.split())
    assert main(["audit", "--losses", str(run_folder), "--worst", "0"]) == 2
    assert "--worst must be at least 1, not 0" in capsys.readouterr().err
