from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcap.core.errors import ImageError
from dcap.geometry.shapes import ShapeArray
from dcap.records.record import Origin, Record, parse_record
from dcap.view.draw import Pixels
from dcap.view.fonts import load_font
from dcap.view.sheet import Tile, answer_note, compare, contact_sheet, wrap, write_png


def picture(height: int, width: int, value: int) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def test_tiles_stand_in_rows_and_columns() -> None:
    tiles = [Tile(picture(100, 200, 10 * i), f"tile {i}") for i in range(1, 6)]
    sheet = contact_sheet(tiles, columns=3, tile_width=200)
    gap = 14
    assert sheet.shape[1] == gap + 3 * (200 + gap)
    title = round(12 * 1.45)
    for i in range(5):
        x = gap + (i % 3) * (200 + gap) + 100
        y = gap + (i // 3) * (title + 100 + 4 + gap) + title + 50
        assert sheet[y, x].tolist() == [10 * (i + 1)] * 3


def test_notes_make_a_tile_higher_up_to_their_limit() -> None:
    image = picture(100, 200, 0)
    heights = [
        contact_sheet([Tile(image, notes=("word " * n,))], 1, tile_width=200, max_note_lines=4).shape[0]
        for n in (0, 1, 20, 5000)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_cut_notes_say_where_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("dcap.view.sheet.ImageDraw.ImageDraw.text", lambda _, xy, text, *more: drawn.append(text))
    contact_sheet([Tile(picture(10, 10, 0), notes=("word " * 500,))], 1, 520, 14, "whole text in index.html")
    assert len(drawn) == 14
    assert drawn[-1] == "… (whole text in index.html)"
    assert drawn[-2].endswith("word")
    drawn.clear()
    contact_sheet([Tile(picture(10, 10, 0), notes=("few words",))], 1, 520, 14, "whole text in index.html")
    assert drawn == ["few words"]


def test_a_narrow_high_picture_is_shrunk() -> None:
    assert contact_sheet([Tile(picture(3000, 30, 0))], 1, tile_width=200).shape[0] < 300


def test_columns_beyond_the_tiles_take_no_room() -> None:
    assert contact_sheet([Tile(picture(10, 10, 0))], 5, tile_width=100).shape[1] == 128


def test_no_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 2)


@pytest.mark.parametrize(
    "text", ["a few words that go on", "没有空格的一长串文字没有空格", "x" * 60, "mixed 文字 and words"]
)
def test_wrap_keeps_every_character_within_the_width(text: str) -> None:
    lines = wrap(text, 80, 12)
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    if text.isascii():
        assert all(load_font(12).getlength(line) <= 80 for line in lines)


def test_wrap_breaks_at_spaces() -> None:
    assert all(word in ["several", "short", "words", "here"] for line in wrap("several short words here", 60, 12)
               for word in line.split())  # fmt: skip
    assert wrap("", 60, 12) == []


def test_a_heading_is_above_all_pictures() -> None:
    tiles = [Tile(picture(20, 20, 90))] * 2
    plain, headed = (contact_sheet(tiles, 2, tile_width=200, heading=text) for text in ("", "all of a file " * 9))
    more = len(headed) - len(plain)
    assert more > 0
    assert np.array_equal(headed[more + 14 :], plain[14:])
    assert (headed[14 : more + 14] != headed[0, 0]).any()


def test_a_picture_is_written_whole(tmp_path: Path) -> None:
    image = picture(4, 6, 77)
    write_png(tmp_path / "new" / "a.png", image)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "a.png")), image)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


LINE = b'{"images": ["a.png"], "width": 80, "height": 40, "objects": [{"desc": "cup", "bbox_2d": [10, 10, 30, 30]}]}'
PRED = ShapeArray.from_objects([{"bbox_2d": [50, 10, 70, 30]}, {"line": [0, 35, 79, 35]}])


@pytest.fixture
def record(tmp_path: Path) -> Record:
    Image.new("RGB", (80, 40), (128, 128, 128)).save(tmp_path / "a.png")
    return parse_record(LINE, Origin(str(tmp_path / "a.jsonl"), 3))


def test_truth_and_prediction_are_drawn_on_the_same_image(record: Record) -> None:
    truth, pred = compare(record, PRED, ("cup", "edge"), "line 3", ["F1 0.00"], side=160)
    assert truth.image.shape == pred.image.shape == (80, 160, 3)
    assert truth.title == "truth: 1 object, line 3"
    assert (pred.title, pred.notes) == ("prediction: 2 objects", ("F1 0.00",))
    grey = np.array([128, 128, 128])
    assert (truth.image[40, 40] != grey).any()
    assert (truth.image[40, 120] == grey).all()
    assert (pred.image[40, 120] != grey).any()


def test_image_of_another_size_is_an_error(record: Record, tmp_path: Path) -> None:
    Image.new("RGB", (81, 40)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.jsonl:3"):
        compare(record, PRED, ("cup", "edge"), "line 3", [], side=160)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (" <no> JSON\n", "answer: <no> JSON"),
        (" \n\t ", "answer: (only white space)"),
        ("", "answer: (empty)"),
        (" " * 500 + "x" * 500, "answer: " + "x" * 400),
    ],
)
def test_an_answer_without_words_is_named(text: str, note: str) -> None:
    assert answer_note(text) == note
