"""Objects of an image, what is counted on them, and files of records and predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dcap.evaluate.counting import ImageCount, Side, count_image
from dcap.evaluate.metrics import ScoreOptions, Scores
from dcap.geometry.shapes import ShapeArray

CUP = {"desc": "cup", "bbox_2d": [10, 10, 50, 50]}
ROAD = {"desc": "road", "line": [0, 70, 99, 70]}


def box(x1: float, y1: float, x2: float, y2: float, desc: str = "cup") -> dict[str, Any]:
    return {"bbox_2d": [x1, y1, x2, y2], "desc": desc}


def line(*numbers: float, desc: str = "road") -> dict[str, Any]:
    return {"line": list(numbers), "desc": desc}


def side(objects: Sequence[dict[str, Any]], scores: Sequence[float | None] = ()) -> Side:
    return Side(ShapeArray.from_objects(objects), [each["desc"] for each in objects], scores)


def count_all(
    truth: Sequence[dict[str, Any]],
    pred: Sequence[dict[str, Any]],
    scores: Sequence[float | None] = (),
    diagonal: float | None = None,
    **options: Any,
) -> ImageCount:
    return count_image(side(truth), side(pred, scores), ScoreOptions(**options), diagonal)


def count(truth: Sequence[dict[str, Any]], pred: Sequence[dict[str, Any]], **choices: Any) -> Scores:
    return count_all(truth, pred, **choices).scores


def record(name: str, *objects: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"images": [name], "width": 100, "height": 80, "objects": list(objects), **more}


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def write_evaluated(folder: Path) -> tuple[Path, Path]:
    """Write four records, and predictions: a perfect one, a wrong one with a problem, none, and an empty one."""
    truth = [record("a.jpg", CUP, ROAD), record("b.jpg", CUP), record("c.jpg", CUP), record("d.jpg")]
    pred = [
        record("d.jpg"),
        record("a.jpg", CUP, ROAD),
        record("b.jpg", {"desc": "cup", "bbox_2d": [60, 10, 90, 50]}, problems=["[red] cut off at 90"]),
    ]
    return write_lines(folder / "truth.jsonl", truth), write_lines(folder / "pred.jsonl", pred)
