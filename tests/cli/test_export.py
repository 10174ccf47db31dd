from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.__main__ import main
from dcap.infer import export_proof
from dcap.infer.answers_apart import AnswersApart
from dcap.infer.export_proof import Proof
from dcap.infer.loading import EngineOptions
from dcap.infer.scripted_engine import ScriptedEngine
from dcap.infer.source import ModelSource
from support.openai_server import Play, serving, text_answer
from support.tuned import KINDS, write_tuned


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory, micro_folder: Path) -> Path:
    """A run whose update is so small that a cast to bfloat16 takes it away."""
    return write_tuned(tmp_path_factory.mktemp("run") / "final", micro_folder, KINDS["lora"], scale=1e-6)


def arguments(final: Path, out: Path, *more: str) -> list[str]:
    return ["export", "--adapter", str(final), "--model", "builtin:micro", "--out", str(out), *more]


def test_an_export_says_what_survived_and_how_to_serve_it(
    final: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    assert main(arguments(final, out, "--json", str(figures))) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "llm: at least" in said
    assert "of the update survives the cast" in said
    assert "is left in bfloat16" in said
    assert f"serve it: vllm serve {out}" in said
    told = json.loads(figures.read_text())
    assert told.pop("report") == "dcap export"
    assert told.items() <= json.loads((out / "export.json").read_text()).items()
    assert main(arguments(final, out)) == 2
    assert "--out must be a new folder" in capsys.readouterr().err


def test_no_command_is_given_that_cannot_work(final: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(final, tmp_path / "out", "--format", "peft")) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "no server finds builtin:micro by its name; --format merged writes a model that one can load" in said
    assert "vllm serve" not in said


def test_a_comparison_gives_the_exit_code(final: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cast to bfloat16 moves the logits a little, so that a bound of 0 is too strict."""
    compare = ["--data", "builtin:photos/val.jsonl", "--check", "1", "--max-new-tokens", "3", "--device", "cpu"]
    out = tmp_path / "out"
    assert main(arguments(final, out, *compare, "--max-kl", "0")) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "too far apart: mean KL must be at most 0, not" in said
    assert json.loads((out / "export.json").read_text())["proof"]["mean_kl"] > 0


def test_another_folder_is_compared_and_nothing_written(
    final: Path, tmp_path: Path, micro_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fake(first: ModelSource, second: ModelSource, *_: object) -> Proof:
        asked.extend((str(first.adapter), second.model))
        return Proof(1, 2, 0.0, 0.0, 1.0, AnswersApart(1, 1, 0, 0, None, None, None, None))

    monkeypatch.setattr(export_proof, "prove", fake)
    other = ["export", "--adapter", str(final), "--model", "builtin:micro", "--check-model", str(micro_folder)]
    report = tmp_path / "apart.json"
    assert main([*other, "--data", "builtin:photos/val.jsonl", "--json", str(report)]) == 0
    assert asked == [str(final / "adapter"), str(micro_folder)]
    assert json.loads(report.read_text())["tokens"] == 2
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.parametrize(("left", "code"), [(12, 0), (300, 1)])
def test_a_server_is_compared_by_its_answers(
    generator: Any, final: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    left: int, code: int,
) -> None:  # fmt: skip
    """Answers of a quantised model are never equal to the bit: an object that moves by two grid units passes."""
    box = '{{"object_1": {{"bbox_2d": [{0}, {0}, 500, 500], "desc": "cup"}}}}'.format
    here, open_engine = ScriptedEngine(lambda *_: box(10)), EngineOptions.open
    monkeypatch.setattr(EngineOptions, "open", lambda self, *_: open_engine(self, *_) if self.is_server else here)
    report = tmp_path / "apart.json"
    with serving(Play(text_answer(box(left)), generator.tokenizer)) as url:
        args = ["export", "--adapter", str(final), "--model", "builtin:micro", "--check-url", url, "--device", "cpu"]
        assert main([*args, "--data", "builtin:photos/val.jsonl", "--check", "1", "--json", str(report)]) == code
    found = json.loads(report.read_text())
    assert (found["report"], found["written"]["objects"], len(found["gaps"])) == ("dcap export", 1, 1)
    said = " ".join(capsys.readouterr().err.split())
    assert ("too far apart: median shift must be at most 2 grid units" in said) == (code == 1)
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--shard-size", "x"], "--shard-size must be a size such as 5GB or 500MB, not x"),
        (["--adapter", "missing"], "--adapter must be a folder with adapter_config.json, not missing"),
        (["--model", "missing_folder"], "missing_folder"),
        (["--check", "4"], "--data must be given to compare on"),
        (["--check-model", "x"], "--out, --check-model or --check-url must be given, and only one of them"),
        (
            ["--check-url", "http://localhost"],
            "--out, --check-model or --check-url must be given, and only one of them",
        ),
        (["--json", "../x.json", "--out", "."], "--out must be a new folder, and . exists"),
    ],
)
def test_mistakes_are_one_line(
    final: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments(final, tmp_path / "out", *change)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
