from __future__ import annotations

import sys

import pytest
from rich.text import Text

from dcap.cli.__main__ import main
from dcap.cli.guide import FOLDER, TOPICS


def test_without_a_topic_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TOPICS)
    assert lines[0].endswith("Write, convert, read, check and mix annotation files.")


def test_a_page_goes_out_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "training"]) == 0
    assert capsys.readouterr().out == (FOLDER / "training.md").read_text("utf-8")


def test_a_terminal_gets_it_laid_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["guide", "data"]) == 0
    out = Text.from_ansi(capsys.readouterr().out).plain
    assert "```" not in out
    assert "<!--" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_an_unknown_topic_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "trainin"]) == 2
    assert "topic must be one of the guide's, not 'trainin'; did you mean training?" in capsys.readouterr().err
    assert main(["guide", "gpus"]) == 2
    assert "did you mean several_gpus?" in capsys.readouterr().err
