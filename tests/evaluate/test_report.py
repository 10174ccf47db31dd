"""The report of an evaluation: tables, page, JSON, sheet."""

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

from dcap.evaluate.categories import CategoryRule
from dcap.evaluate.evaluation import Evaluation, evaluate
from dcap.evaluate.metrics import ScoreOptions
from dcap.evaluate.report import (
    SIDE,
    evaluation_page,
    evaluation_tree,
    score_grids,
    score_sheet,
    summary_line,
    sweep_curves,
    worst_grid,
    write_json,
)
from dcap.view.tables import Grid, print_grid
from support.score_cases import CUP, ROAD, record, write_evaluated, write_lines


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_evaluated(tmp_path)


def shown(grids: Sequence[Grid]) -> str:
    """Return tables as they are printed."""
    with open("/dev/null", "w") as nowhere:
        console = Console(width=160, record=True, file=nowhere)
        for grid in grids:
            print_grid(grid, console)
        return console.export_text()


def evaluated(
    folder: Path, truth: Sequence[dict[str, Any]], pred: Sequence[dict[str, Any]], **options: Any
) -> Evaluation:
    a, b = write_lines(folder / "t.jsonl", truth), write_lines(folder / "p.jsonl", pred)
    return evaluate([a], b, ScoreOptions(**options))


def test_the_last_line_has_the_score_of_each_kind(tmp_path: Path) -> None:
    truth = [record("a.jpg", CUP, ROAD), record("b.jpg", CUP)]
    assert summary_line(evaluated(tmp_path, truth, [record("a.jpg", CUP, ROAD), record("b.jpg")])) == (
        "F1 at IoU 0.5 in 2 images: boxes 0.67, lines 1.00"
    )
    nothing = [record("a.jpg")]
    assert summary_line(evaluated(tmp_path, nothing, nothing)) == "F1 at IoU 0.5 in 1 image: no objects"


def test_one_row_per_true_record_in_its_order(files: tuple[Path, Path]) -> None:
    rows = evaluation_tree(evaluate([files[0]], files[1]))["images"]
    assert [row["image"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [row["f1"] for row in rows] == [1.0, 0.0, 0.0, 1.0]
    assert [row["answered"] for row in rows] == [True, True, False, True]
    assert rows[1]["problems"] == ["[red] cut off at 90"]
    assert rows[0]["source"] == "truth.jsonl:1"


def test_json_reads_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    tree = evaluation_tree(evaluate([files[0]], files[1]))
    write_json(tree, tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text()) == tree
    assert not list(tmp_path.glob(".*"))


def test_tables_show_the_numbers_and_names_as_they_are(files: tuple[Path, Path]) -> None:
    report = evaluate([files[0]], files[1])
    text = shown([*score_grids(report), worst_grid(report, 2)])
    assert "0.400" in text
    assert "0.667" in text
    assert "[red] cut off at 90" in text
    assert "no answer" in text
    assert "lines, length within 10 px" in text
    assert "lines, length within 0.01 of the diagonal" in text


def grid_named(grids: Sequence[Grid], title: str) -> Grid:
    (found,) = [grid for grid in grids if grid.title.startswith(title)]
    return found


def test_a_mean_over_nothing_is_a_dash(files: tuple[Path, Path], tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_bytes(b"")
    answers = grid_named(score_grids(evaluate([nothing], nothing)), "answers")
    assert [row[1] for row in answers.rows] == ["-", "-", "0", "-", "-", "-", "-", "-"]
    some = grid_named(score_grids(evaluate([files[0]], files[1])), "answers")
    assert "-" not in [row[1] for row in some.rows]


def test_tables_that_say_nothing_new_are_left_out(tmp_path: Path) -> None:
    alone = evaluated(tmp_path, [record("a.jpg", CUP)], [record("a.jpg", CUP)])
    assert [grid.title for grid in score_grids(alone)] == ["1 image, 1 answer", "answers", "by size"]


def test_categories_are_folded_with_their_counts(tmp_path: Path) -> None:
    objects = [{"desc": f"class=c{k}, n={k}", "bbox_2d": [9 * k, 0, 9 * k + 8, 8]} for k in range(6)]
    objects += [{"desc": "plain", "bbox_2d": [0, 20, 9, 29]}, {"desc": "class=c5", "bbox_2d": [0, 40, 9, 49]}]
    lines = [record("a.jpg", *objects)]
    report = evaluated(tmp_path, lines, lines, category=CategoryRule("key", "class"))
    grid = grid_named(score_grids(report, 2), "by category")
    names = ["c5", "(no category)", "5 others", "mean over categories in the truth"]
    assert [row[:3] for row in grid.rows] == list(zip(names, ["2", "1", "5", ""], ["2", "1", "5", ""], strict=True))
    assert grid.notes == ("pairs have one category, which is class= of the caption", "1 true object without one")
    assert not any(grid.title == "by category" for grid in score_grids(report, 0))
    attributes = grid_named(score_grids(report), "attributes")
    assert attributes.rows == (("class", "7", "7", "7", "1.000", "1.000"), ("n", "6", "6", "6", "1.000", "1.000"))
    categories = evaluation_tree(report)["by_category"]["categories"]
    assert sum(each["truth"] for each in categories) == 8


def test_thresholds_are_shown_where_there_are_scores(tmp_path: Path) -> None:
    sure, unsure = {**CUP, "score": 0.75}, {"desc": "mug", "bbox_2d": [60, 10, 90, 50], "score": 0.25}
    report = evaluated(tmp_path, [record("a.jpg", CUP)], [record("a.jpg", sure, unsure)])
    grid = grid_named(score_grids(report), "by least score")
    assert grid.rows == (
        ("0.750000", "1", "1.000", "1.000", "1.000", "best"), ("0.250000", "2", "0.500", "1.000", "0.667", ""),
    )  # fmt: skip
    tree = evaluation_tree(report)["score_thresholds"]
    assert tree["objects"]["best"]["score"] == 0.75
    by_score, by_recall = sweep_curves(report.counts)
    assert by_recall.lines == (("precision", ((1.0, 1.0), (1.0, 0.5))),)
    page = evaluation_page("scores", score_grids(report), [by_score, by_recall])
    assert page.count('<path class="curve') == 4
    assert "M225.0 0.0L75.0 100.0" in page  # precision, from 1 at 0.75 to 0.5 at 0.25


def test_a_prediction_without_a_score_is_told(tmp_path: Path) -> None:
    sure = {**CUP, "score": 0.75}
    truth = [record("a.jpg", CUP), record("b.jpg", CUP)]
    report = evaluated(tmp_path, truth, [record("a.jpg", sure), record("b.jpg", sure, ROAD)])
    notes = grid_named(score_grids(report), "by least score").notes
    assert notes == ("1 of 2 images have predictions without a score, so there are no thresholds",)
    assert evaluation_tree(report)["score_thresholds"] == {"objects": None, "in_category": None}
    assert sweep_curves(report.counts) == []


def test_a_page_escapes_what_comes_from_files(tmp_path: Path) -> None:
    truth = [record("a.jpg", {**CUP, "desc": "<script>x</script>"}, CUP)]
    report = evaluated(tmp_path, truth, truth)
    page = evaluation_page("scores", score_grids(report))
    assert "<script>" not in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page


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


def greys_of(sheet: npt.NDArray[np.uint8]) -> tuple[list[int], npt.NDArray[np.uint8]]:
    """Return the greys of the sheet's pictures, from the top."""
    column = sheet[:, 14 + SIDE - 20, 0]
    return [value for value in (40, 80, 120, 160) if (column == value).sum() > 100], column


def test_worst_come_first_then_the_best_and_none_twice(drawn: Evaluation) -> None:
    for worst, best, expected in ((1, 1, {40, 160}), (2, 0, {40, 80}), (0, 2, {120, 160}), (9, 9, {40, 80, 120, 160})):
        greys, column = greys_of(score_sheet(drawn, worst, best))
        assert set(greys) == expected
    first = [int(np.flatnonzero(column == value)[0]) for value in (40, 80, 120, 160)]
    assert first == sorted(first)


def test_nothing_to_show_is_refused(drawn: Evaluation) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        score_sheet(drawn, 0, 0)
