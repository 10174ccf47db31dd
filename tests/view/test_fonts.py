from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import ImageFont

from dcap.view import fonts
from dcap.view.fonts import find_fonts, font_for, load_font


def test_latin_text_always_has_a_font() -> None:
    assert find_fonts(()) == ()
    assert font_for("12 red cup", 14, ()) is not None


def test_missing_glyph_is_noticed() -> None:
    assert font_for("杯子", 14, ()) is None
    assert font_for("\U0010fffe", 14, ()) is None


def test_white_space_needs_no_glyph() -> None:
    assert font_for("a b", 14) is not None


def test_folders_are_searched_and_the_preferred_name_wins(tmp_path: Path) -> None:
    for name in ("Arial.ttf", "sub/DejaVuSans.ttf", "wqy-zenhei.ttc", "other.ttf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_fonts((tmp_path, tmp_path / "none"))
    assert found == (tmp_path / "sub/DejaVuSans.ttf", tmp_path / "wqy-zenhei.ttc")


def test_default_font_scales() -> None:
    small, large = load_font(10), load_font(30)
    assert isinstance(small, ImageFont.FreeTypeFont)
    assert large.getlength("word") > 2 * small.getlength("word")
    assert all(isinstance(path, Path) for path in find_fonts())


def test_a_user_without_a_home_folder_has_fonts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number which no user has."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert len(runpy.run_path(fonts.__file__)["FOLDERS"]) == len(fonts.FOLDERS)
