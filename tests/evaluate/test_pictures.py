import json

import numpy as np
import pytest
from PIL import Image

from dcap.evaluate.pictures import SIDE, score_sheet
from dcap.evaluate.report import evaluate

CUP = {"desc": "cup", "bbox_2d": [10, 10, 40, 40]}


@pytest.fixture
def report(tmp_path):
    """Four images, each of its own grey; the last two are found, the first has no answer."""
    truth, pred = [], []
    for i in range(4):
        Image.new("RGB", (100, 50), (40 * i + 40,) * 3).save(tmp_path / f"{i}.png")
        record = {"images": [f"{i}.png"], "width": 100, "height": 50, "objects": [CUP]}
        truth.append(record)
        if i:
            pred.append({**record, "objects": [CUP] if i > 1 else [], "problems": ["<torn>"], "text": "{" * 1000})
    for name, lines in (("truth.jsonl", truth), ("pred.jsonl", pred)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return evaluate([tmp_path / "truth.jsonl"], tmp_path / "pred.jsonl")


def shown(sheet):
    """Return the greys of the sheet's pictures, from the top."""
    column = sheet[:, 14 + SIDE - 20, 0]
    return [value for value in (40, 80, 120, 160) if (column == value).sum() > 100], column


def test_worst_come_first_then_the_best_and_none_twice(report):
    for worst, best, expected in ((1, 1, {40, 160}), (2, 0, {40, 80}), (0, 2, {120, 160}), (9, 9, {40, 80, 120, 160})):
        greys, column = shown(score_sheet(report, worst, best))
        assert set(greys) == expected
    first = [int(np.flatnonzero(column == value)[0]) for value in (40, 80, 120, 160)]
    assert first == sorted(first)


def test_nothing_to_show_is_refused(report):
    with pytest.raises(ValueError, match="at least one picture"):
        score_sheet(report, 0, 0)
