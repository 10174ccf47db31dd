"""Two runs on the same images: which is better, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.core.errors import ConfigError, RecordError
from dcap.evaluate.comparison import Comparison, Difference, compare_runs
from dcap.evaluate.evaluation import Evaluation, evaluate
from dcap.evaluate.report import comparison_grid
from support.score_cases import CUP, ROAD, record, write_lines

MISS: dict[str, Any] = {"desc": "cup", "bbox_2d": [60, 10, 90, 50]}


def run(folder: Path, pred: list[list[dict[str, Any]]], name: str = "pred.jsonl") -> Evaluation:
    """Score answers to images that each have one cup, and one of them a road."""
    truth = [record(f"{i}.jpg", CUP, *([ROAD] if not i else [])) for i in range(len(pred))]
    lines = [record(f"{i}.jpg", *objects) for i, objects in enumerate(pred)]
    return evaluate([write_lines(folder / "truth.jsonl", truth)], write_lines(folder / name, lines))


def named(comparison: Comparison, name: str) -> Difference:
    (found,) = [each for each in comparison.differences if each.name == name]
    return found


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    a = run(tmp_path, [[CUP] if i % 3 else [MISS] for i in range(20)])
    found = compare_runs(a, a, resamples=200)
    assert all((d.low, d.high, d.b_is_higher, d.verdict) == (0.0, 0.0, 0.0, "not clear") for d in found.differences)
    assert found.images == (0, 20, 0)


def test_ends_are_the_scores_of_both_runs(tmp_path: Path) -> None:
    a = run(tmp_path, [[CUP, ROAD], [MISS], [CUP], []])
    b = run(tmp_path, [[CUP], [{**CUP, "desc": "mug", "bbox_2d": [10, 10, 50, 48]}], [CUP, MISS], [CUP]])
    found = compare_runs(a, b, resamples=10)
    for side, evaluation in (("a", a), ("b", b)):
        total = evaluation.total.to_dict()
        expected = {
            "F1 of all objects, 0.50": total["objects"]["f1"],
            "F1 of boxes and polygons, 0.50": total["regions"]["0.50"]["f1"],
            "F1 of boxes and polygons, 0.75": total["regions"]["0.75"]["f1"],
            "F1 of boxes and polygons, 0.50:0.95": total["regions"]["0.50:0.95"]["f1"],
            "F1 of boxes and polygons with equal caption, 0.50": total["regions_with_caption"]["0.50"]["f1"],
            "F1 of boxes and polygons with equal caption, 0.50:0.95": total["regions_with_caption"]["0.50:0.95"]["f1"],
            "F1 of lines, by length": total["lines"]["f1"],
        }
        assert {d.name: getattr(d, side) for d in found.differences} == pytest.approx(expected)


def test_a_run_that_finds_more_everywhere_is_better(tmp_path: Path) -> None:
    a, b = run(tmp_path, [[CUP] if i % 2 else [] for i in range(40)]), run(tmp_path, [[CUP]] * 40)
    found = named(compare_runs(a, b, resamples=300), "F1 of boxes and polygons, 0.50")
    assert (found.verdict, found.b) == ("B is better", 1.0)
    assert found.low > 0.1
    turned = named(compare_runs(b, a, resamples=300), found.name)
    assert turned.verdict == "A is better"
    assert (turned.low, turned.high, turned.b_is_higher) == (-found.high, -found.low, 0.0)


def test_one_lucky_image_decides_nothing(tmp_path: Path) -> None:
    a, b = run(tmp_path, [[CUP]] * 39 + [[]]), run(tmp_path, [[CUP]] * 40)
    found = named(compare_runs(a, b, resamples=500), "F1 of all objects, 0.50")
    assert found.b > found.a
    assert found.verdict == "not clear"
    assert 0.4 < found.b_is_higher < 0.9


def test_the_spread_is_that_of_the_mean(tmp_path: Path) -> None:
    """Each image adds an object that A never finds and B finds in half of them: recall is a mean over images."""
    n = 100
    b = run(tmp_path, [[CUP] if i % 2 else [MISS] for i in range(n)])
    a = run(tmp_path, [[MISS]] * n)
    found = named(compare_runs(a, b, resamples=2000), "F1 of boxes and polygons, 0.50")
    half = 1.96 * np.sqrt(0.25 / n)
    assert (found.low, found.high) == (pytest.approx(0.5 - half, abs=0.015), pytest.approx(0.5 + half, abs=0.015))


def test_the_seed_alone_decides_the_draws(tmp_path: Path) -> None:
    a, b = (
        run(tmp_path, [[CUP] if i % 3 else [] for i in range(30)]),
        run(tmp_path, [[CUP] if i % 2 else [] for i in range(30)]),
    )
    assert compare_runs(a, b, resamples=100) == compare_runs(a, b, resamples=100)
    assert compare_runs(a, b, resamples=100).differences != compare_runs(a, b, resamples=100, seed=1).differences


def test_lines_are_compared_where_there_are_some(tmp_path: Path) -> None:
    truth = write_lines(tmp_path / "boxes.jsonl", [record("a.jpg", CUP)])
    a = evaluate([truth], truth)
    assert not any("lines" in d.name for d in compare_runs(a, a, resamples=5).differences)


def test_ap_is_compared_by_its_own_bootstrap(tmp_path: Path) -> None:
    pytest.importorskip("hotcoco", reason="the extra eval brings it")
    sure = [[{**CUP, "score": 0.9}, {**MISS, "score": 0.1}]] * 30
    unsure = [[{**CUP, "score": 0.1}, {**MISS, "score": 0.9}]] * 30
    a, b = run(tmp_path, unsure), run(tmp_path, sure)
    found = compare_runs(a, b, ap=True, resamples=50)
    assert named(found, "F1 of all objects, 0.50").verdict == "not clear"
    ap = named(found, "AP of boxes")
    assert (ap.a, ap.b, ap.verdict) == (pytest.approx(0.5), pytest.approx(1.0), "B is better")
    with pytest.raises(RecordError, match="each object must have a score for AP"):
        compare_runs(a, run(tmp_path, [[CUP]] * 30), ap=True, resamples=5)


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    a, b = run(tmp_path, [[CUP]]), run(tmp_path, [[CUP], [CUP]])
    with pytest.raises(RecordError, match="both runs must be scored against the same true records"):
        compare_runs(a, b)
    with pytest.raises(ConfigError, match="resamples must be at least 1, not 0"):
        compare_runs(a, a, resamples=0)
    none = write_lines(tmp_path / "none.jsonl", [])
    empty = evaluate([none], none)
    with pytest.raises(ConfigError, match="runs must have at least one image"):
        compare_runs(empty, empty)


def test_the_table_says_what_it_means(tmp_path: Path) -> None:
    a, b = run(tmp_path, [[], [CUP]]), run(tmp_path, [[CUP], [CUP]])
    found = compare_runs(a, b, resamples=50)
    grid = comparison_grid(found)
    assert grid.rows[1][:4] == ("F1 of boxes and polygons, 0.50", "0.667", "1.000", "+0.333")
    assert grid.rows[1][-1] == "not clear"
    assert "fewer than 30 images: the intervals are too narrow" in grid.notes
    assert "F1 of all objects is higher in B on 1 image, in A on 0, and equal on 1" in grid.notes
    assert found.to_dict()["images"] == {"a_is_better": 0, "equal": 1, "b_is_better": 1}
