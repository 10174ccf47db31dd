"""The prediction line: bytes as written, values as read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.prediction import Dropped, Prediction, parse_prediction, read_predictions
from dcap.core.errors import RecordError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records import json_line
from dcap.records.files import jsonl
from dcap.records.record import Origin, parse_record

LINE: dict[str, Any] = {
    "images": ["a.jpg"],
    "width": 100,
    "height": 80,
    "objects": [{"desc": "cup", "bbox_2d": [1, 2, 3, 4]}],
}
SHAPES = ShapeArray.from_objects([{"bbox_2d": [1, 2, 3, 4]}, {"line": [0, 0.5, 9, 9]}])
FULL = Prediction(
    image="images/ä.jpg",
    canvas=Canvas(80, 100),
    shapes=SHAPES,
    captions=("cup", "road"),
    scores=(0.93, None),
    summary="a street",
    text="{",
    problems=("cut off",),
    finish="length",
    source=Origin("data/val.jsonl", 7),
    dropped=Dropped(repeats=2),
)


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_the_bytes_of_a_line() -> None:
    assert FULL.to_line().decode() == (
        '{"images":["images/ä.jpg"],"width":100,"height":80,"objects":['
        '{"desc":"cup","bbox_2d":[1.0,2.0,3.0,4.0],"score":0.93},{"desc":"road","line":[0.0,0.5,9.0,9.0]}],'
        '"summary":"a street","text":"{","problems":["cut off"],"finish":"length",'
        '"source":{"file":"data/val.jsonl","line":7},"dropped":{"repeats":2}}\n'
    )
    bare = Prediction("a.jpg", Canvas(80, 100), ShapeArray.empty(), ())
    assert bare.to_line() == b'{"images":["a.jpg"],"width":100,"height":80,"objects":[],"text":"","problems":[]}\n'


@pytest.mark.parametrize("value", [FULL, Prediction("a", Canvas(1, 2), SHAPES, ("x", "y"), (0.0, 1.0), finish="stop")])
def test_what_is_written_reads_back(value: Prediction) -> None:
    assert parse_prediction(value.to_line(), "pred.jsonl:1") == value


def test_a_prediction_is_a_record_and_loses_nothing() -> None:
    record = parse_record(FULL.to_line(), Origin("pred.jsonl", 1))
    assert (record.image, record.canvas, record.captions) == (FULL.image, FULL.canvas, FULL.captions)
    assert record.shapes == FULL.shapes
    assert record.summary == FULL.summary
    assert [extra.get("score") for extra in record.extras] == [0.93, None]
    assert record.extra["finish"] == "length"
    assert record.extra["source"] == {"file": "data/val.jsonl", "line": 7}


def test_reads_shapes_captions_problems_and_place(tmp_path: Path) -> None:
    path = write(tmp_path / "pred.jsonl", {**LINE, "text": "{", "problems": ["cut off"], "other": 1})
    (pred,) = read_predictions(path)
    assert pred.image == "a.jpg"
    assert (pred.canvas.width, pred.canvas.height) == (100, 80)
    assert pred.shapes.xy.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (pred.captions, pred.text, pred.problems) == (("cup",), "{", ("cut off",))
    assert (pred.scores, pred.summary, pred.finish, pred.source) == ((), None, None, None)
    assert pred.where == "pred.jsonl:1"


def test_byte_order_mark_blank_lines_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "pred.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r\n\r\n" + json.dumps(LINE).encode())
    assert [pred.where for pred in read_predictions(path)] == ["pred.jsonl:1", "pred.jsonl:3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, r"images must hold one path, not 0"),
        ({"images": ["a", "b"]}, r"images must hold one path, not 2"),
        ({"width": 0}, r"width must be an integer >= 1"),
        ({"width": "100"}, r"width must be a whole number, not text$"),
        ({"objects": [{"bbox_2d": [1, 2, 3, 4]}]}, r"objects\[0\]\.desc must be a string, not null"),
        ({"objects": [{"desc": "a"}]}, r"objects\[0\]: object must have exactly one"),
        ({"objects": [{"desc": "a", "bbox_2d": [3, 2, 1, 4]}]}, r"objects\[0\]: bbox_2d must have x1 < x2"),
        ({"objects": [{**LINE["objects"][0], "score": True}]}, r"objects\[0\]\.score must be .* 0\.\.1, not true"),
        ({"objects": [{**LINE["objects"][0], "score": 1.5}]}, r"objects\[0\]\.score must be .* 0\.\.1, not 1\.5"),
        ({"problems": "x"}, r"problems must be a list, not text$"),
        ({"finish": "end"}, r'finish must be stop or length, not "end"$'),
        ({"source": {"file": "a.jsonl"}}, r"source\.line must be given$"),
        ({"text": None}, r"text must be text, not null$"),
        ({"dropped": 3}, r"dropped must be an object, not a whole number$"),
        ({"dropped": {"repeats": "x"}}, r"dropped\.repeats must be a whole number, not text$"),
        ({"dropped": {"repeats": -1}}, r"dropped\.repeats must be within 0\.\.2147483647, not -1$"),
        (
            {"dropped": {"overlaps": 10**18}},
            r"dropped\.overlaps must be within 0\.\.2147483647, not 1000000000000000000$",
        ),
        ({"source": {"file": "a.jsonl", "line": "1"}}, r"source\.line must be a whole number, not text$"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "pred.jsonl", LINE, {**LINE, **change})
    with pytest.raises(RecordError, match=r"^pred\.jsonl:2: .*" + message):
        list(read_predictions(path))


def test_a_line_without_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps(LINE).encode()
    path = tmp_path / "pred.jsonl"
    path.write_bytes(line + b"\n" + 9 * line)
    for module in (jsonl, json_line):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", len(line))
    with pytest.raises(
        RecordError, match=rf"^pred\.jsonl:2: line must be at most {len(line)} bytes, not {len(line) + 1}"
    ):
        list(read_predictions(path))


def test_a_line_nested_too_deep_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pred.jsonl"
    path.write_bytes(json.dumps({**LINE, "objects": ["HERE"]}).replace('"HERE"', '{"a":' * 100_000).encode())
    with pytest.raises(RecordError, match=r"^pred\.jsonl:1: column 1: line must not be nested deeper than 64 levels$"):
        list(read_predictions(path))


def test_torn_line_and_bad_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pred.jsonl"
    for tail in (b'{"images": ["a.j', b'{"images": ["\xff"]}'):
        path.write_bytes(json.dumps(LINE).encode() + b"\n" + tail)
        with pytest.raises(RecordError, match=r"^pred\.jsonl:2: column \d+: line must be (JSON|UTF-8)"):
            list(read_predictions(path))


def test_missing_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.jsonl: predictions must exist\. Run dcap predict first"):
        list(read_predictions(tmp_path / "none.jsonl"))


def test_one_caption_and_one_score_per_shape() -> None:
    with pytest.raises(RecordError, match=r"one caption per shape .* not 1 captions and 0 scores for 2 shapes"):
        Prediction("a", Canvas(1, 1), SHAPES, ("x",))
    with pytest.raises(RecordError, match="not 2 captions and 1 scores for 2 shapes"):
        Prediction("a", Canvas(1, 1), SHAPES, ("x", "y"), (0.5,))
