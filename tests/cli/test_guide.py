from __future__ import annotations

import sys

import pytest
from rich.text import Text

from dcap.cli.__main__ import main
from dcap.cli.guide import FOLDER, SEARCH_WORDS, TOPICS, page


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
    assert main(["guide", "slrum"]) == 2
    assert "did you mean many_machines?" in capsys.readouterr().err
    assert main(["guide", "xyzzy"]) == 2
    assert "not 'xyzzy'; known are: answers, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "topic"),
    [("losses", "label_errors"), ("loss", "label_errors"), ("FSDP", "several_gpus"), ("nodes", "several_gpus"),
     ("slurm", "many_machines"), ("vllm", "serving"), ("training.md", "training")],
)  # fmt: skip
def test_a_word_of_a_page_finds_it(word: str, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", word]) == 0
    assert capsys.readouterr().out == (FOLDER / f"{topic}.md").read_text("utf-8")


def test_each_search_word_is_on_its_page_alone() -> None:
    assert list(SEARCH_WORDS) == list(TOPICS)
    words = [(word, topic) for topic, listed in SEARCH_WORDS.items() for word in listed.split()]
    assert len({word for word, _ in words} | set(TOPICS)) == len(words) + len(TOPICS)
    missing = [(word, topic) for word, topic in words if word not in page(topic).lower()]
    assert missing == []
