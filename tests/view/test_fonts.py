from pathlib import Path

import pytest
from PIL import ImageFont

from dcap.view import fonts


@pytest.fixture
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "_FOLDERS", ())
    fonts.find_fonts.cache_clear()
    fonts.load_font.cache_clear()
    yield
    fonts.find_fonts.cache_clear()
    fonts.load_font.cache_clear()


def test_latin_text_always_has_a_font(no_system_fonts):
    assert fonts.find_fonts() == ()
    assert fonts.font_for("12 red cup", 14) is not None


def test_missing_glyph_is_noticed(no_system_fonts):
    assert fonts.font_for("杯子", 14) is None
    assert fonts.font_for("\U0010fffe", 14) is None


def test_white_space_needs_no_glyph():
    assert fonts.font_for("a b", 14) is not None


def test_folders_are_searched_and_the_preferred_name_wins(monkeypatch, tmp_path):
    for name in ("Arial.ttf", "sub/DejaVuSans.ttf", "wqy-zenhei.ttc", "other.ttf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(fonts, "_FOLDERS", (tmp_path, tmp_path / "none"))
    fonts.find_fonts.cache_clear()
    try:
        assert fonts.find_fonts() == (tmp_path / "sub/DejaVuSans.ttf", tmp_path / "wqy-zenhei.ttc")
    finally:
        fonts.find_fonts.cache_clear()


def test_default_font_scales():
    small, large = fonts.load_font(10), fonts.load_font(30)
    assert isinstance(small, ImageFont.FreeTypeFont)
    assert large.getlength("word") > 2 * small.getlength("word")
    assert all(isinstance(path, Path) for path in fonts.find_fonts())
