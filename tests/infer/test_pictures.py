import json

from dcap.infer.pictures import SIDE, prediction_sheet


def lines(photos, *numbers):
    out = photos.parent / "pred.jsonl"
    text = [
        {"objects": [{"desc": "杯子", "bbox_2d": [1, 1, 9, 9]}] if n % 2 else [], "text": "<no> JSON",
         "problems": ["what"], "source": {"file": str(photos), "line": n}}
        for n in numbers
    ]  # fmt: skip
    out.write_text("".join(json.dumps(line) + "\n" for line in text))
    return out


def test_one_row_per_prediction_up_to_the_limit(photos):
    out = lines(photos, 1, 2, 5)
    heights = [prediction_sheet(out, [photos], n).shape[0] for n in (1, 2, 3, 9)]
    assert heights[0] < heights[1] < heights[2] == heights[3]
    assert prediction_sheet(out, [photos], 3).shape[1] == 2 * SIDE + 3 * 14


def test_an_empty_file_gives_no_sheet(photos):
    assert prediction_sheet(lines(photos), [photos], 5) is None
