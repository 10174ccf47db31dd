from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.__main__ import main
from dcap.infer import hf_engine as engine_module
from support.openai_server import Play, model_answer, serving, text_answer


def arguments(url: str, *more: str) -> list[str]:
    return ["serve-check", url, "--model", "builtin:micro", "--data", "builtin:photos/val.jsonl", "--limit", "1",
            "--max-new-tokens", "3", "--device", "cpu", *more]  # fmt: skip


@pytest.mark.parametrize("is_right", [True, False])
def test_the_exit_code_says_whether_a_server_answers_as_the_model(
    generator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_right: bool
) -> None:
    monkeypatch.setattr(engine_module, "load_model", lambda *_, **__: generator.model)
    play = Play(model_answer(generator) if is_right else text_answer("cup"), generator.tokenizer)
    with serving(play) as url:
        assert main(arguments(url, "--json", str(tmp_path / "check.json"))) == (0 if is_right else 1)
    found = json.loads((tmp_path / "check.json").read_text())
    assert (found["records"], len(found["gaps"])) == (1, 0 if is_right else 1)
    assert f"{1 if is_right else 0} of 1 answer equal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [(["--limit", "0"], "--limit must be at least 1"), (["--data", "missing.jsonl"], "file must exist")],
)
@pytest.mark.usefixtures("micro_folder")
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], change: list[str], message: str) -> None:
    assert main(arguments("http://localhost:1", *change)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("micro_folder")
@pytest.mark.parametrize("url", ["localhost", "http://me:secret@localhost"])
def test_an_address_that_cannot_work_is_named(capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert main(arguments(url)) == 2
    error = capsys.readouterr().err
    assert "address of the server must" in error
    assert "secret" not in error
