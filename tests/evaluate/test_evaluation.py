"""Evaluations of files, records and objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.prediction import Dropped, Prediction, read_predictions
from dcap.core.errors import RecordError
from dcap.evaluate.evaluation import evaluate, score
from dcap.evaluate.metrics import ScoreOptions, Scores
from dcap.evaluate.repeats import Pruning
from dcap.evaluate.report import evaluation_tree
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records.files.jsonl import JsonlFile
from support.score_cases import CUP, ROAD, box, record, write_evaluated, write_lines


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_evaluated(tmp_path)


def test_missing_answers_count_as_empty_and_are_reported(files: tuple[Path, Path]) -> None:
    total = evaluate([files[0]], files[1]).total.to_dict()
    assert (total["images"], total["answers"], total["missing_answers"]) == (4, 3, 1)
    assert total["parse_rate"] == pytest.approx(2 / 3)
    assert total["regions"]["0.50"] == {
        "precision": pytest.approx(1 / 2),
        "recall": pytest.approx(1 / 3),
        "f1": pytest.approx(0.4),
    }
    assert total["objects"]["recall"] == pytest.approx(2 / 4)


def test_several_truth_files_add_up(files: tuple[Path, Path], tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(record("e.jpg", CUP)) + "\n")
    assert evaluate([files[0], more], files[1]).total.images == 5


def test_order_of_the_predictions_does_not_matter(files: tuple[Path, Path], tmp_path: Path) -> None:
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(reversed(files[1].read_text().splitlines(keepends=True))))
    assert evaluation_tree(evaluate([files[0]], turned)) == evaluation_tree(evaluate([files[0]], files[1]))


def test_worst_comes_first_and_ties_keep_the_order(files: tuple[Path, Path]) -> None:
    report = evaluate([files[0]], files[1])
    assert [result.pair.truth.image for result in report.worst(3)] == ["b.jpg", "c.jpg", "a.jpg"]


def test_no_images_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    total = evaluate([empty], empty).total.to_dict()
    assert (total["images"], total["parse_rate"], total["objects"]["f1"]) == (0, 0.0, 1.0)


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


def test_what_was_dropped_before_still_counts_as_a_repeat() -> None:
    once = Prediction("a.jpg", Canvas(80, 100), ShapeArray.from_objects([CUP]), ("cup",), dropped=Dropped(repeats=2))
    found = score([record("a.jpg", CUP)] * 3, [once, record("a.jpg", CUP, CUP), record("a.jpg", CUP, ROAD)])
    assert (found.repeats, found.unrepeated_answers, found.answers) == (3, 1, 3)
    assert found.to_dict()["no_repeat"] == {"share": pytest.approx(1 / 3), "repeats": 3}


def test_objects_are_dropped_before_they_count(tmp_path: Path) -> None:
    truth = write_lines(tmp_path / "truth.jsonl", [record("a.jpg", CUP)])
    sure, twin = {**CUP, "score": 0.9}, {**CUP, "bbox_2d": [10, 10, 50, 49], "score": 0.5}
    pred = write_lines(tmp_path / "pred.jsonl", [record("a.jpg", sure, sure, twin, {**twin, "score": 0.1})])
    assert evaluate([truth], pred).total.pred_regions == 4
    kept = evaluate([truth], pred, pruning=Pruning(repeats=True, suppress_iou=0.5, least_score=0.3))
    assert kept.total.regions().f1 == 1.0
    assert kept.total.repeats == 1
    assert evaluation_tree(kept)["total"]["dropped"] == {"repeats": 1, "overlaps": 1, "unsure": 1}


def test_lines_are_to_scale_where_a_plain_image_says_how_large_it_is() -> None:
    image = {"objects": [ROAD], "width": 300, "height": 400}
    assert score([image], [image]).lines_to_scale == score([image], [image]).lines
    assert score([{**image, "width": 2.5}], [image]).lines_to_scale is None


def test_a_shape_that_cannot_be_measured_is_named_with_its_line(tmp_path: Path) -> None:
    truth = write_lines(tmp_path / "truth.jsonl", [record("a.jpg", CUP)])
    pred = write_lines(tmp_path / "pred.jsonl", [record("a.jpg", box(-1e200, 0, 1e200, 9))])
    with pytest.raises(RecordError, match=r"^pred\.jsonl:1: coordinates must be finite and below 1e150"):
        evaluate([truth], pred)
