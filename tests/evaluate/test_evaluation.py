"""Evaluations of files, records and objects, and their tables, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from rich.console import Console

from dcap.answers.prediction import Prediction, read_predictions
from dcap.core.errors import RecordError
from dcap.evaluate.evaluation import (
    SIDE,
    Evaluation,
    answer_table,
    evaluate,
    score,
    score_sheet,
    score_table,
    worst_table,
    write_json,
)
from dcap.evaluate.metrics import ScoreOptions, Scores
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records.files.jsonl import JsonlFile

CUP = {"desc": "cup", "bbox_2d": [10, 10, 50, 50]}
ROAD = {"desc": "road", "line": [0, 70, 99, 70]}


def record(name: str, *objects: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"images": [name], "width": 100, "height": 80, "objects": list(objects), **more}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    def write(name: str, lines: Sequence[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        return path

    truth = [record("a.jpg", CUP, ROAD), record("b.jpg", CUP), record("c.jpg", CUP), record("d.jpg")]
    pred = [
        record("d.jpg"),
        record("a.jpg", CUP, ROAD),
        record("b.jpg", {"desc": "cup", "bbox_2d": [60, 10, 90, 50]}, problems=["[red] cut off at 90"]),
    ]
    return write("truth.jsonl", truth), write("pred.jsonl", pred)


def test_missing_answers_count_as_empty_and_are_reported(files: tuple[Path, Path]) -> None:
    total = evaluate([files[0]], files[1]).to_dict()["total"]
    assert (total["images"], total["answers"], total["missing_answers"]) == (4, 3, 1)
    assert total["parse_rate"] == pytest.approx(2 / 3)
    assert total["regions"]["0.50"] == {
        "precision": pytest.approx(1 / 2),
        "recall": pytest.approx(1 / 3),
        "f1": pytest.approx(0.4),
    }
    assert total["objects"]["recall"] == pytest.approx(2 / 4)


def test_one_row_per_true_record_in_its_order(files: tuple[Path, Path]) -> None:
    rows = evaluate([files[0]], files[1]).to_dict()["images"]
    assert [row["image"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [row["f1"] for row in rows] == [1.0, 0.0, 0.0, 1.0]
    assert [row["answered"] for row in rows] == [True, True, False, True]
    assert rows[1]["problems"] == ["[red] cut off at 90"]
    assert rows[0]["source"] == "truth.jsonl:1"


def test_several_truth_files_add_up(files: tuple[Path, Path], tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(record("e.jpg", CUP)) + "\n")
    assert evaluate([files[0], more], files[1]).total.images == 5


def test_order_of_the_predictions_does_not_matter(files: tuple[Path, Path], tmp_path: Path) -> None:
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(reversed(files[1].read_text().splitlines(keepends=True))))
    assert evaluate([files[0]], turned).to_dict() == evaluate([files[0]], files[1]).to_dict()


def test_worst_comes_first_and_ties_keep_the_order(files: tuple[Path, Path]) -> None:
    report = evaluate([files[0]], files[1])
    assert [result.pair.truth.image for result in report.worst(3)] == ["b.jpg", "c.jpg", "a.jpg"]


def test_json_reads_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    report = evaluate([files[0]], files[1])
    write_json(report, tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text()) == report.to_dict()
    assert not list(tmp_path.glob(".*"))


def test_tables_show_the_numbers_and_names_as_they_are(files: tuple[Path, Path]) -> None:
    report = evaluate([files[0]], files[1])
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        for table in (score_table(report), answer_table(report), worst_table(report, 2)):
            console.print(table)
        text = console.export_text()
    assert "0.400" in text
    assert "0.667" in text
    assert "[red] cut off at 90" in text
    assert "no answer" in text
    assert "lines, length within 10 px" in text


def test_a_mean_over_nothing_is_a_dash(files: tuple[Path, Path], tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_bytes(b"")
    cells = [list(column.cells) for column in answer_table(evaluate([nothing], nothing)).columns]
    assert cells[1] == ["-", "0", "-", "-", "-", "-"]
    assert "-" not in [cell for column in answer_table(evaluate([files[0]], files[1])).columns for cell in column.cells]


def test_no_images_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    total = evaluate([empty], empty).to_dict()["total"]
    assert (total["images"], total["parse_rate"], total["objects"]["f1"]) == (0, 0.0, 1.0)


SMALL_CUP = {"desc": "cup", "bbox_2d": [10, 10, 40, 40]}


@pytest.fixture
def drawn(tmp_path: Path) -> Evaluation:
    """Four images, each of its own grey; the last two are found, the first has no answer."""
    truth, pred = [], []
    for i in range(4):
        Image.new("RGB", (100, 50), (40 * i + 40,) * 3).save(tmp_path / f"{i}.png")
        record = {"images": [f"{i}.png"], "width": 100, "height": 50, "objects": [SMALL_CUP]}
        truth.append(record)
        if i:
            pred.append({**record, "objects": [SMALL_CUP] if i > 1 else [], "problems": ["<torn>"], "text": "{" * 1000})
    for name, lines in (("truth.jsonl", truth), ("pred.jsonl", pred)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return evaluate([tmp_path / "truth.jsonl"], tmp_path / "pred.jsonl")


def shown(sheet: npt.NDArray[np.uint8]) -> tuple[list[int], npt.NDArray[np.uint8]]:
    """Return the greys of the sheet's pictures, from the top."""
    column = sheet[:, 14 + SIDE - 20, 0]
    return [value for value in (40, 80, 120, 160) if (column == value).sum() > 100], column


def test_worst_come_first_then_the_best_and_none_twice(drawn: Evaluation) -> None:
    for worst, best, expected in ((1, 1, {40, 160}), (2, 0, {40, 80}), (0, 2, {120, 160}), (9, 9, {40, 80, 120, 160})):
        greys, column = shown(score_sheet(drawn, worst, best))
        assert set(greys) == expected
    first = [int(np.flatnonzero(column == value)[0]) for value in (40, 80, 120, 160)]
    assert first == sorted(first)


def test_nothing_to_show_is_refused(drawn: Evaluation) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        score_sheet(drawn, 0, 0)


def test_files_score_as_the_command_does(files: tuple[Path, Path]) -> None:
    expected = evaluate([files[0]], files[1]).total
    assert score(str(files[0]), str(files[1])) == expected
    assert score([files[0]], files[1]) == expected


def test_images_score_one_to_one_whatever_they_are(files: tuple[Path, Path]) -> None:
    records = list(JsonlFile(files[0]))
    by_image = {each.image: each for each in read_predictions(files[1])}
    predictions = [by_image.get(each.image) for each in records]
    expected = evaluate([files[0]], files[1]).total
    assert score(records, predictions) == expected
    plain = [json.loads(line) for line in files[0].read_text().splitlines()]
    answers = [None if each is None else each.to_dict() for each in predictions]
    assert score(plain, answers) == expected
    assert score(records, records).objects.f1 == 1.0


def test_objects_of_one_image() -> None:
    found = score([CUP, ROAD], [CUP])
    assert (found.images, found.answers, found.clean_answers) == (1, 1, 1)
    assert (found.objects.precision, found.objects.recall) == (1.0, 0.5)
    assert score([], [CUP]).objects.precision == 0.0
    assert score([ROAD], [{**ROAD, "line": [0, 73, 99, 73]}], ScoreOptions(line_tolerance_px=2.0)).lines.f1 == 0.0
    assert score([], []) == Scores()


@pytest.mark.parametrize(
    ("truth", "pred", "message"),
    [
        ([{"objects": []}], [], "pred must have one entry per image of truth, 1, not 0"),
        ([CUP], [{"desc": "cup"}], r"pred\[0\]: objects\[0\]: object must have exactly one"),
        ([{"bbox_2d": [1, 2, 3, 4]}], [CUP], r"truth\[0\]: objects\[0\]\.desc must be a string, not null"),
        (
            [{"objects": []}],
            ["pred.jsonl"],
            r'pred\[0\] must be a record, a prediction or a dict with objects, not "pred.jsonl"',
        ),
        ("val.jsonl", [], "pred must be a file when truth is a file"),
        ([{"objects": []}], "pred.jsonl", "truth must be a file or files when pred is a file"),
    ],
)
def test_sides_that_do_not_belong_together(truth: Any, pred: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        score(truth, pred)


def test_problems_of_a_prediction_count() -> None:
    bad = Prediction("a.jpg", Canvas(80, 100), ShapeArray.empty(), (), problems=("torn",))
    found = score([record("a.jpg"), record("b.jpg")], [bad, None])
    assert (found.images, found.answers, found.clean_answers) == (2, 1, 0)
