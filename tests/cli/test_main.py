"""The ``dcap`` command as a whole: help, exit codes, one line per error."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap.cli import preview, replay, schema, train
from dcap.cli.__main__ import COMMANDS, EXIT_BROKEN_PIPE, build_parser, main
from dcap.core.errors import RecordError
from dcap.core.packages import install_command
from dcap.train.__main__ import build_parser as training_parser

ROOT = Path(__file__).parents[2]


def run_failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr(schema, "run", run)
    return main(["schema"])


def test_help_names_the_commands_in_the_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    positions = [out.index(f"  dcap {command}") for command in COMMANDS[:-1]]
    assert positions == sorted(positions)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    out = capsys.readouterr().out
    usage, _, rest = out.partition("\n\n")
    assert usage.startswith(f"usage: dcap {command}")
    assert f"dcap {command}" in rest
    python = re.search(r"`|\b(True|False|None|PosixPath)\b|\['|\(\)|\('", out)
    assert python is None, f"{python[0]} is Python, not English"


@pytest.mark.parametrize(
    ("words", "full"),
    [
        (["validate", "a.jsonl", "--sh", "1/3"], "--shard, not --sh"),
        (["validate", "a.jsonl", "--shar=1/3"], "--shard, not --shar"),
        (["convert", "coco", "a.json", "-o", "b.jsonl", "--overw"], "--overwrite, not --overw"),
        (["merge", "a.jsonl", "--over"], "--overwrite, not --over"),
        (
            ["predict", "--data", "a", "--out", "b", "--model", "c", "--max"],
            "--max-image-pixels or --max-new-tokens, not",
        ),
    ],
)
def test_an_abbreviated_option_is_refused_with_its_full_name(
    words: list[str], full: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = " ".join(capsys.readouterr().err.split())
    assert f"Options must be written in full: {full}" in said


def test_a_misspelt_option_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["validate", "a.jsonl", "--shrad", "1/3"])
    assert "unrecognized arguments: --shrad 1/3; did you mean --shard?" in capsys.readouterr().err


def test_no_parser_takes_abbreviations() -> None:
    def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    yield from parsers(each)

    found = [*parsers(build_parser()), training_parser()]
    assert len(found) > len(COMMANDS) + 5
    assert [parser.prog for parser in found if parser.allow_abbrev] == []


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "dcap validate" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    from dcap import __version__

    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"dcap {__version__}\n"


def test_an_error_of_dcap_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(monkeypatch, RecordError("a.jsonl:3: width must be given")) == 2
    assert capsys.readouterr().err == "dcap: a.jsonl:3: width must be given\n"


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["schema", "--out", str(tmp_path / "file" / "schema.json")]) == 2
    said = f"dcap: {tmp_path / 'file' / 'schema.json'}: file must be writable, and is not: File exists."
    assert capsys.readouterr().err == f"{said} Choose another place.\n"
    with open("/dev/full", "w") as full, contextlib.redirect_stdout(full):
        assert main(["guide", "data"]) == 2
    assert "must have room for what is written: No space left on device" in capsys.readouterr().err


def test_an_interrupt_has_its_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "dcap: interrupted\n"


def test_a_bug_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ZeroDivisionError("x"), ModuleNotFoundError("No module", name="dcap.nothing"), OSError("x")):
        with pytest.raises(type(error)):
            run_failing(monkeypatch, error)


def test_a_reader_that_goes_away_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "dcap.cli", "schema"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (EXIT_BROKEN_PIPE, "")


def test_a_missing_package_names_its_extra() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from dcap.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "train", str(ROOT / "configs" / "demo.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("dcap: torch must be installed")
    assert install_command("train") in done.stderr
    assert "Traceback" not in done.stderr


def test_schema_describes_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert set(tree["properties"]) == {"extends", "model", "data", "training", "distill", "augmentation", "seed"}
    assert tree["properties"]["training"]["properties"]["learning_rate"]["type"] == "number"
    assert "required" not in tree["properties"]["training"]
    undescribed = [f for f, s in tree["properties"]["training"]["properties"].items() if not s["description"]]
    assert undescribed == []


def test_schema_can_be_written_to_a_file(tmp_path: Path) -> None:
    assert main(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text("utf-8"))["title"] == "dcap run config"


def test_the_help_of_train_explains_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    out = capsys.readouterr().out
    for field in ("model.name_or_path", "data.train", "training.warmup_ratio = 0.03", "augmentation.ops", "seed = 0"):
        assert f"\n  {field}" in out


def test_train_hands_config_and_overrides_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(train, "main", lambda argv: seen.append(argv) or 0)
    assert main(["train", "a.yaml", "seed=3", "training.max_steps=2"]) == 0
    assert seen == [["a.yaml", "seed=3", "training.max_steps=2"]]


@pytest.mark.parametrize(
    "argv",
    [
        ["preview", "a.yaml", "--out", "o", "seed=3", "data.x=--y"],
        ["preview", "--out", "o", "a.yaml", "seed=3", "--draws", "2", "data.x=--y"],
        ["replay", "--config", "a.yaml", "seed=3", "--out", "o", "data.x=--y"],
    ],
)
def test_fields_stand_anywhere(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []
    for command in (preview, replay):
        monkeypatch.setattr(command, "run", lambda args: seen.append(args) or 0)
    assert main(argv) == 0
    assert (seen[0].overrides, str(seen[0].out)) == (["seed=3", "data.x=--y"], "o")


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["preview", "a.yaml", "--out", "o", "seed=3", "more", "--seed=4"], "more --seed=4"),
        (["predict", "--model", "m", "--data", "d", "--out", "o", "seed=3"], "seed=3"),
        (["train", "a.yaml", "seed=3", "--fast", "x=1"], "--fast"),
    ],
)
def test_what_no_command_takes_is_refused(argv: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert capsys.readouterr().err.endswith(f"dcap: error: unrecognized arguments: {named}\n")


@pytest.mark.parametrize(("word", "hint"), [("valdate", "did you mean validate?"), ("xyz", "known are: audit, ")])
def test_a_misspelt_command_names_the_nearest(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([word, "--json"])
    assert f"COMMAND must be one of dcap's, not '{word}'; {hint}" in capsys.readouterr().err
