"""``dcap schema`` in words; the config as a whole is in ``test_main.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcap.answers.grammar import AnswerBounds, AnswerGrammar
from dcap.answers.profile import AnswerProfile, ResolvedProfile, save_profile
from dcap.answers.prompts import PromptConfig, resolve
from dcap.answers.server_grammar import to_ebnf, to_json_schema
from dcap.augment import OPS
from dcap.cli.__main__ import main

SHIPPED = [name for name in OPS if OPS.get(name).__module__.startswith("dcap.")]


def test_the_ops_are_listed_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--ops"]) == 0
    out = capsys.readouterr().out
    assert [name for name in SHIPPED if f"\n{name}: " not in out] == []
    assert "\nhflip: Mirror left and right: x' = W - x.\n" in out
    assert "\n  max_deg (must be given)\n      Largest angle, degrees, 0..180.\n" in out
    _, _, crop = out.partition("\nrandom_crop: ")
    crop = crop.partition("\n\n")[0]
    assert "\n  min_coverage = 0.3\n      Drop objects" in crop
    assert "\n  scale = [0.5, 1.0]\n" in crop
    assert "`" not in out


def test_the_list_of_ops_can_be_written_to_a_file(tmp_path: Path) -> None:
    assert main(["schema", "--ops", "--out", str(tmp_path / "ops.txt")]) == 0
    assert "\nrotate: " in (tmp_path / "ops.txt").read_text("utf-8")


@pytest.fixture
def profile(tmp_path: Path) -> AnswerProfile:
    profile = AnswerProfile(format="rows")
    save_profile(tmp_path, ResolvedProfile(profile, resolve(PromptConfig())))
    return profile


def test_the_grammar_of_answers(tmp_path: Path, profile: AnswerProfile, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--answer", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == to_json_schema(AnswerGrammar(profile))
    bounds = ["--max-objects", "9", "--max-points", "7", "--max-caption", "20"]
    assert main(["schema", "--answer", str(tmp_path), "--language", "ebnf", *bounds]) == 0
    assert capsys.readouterr().out == to_ebnf(AnswerGrammar(profile, bounds=AnswerBounds(9, 7, 20)))


def test_a_folder_without_a_profile_and_a_bound_that_is_none(
    tmp_path: Path, profile: AnswerProfile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", "--answer", str(tmp_path / "none")]) == 2
    assert "answer profile" in capsys.readouterr().err
    assert main(["schema", "--answer", str(tmp_path), "--max-points", "2"]) == 2
    assert "points of a grammar must be at least 3, not 2" in capsys.readouterr().err
