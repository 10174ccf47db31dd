"""Prompts by name, in place, and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.answers.prompts import MAX_PROMPT_BYTES, PROMPTS, PromptConfig, Prompts, resolve
from dcap.core.errors import ConfigError


@pytest.mark.parametrize("name", ["en", "zh"])
def test_the_named_sets_tell_the_shape_of_the_answer(name: str) -> None:
    prompts = resolve(PromptConfig(name=name))
    assert prompts.system is None
    for word in ("JSON", "bbox_2d", "poly", "poly_points", "line", "line_points"):
        assert word in prompts.dense
    assert prompts.summary
    assert prompts.summary.isascii() == prompts.dense.isascii() == (name == "en")


def test_texts_in_place_replace_the_set_s_one_by_one() -> None:
    base = resolve(PromptConfig())
    assert resolve(PromptConfig(dense="What is here?")) == Prompts(None, "What is here?", base.summary)
    assert resolve(PromptConfig(system="Be brief.", summary="Sum up.")) == Prompts("Be brief.", base.dense, "Sum up.")


def test_files_start_at_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "dense.txt").write_bytes("\ufeff列出所有目标\n".encode())
    config = PromptConfig(dense="file:prompts/dense.txt", summary=f"file:{tmp_path}/prompts/dense.txt")
    prompts = resolve(config)
    assert prompts.dense == prompts.summary == "列出所有目标"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"dense\.txt: text of data\.answer\.prompts\.dense must exist"),
        (b" \n", "prompts.dense must not be empty. Leave it out"),
        (b"\xff\xfe", "prompts.dense: .*dense.txt must be a readable UTF-8 file"),
        (b"x" * (MAX_PROMPT_BYTES + 1), f"prompts.dense: .*dense.txt must be at most {MAX_PROMPT_BYTES} bytes"),
    ],
)
def test_a_file_that_is_no_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "dense.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        resolve(PromptConfig(dense="file:dense.txt"))


def test_control_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"prompts.dense must not hold a control token such as <\|image_pad\|>"):
        resolve(PromptConfig(dense="look at <|image_pad|> here"))


def test_an_empty_text_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"prompts.system must not be empty"):
        resolve(PromptConfig(system=" "))


def test_an_unknown_set_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"prompts.name: 'zn' is not a known prompt set; did you mean zh\?"):
        resolve(PromptConfig(name="zn"))


def test_a_set_from_outside() -> None:
    PROMPTS.register("pirate", Prompts("Arr.", "What be here?", "Tell the tale."))
    try:
        assert resolve(PromptConfig(name="pirate")).dense == "What be here?"
    finally:
        del PROMPTS._items["pirate"]
