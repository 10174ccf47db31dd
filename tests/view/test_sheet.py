import numpy as np
import pytest
from PIL import Image

from dcap.view.fonts import load_font
from dcap.view.sheet import Tile, contact_sheet, wrap, write_png, write_text


def picture(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


def test_tiles_stand_in_rows_and_columns():
    tiles = [Tile(picture(100, 200, 10 * i), f"tile {i}") for i in range(1, 6)]
    sheet = contact_sheet(tiles, columns=3, tile_width=200)
    gap = 14
    assert sheet.shape[1] == gap + 3 * (200 + gap)
    title = round(12 * 1.45)
    for i in range(5):
        x = gap + (i % 3) * (200 + gap) + 100
        y = gap + (i // 3) * (title + 100 + 4 + gap) + title + 50
        assert sheet[y, x].tolist() == [10 * (i + 1)] * 3


def test_notes_make_a_tile_higher_up_to_their_limit():
    image = picture(100, 200, 0)
    heights = [
        contact_sheet([Tile(image, notes=("word " * n,))], 1, tile_width=200, max_note_lines=4).shape[0]
        for n in (0, 1, 20, 5000)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_cut_notes_say_where_the_rest_is(monkeypatch):
    drawn = []
    monkeypatch.setattr("dcap.view.sheet.ImageDraw.ImageDraw.text", lambda _, xy, text, *more: drawn.append(text))
    contact_sheet([Tile(picture(10, 10, 0), notes=("word " * 500,))], 1, 520, 14, "whole text in index.html")
    assert len(drawn) == 14
    assert drawn[-1] == "… (whole text in index.html)"
    assert drawn[-2].endswith("word")
    drawn.clear()
    contact_sheet([Tile(picture(10, 10, 0), notes=("few words",))], 1, 520, 14, "whole text in index.html")
    assert drawn == ["few words"]


def test_a_narrow_high_picture_is_shrunk():
    assert contact_sheet([Tile(picture(3000, 30, 0))], 1, tile_width=200).shape[0] < 300


def test_columns_beyond_the_tiles_take_no_room():
    assert contact_sheet([Tile(picture(10, 10, 0))], 5, tile_width=100).shape[1] == 128


def test_no_tiles_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 2)


@pytest.mark.parametrize(
    "text", ["a few words that go on", "没有空格的一长串文字没有空格", "x" * 60, "mixed 文字 and words"]
)
def test_wrap_keeps_every_character_within_the_width(text):
    lines = wrap(text, 80, 12)
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    if text.isascii():
        assert all(load_font(12).getlength(line) <= 80 for line in lines)


def test_wrap_breaks_at_spaces():
    assert all(word in ["several", "short", "words", "here"] for line in wrap("several short words here", 60, 12)
               for word in line.split())  # fmt: skip
    assert wrap("", 60, 12) == []


def test_files_are_written_whole(tmp_path):
    image = picture(4, 6, 77)
    write_png(tmp_path / "new" / "a.png", image)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "a.png")), image)
    write_text(tmp_path / "new" / "a.html", "ä\n")
    assert (tmp_path / "new" / "a.html").read_bytes() == "ä\n".encode()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.html", "a.png"]
