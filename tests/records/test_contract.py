"""The table of the record contract, row by row: exactly that bad input, through the check at the start of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dcap.core.errors import RecordError
from dcap.geometry.shapes import GeometryKind
from dcap.records.checking import CheckedRecords, ImageRules, check_records

Make = Callable[..., dict[str, Any]]
BOX = {"desc": "cup", "bbox_2d": [1, 2, 30, 40]}
RING = [5, 5, 40, 5, 40, 40]


def shape(**fields: Any) -> dict[str, Any]:
    return {"objects": [{"desc": "cup", **fields}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder ``root`` with pictures that are wrong in one way each, and one picture beside it."""
    root = tmp_path / "root"
    root.mkdir()
    picture = Image.new("RGB", (64, 48), (10, 20, 30))
    picture.save(root / "a.png")
    picture.save(tmp_path / "outside.png")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "truncated.png").write_bytes((root / "a.png").read_bytes()[:-30])
    (root / "empty.png").write_bytes(b"")
    (root / "text.png").write_text("no image at all")
    Image.new("RGB", (100, 100)).save(root / "large.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(root / "turned.jpg", exif=exif)
    return root


def check(folder: Path, *lines: bytes, policy: Any = "error") -> CheckedRecords:
    (folder / "train.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return check_records([folder / "train.jsonl"], policy, ImageRules(folder, max_pixels=9000, decode=True))


ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("images: a list of one path", {"images": "a.png"}, 'images must be a list of one path, not "a.png"'),
    ("images: one", {"images": ["a.png", "a.png"]}, 'images must be a list of one path, not ["a.png", "a.png"]'),
    ("images: at least one", {"images": []}, "images must be a list of one path, not []"),
    ("images: a text", {"images": [5]}, "images[0] must be a path, not 5"),
    ("images: not blank", {"images": [" "]}, 'images[0] must be a path, not " "'),
    ("images: without NUL", {"images": ["a\0.png"]}, 'images[0] must be a path, not "a\\u0000.png"'),
    ("images: no escape by ..", {"images": ["../outside.png"]}, "images[0] must stay inside data.root"),
    ("images: no absolute way out", {"images": ["/etc/passwd"]}, "images[0] must stay inside data.root"),
    ("images: no symlink out", {"images": ["link.png"]}, "images[0] must stay inside data.root"),
    ("width, height: given", {"width": ...}, "width must be given"),
    ("width, height: a number", {"width": "64"}, 'width must be a whole number of pixels >= 1, not "64"'),
    ("width, height: not true", {"height": True}, "height must be a whole number of pixels >= 1, not true"),
    ("width, height: whole", {"width": 64.5}, "width must be a whole number of pixels >= 1, not 64.5"),
    ("width, height: above 0", {"height": 0}, "height must be a whole number of pixels >= 1, not 0"),
    ("width, height: of an image", {"height": 10**9}, "width, height must have an aspect ratio of at most 200"),
    ("width, height: of the image", {"width": 65}, "width, height must be the size of "),
    ("size: as displayed", {"images": ["turned.jpg"]}, "before its EXIF orientation 6 is applied. Write width"),
    ("objects: a list", {"objects": None}, "objects must be a list, not null"),
    ("objects: of objects", {"objects": [BOX, "cup"]}, 'objects[1] must be an object, not "cup"'),
    ("objects: desc given", {"objects": [{"bbox_2d": [1, 2, 3, 4]}]}, "objects[0].desc must be given"),
    ("objects: desc a text", {"objects": [{**BOX, "desc": 5}]}, "objects[0].desc must be a string, not 5"),
    ("objects: desc not blank", {"objects": [{**BOX, "desc": " "}]}, 'objects[0].desc must not be empty, not " "'),
    ("objects: desc without NUL", {"objects": [{**BOX, "desc": "a\0"}]}, "desc must not hold the NUL character"),
    ("objects: desc", {"objects": [BOX, {**BOX, "desc": ""}]}, 'objects[1].desc must not be empty, not ""'),
    ("objects: one shape, not none", {"objects": [{"desc": "a"}]}, "objects[0] must have exactly one of"),
    ("objects: one shape, not two", shape(bbox_2d=[1, 2, 3, 4], line=RING), "not bbox_2d and line"),
    ("bbox_2d: 4 numbers", shape(bbox_2d=[1, 2, 3]), "objects[0].bbox_2d must have 4 numbers, not 3"),
    ("bbox_2d: x1 < x2", shape(bbox_2d=[3, 2, 3, 4]), "objects[0].bbox_2d must have x1 < x2 and y1 < y2"),
    ("bbox_2d: y1 < y2", shape(bbox_2d=[1, 4, 3, 2]), "objects[0].bbox_2d must have x1 < x2 and y1 < y2"),
    ("poly: even count", shape(poly=RING[:-1]), "objects[0].poly must have an even count of at least 6 numbers, not 5"),
    ("poly: 3 points", shape(poly=RING[:4]), "objects[0].poly must have an even count of at least 6 numbers, not 4"),
    ("poly: 3 of them distinct", shape(poly=[*RING[:4], *RING[:2]]), "must have at least 3 distinct points, not 2"),
    ("line: even count", shape(line=RING[:5]), "objects[0].line must have an even count of at least 4 numbers, not 5"),
    ("line: 2 distinct points", shape(line=[5, 5, 5, 5]), "line must have at least 2 distinct points, not 1"),
    ("poly: an area", shape(poly=[1, 1, 5, 5, 9, 9]), "objects[0].poly must enclose an area, not [1, 1, 5, 5, 9, 9]"),
    ("poly: an area left", shape(poly=[0, 0, 9, 0, 9, 9, 9, 0]), "objects[0].poly must enclose an area"),
    ("poly_points: as given", shape(poly=RING, poly_points=4), "poly_points must be the number of points as given, 3"),
    ("line_points: as given", shape(line=RING, line_points=2), "line_points must be the number of points as given, 3"),
    ("poly_points: with poly", shape(line=RING, poly_points=3), "poly_points must be given with poly, not alone"),
    ("line_points: with line", shape(bbox_2d=[1, 2, 3, 4], line_points=2), "line_points must be given with line"),
    ("poly_points: whole", shape(poly=RING, poly_points=3.0), "poly_points must be the number of points as given, 3"),
    ("summary: not empty", {"summary": ""}, 'summary must not be empty, not ""'),
    ("summary: a text", {"summary": 5}, "summary must be a string, not 5"),
    ("metadata: an object", {"metadata": [1]}, "metadata must be an object, not [1]"),
    ("coordinates: a box too far", shape(bbox_2d=[1, 2, 2e9, 4]), "bbox_2d must have coordinates within 1e+09 pixels"),
    ("coordinates: a ring too far", shape(poly=[*RING[:-1], -2e9]), "poly must have coordinates within 1e+09 pixels"),
    ("coordinates: box outside", shape(bbox_2d=[70, 2, 80, 4]), "bbox_2d must have some area or length inside"),
    ("coordinates: polygon outside", shape(poly=[70, 0, 90, 0, 90, 9]), "must have some area or length inside"),
    ("coordinates: line outside", shape(line=[-9, 0, -1, 9]), "line must have some area or length inside the image"),
    ("image: missing", {"images": ["gone.png"]}, "gone.png must be a readable file, not missing"),
    ("image: truncated", {"images": ["truncated.png"]}, "truncated.png must be whole, not damaged or truncated"),
    ("image: zero bytes", {"images": ["empty.png"]}, "empty.png must be a file with an image in it, not an empty one"),
    ("image: not an image", {"images": ["text.png"]}, "not something else or damaged in its header"),
    ("image: over the bound", {"images": ["large.png"], "width": 100, "height": 100}, "must have at most 9000 pixels"),
]  # fmt: skip

BAD_NUMBERS = ["true", '"5"', "null"]


@pytest.mark.parametrize(("changes", "message"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_bad_row_stops_or_is_left_out(folder: Path, make_record: Make, changes: dict[str, Any], message: str) -> None:
    good, bad = (json.dumps(make_record(**fields)).encode() for fields in ({}, changes))
    with pytest.raises(RecordError, match=r"^train\.jsonl:2: ") as caught:
        check(folder, good, bad, good)
    assert message in str(caught.value)
    left = check(folder, good, bad, good, policy="skip")
    assert [left[k].origin.line for k in range(len(left))] == [1, 3], "no other sample is put in its place"
    assert [(item.origin.line, len(item.problems)) for item in left.bad] == [(2, 1)]


@pytest.mark.parametrize("key", ["bbox_2d", "poly", "line"])
@pytest.mark.parametrize("written", BAD_NUMBERS)
def test_a_number_is_a_number(folder: Path, make_record: Make, key: str, written: str) -> None:
    values = [1, 2, 30, 40] if key == "bbox_2d" else RING
    line = json.dumps(make_record(**shape(**{key: [*values[:-1], "HERE"]}))).replace('"HERE"', written)
    with pytest.raises(RecordError, match=rf"objects\[0\]\.{key}\[{len(values) - 1}\] must be a number, not {written}"):
        check(folder, line.encode())


@pytest.mark.parametrize("key", ["bbox_2d", "poly", "line"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_number_is_finite(folder: Path, make_record: Make, key: str, word: str) -> None:
    line = json.dumps(make_record(**shape(**{key: [1, 2, 30, "HERE"]}))).replace('"HERE"', word)
    with pytest.raises(RecordError, match=rf"train\.jsonl:1: column \d+: number must be finite, not {word}"):
        check(folder, line.encode())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"5", "column 1: line must be a JSON object, not 5"),
        (b'{"images": [', "column 13: line must be JSON, and ends too early"),
        (b'{"images": "\xff"}', "column 13: line must be UTF-8, not byte 0xff"),
    ],
)
def test_a_line_that_is_no_record_names_file_line_and_column(folder: Path, line: bytes, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        check(folder, b"", line)
    assert str(caught.value).startswith(f"train.jsonl:2: {message}")


def test_what_is_legal(folder: Path, make_record: Make) -> None:
    bow = [0, 0, 40, 40, 40, 0, 0, 40]
    objects = [
        {"desc": "both ends", "bbox_2d": [0, 0, 64, 48]}, {"desc": "closed", "poly": [*RING, *RING[-2:], *RING[:2]]},
        {"desc": "crosses itself", "poly": bow}, {"desc": "counted", "line": RING, "line_points": 3},
        {"desc": "partly outside", "bbox_2d": [-10, 0, 10.5, 5]},
    ]  # fmt: skip
    record = make_record(objects=objects, colour="red", metadata={"source": "x"})
    line = json.dumps(record, ensure_ascii=False).encode()
    checked = check(folder, b"\xef\xbb\xbf" + line + b"\r", b"", b"  ", json.dumps(make_record(objects=[])).encode())
    assert (len(checked), checked.clipped) == (2, 1)
    read = checked[0]
    assert read.shapes.kinds.tolist() == [
        GeometryKind.BOX, GeometryKind.POLYGON, GeometryKind.POLYGON, GeometryKind.LINE, GeometryKind.BOX,
    ]  # fmt: skip
    assert [len(points) for _, points in read.shapes] == [2, 3, 4, 3, 2]
    assert read.shapes.points(4).tolist() == [[0, 0], [10.5, 5]]
    assert read.extra == {"colour": "red"}
