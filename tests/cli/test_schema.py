"""``dcap schema`` in words; the config as a whole is in ``test_main.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

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
