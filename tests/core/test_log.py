from __future__ import annotations

import json
import logging

import pytest
from rich.table import Table
from rich.text import Text

from dcap.core import log
from dcap.core.words import printable


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> object:
    root = logging.getLogger("dcap")
    before = (list(root.handlers), root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


def test_what_is_for_files_only_is_not_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(log.RichHandler, "emit", lambda _, record: shown.append(record.getMessage()))
    log.setup()
    logger = log.get_logger("dcap.test")
    logger.addHandler(caplog.handler)
    logger.info("for all")
    logger.info("for files", extra=log.FILE_ONLY)
    assert shown == ["for all"]
    assert caplog.messages == ["for all", "for files"]


def test_an_error_is_one_line_with_its_rank(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.print_error("no file")
    monkeypatch.setenv("RANK", "3")
    log.print_error("no file")
    assert capsys.readouterr().err == "dcap: no file\ndcap: [rank 3] no file\n"


EVIL = "\x1b[31m\r\x9b2J\u202e\udcff\x07"
SHOWN = r"\x1b[31m\r\x9b2J\u202e\udcff\x07"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_text_steers_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    monkeypatch.setattr(log, "console", log.SafeConsole(stderr=True, width=200, force_terminal=False))
    log.setup()
    log.get_logger("dcap.test").warning("file %s", EVIL)
    log.print_error(f"file {EVIL}")
    table = Table("name", box=None)
    table.add_row(Text(printable(EVIL)))
    log.output_console().print(table, EVIL, Text(EVIL))
    log.print_json({EVIL: EVIL})
    out, err = capsys.readouterr()
    assert not [c for c in out + err if c != "\n" and not c.isprintable()]
    assert err.count(SHOWN) == 2
    assert out.count(SHOWN) == 1
    assert json.loads(out[out.index("{") :]) == {EVIL: EVIL}


def test_a_pipe_has_no_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    log.output_console().print("word " * 100 + "[bold]")
    assert capsys.readouterr().out == "word " * 100 + "[bold]\n"


def test_a_log_that_goes_to_a_file_is_neither_padded_nor_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    log.setup()
    logger = log.get_logger("dcap.test")
    logger.info("short [bold]")
    logger.warning("word " * 100)
    logger.info("not here", extra=log.FILE_ONLY)
    monkeypatch.setenv("RANK", "3")
    log.setup()
    logger.info("nor here")
    logger.warning("late")
    lines = ["INFO     short [bold]", "WARNING  " + " ".join(["word"] * 100), "WARNING  [rank 3] late"]
    assert capsys.readouterr().err.splitlines() == lines
