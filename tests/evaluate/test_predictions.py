import json

import pytest

from dcap.core.errors import RecordError
from dcap.evaluate.predictions import pair_up, read_predictions

LINE = {"images": ["a.jpg"], "width": 100, "height": 80, "objects": [{"desc": "cup", "bbox_2d": [1, 2, 3, 4]}]}


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_reads_shapes_captions_problems_and_place(tmp_path):
    path = write(tmp_path / "pred.jsonl", {**LINE, "text": "{", "problems": ["cut off"], "other": 1})
    (pred,) = read_predictions(path)
    assert pred.image == "a.jpg"
    assert (pred.canvas.width, pred.canvas.height) == (100, 80)
    assert pred.shapes.xy.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (pred.captions, pred.text, pred.problems) == (("cup",), "{", ("cut off",))
    assert pred.where == "pred.jsonl:1"


def test_byte_order_mark_blank_lines_and_crlf_are_accepted(tmp_path):
    path = tmp_path / "pred.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r\n\r\n" + json.dumps(LINE).encode())
    assert [pred.where for pred in read_predictions(path)] == ["pred.jsonl:1", "pred.jsonl:3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, r"images must hold one path, not 0"),
        ({"images": ["a", "b"]}, r"images must hold one path, not 2"),
        ({"width": 0}, r"width must be an integer >= 1"),
        ({"width": "100"}, r"\$\.width"),
        ({"objects": [{"bbox_2d": [1, 2, 3, 4]}]}, r"objects\[0\]\.desc must be a string, not None"),
        ({"objects": [{"desc": "a"}]}, r"objects\[0\]: object must have exactly one"),
        ({"objects": [{"desc": "a", "bbox_2d": [3, 2, 1, 4]}]}, r"objects\[0\]: bbox_2d must have x1 < x2"),
        ({"problems": "x"}, r"\$\.problems"),
    ],
)
def test_bad_line_is_named(tmp_path, change, message):
    path = write(tmp_path / "pred.jsonl", LINE, {**LINE, **change})
    with pytest.raises(RecordError, match=r"^pred\.jsonl:2: .*" + message):
        list(read_predictions(path))


def test_torn_line_and_bad_encoding_are_named(tmp_path):
    path = tmp_path / "pred.jsonl"
    for tail in (b'{"images": ["a.j', b'{"images": ["\xff"]}'):
        path.write_bytes(json.dumps(LINE).encode() + b"\n" + tail)
        with pytest.raises(RecordError, match=r"^pred\.jsonl:2: line must be a prediction"):
            list(read_predictions(path))


def test_missing_file_names_the_way_out(tmp_path):
    with pytest.raises(RecordError, match="Run dcap predict first"):
        list(read_predictions(tmp_path / "none.jsonl"))


def test_pairs_by_image_whatever_the_order(tmp_path):
    b = {**LINE, "images": ["sub/b.jpg"]}
    truth = write(tmp_path / "truth.jsonl", LINE, b, {**LINE, "images": ["c.jpg"]})
    pred = write(tmp_path / "pred.jsonl", {**b, "images": ["./sub/b.jpg"]}, LINE)
    pairs = pair_up([truth], pred)
    assert [pair.truth.image for pair in pairs] == ["a.jpg", "sub/b.jpg", "c.jpg"]
    assert [pair.pred and pair.pred.where for pair in pairs] == ["pred.jsonl:2", "pred.jsonl:1", None]


def test_records_of_one_image_pair_in_order(tmp_path):
    truth = write(tmp_path / "truth.jsonl", LINE, LINE)
    pred = write(tmp_path / "pred.jsonl", {**LINE, "text": "first"}, {**LINE, "text": "second"})
    assert [pair.pred.text for pair in pair_up([truth], pred)] == ["first", "second"]


def test_a_record_that_was_left_out_takes_no_other_s_answer(tmp_path):
    truth = write(tmp_path / "truth.jsonl", LINE, LINE, LINE)
    lines = [{**LINE, "text": str(n), "source": {"file": "data/truth.jsonl", "line": n}} for n in (3, 2)]
    pairs = pair_up([truth], write(tmp_path / "pred.jsonl", *lines))
    assert [pair.pred and pair.pred.text for pair in pairs] == [None, "2", "3"]


def test_unknown_image_and_surplus_prediction_are_errors(tmp_path):
    truth = write(tmp_path / "truth.jsonl", LINE)
    unknown = write(tmp_path / "pred.jsonl", LINE, {**LINE, "images": ["z.jpg"]})
    with pytest.raises(RecordError, match=r"pred\.jsonl:2: image must be one of the truth, not 'z\.jpg'"):
        pair_up([truth], unknown)
    twice = write(tmp_path / "twice.jsonl", LINE, LINE)
    with pytest.raises(RecordError, match=r"twice\.jsonl:2: image must be one of the truth"):
        pair_up([truth], twice)


def test_other_size_is_an_error(tmp_path):
    truth = write(tmp_path / "truth.jsonl", LINE)
    pred = write(tmp_path / "pred.jsonl", {**LINE, "width": 80, "height": 100})
    with pytest.raises(RecordError, match=r"pred\.jsonl:1: size must be 100 x 80 as in truth\.jsonl:1, not 80 x 100"):
        pair_up([truth], pred)
