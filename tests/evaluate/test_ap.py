"""AP and what belongs to it, with pycocotools as the one that must agree."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.core.errors import MissingPackageError, RecordError
from dcap.evaluate.ap import AveragePrecision, average_precision, load_hotcoco
from dcap.evaluate.categories import CategoryRule
from dcap.evaluate.evaluation import Evaluation, evaluate
from dcap.evaluate.metrics import ScoreOptions
from dcap.evaluate.report import COCO_ORDER, ERRORS, ap_grids, evaluation_tree
from support.score_cases import box, line, record, write_lines

pytest.importorskip("hotcoco", reason="the extra eval brings it")

WIDTH, HEIGHT = 300, 240
CUP = box(10, 10, 60, 60)


def evaluated(folder: Path, truth: list[dict[str, Any]], pred: list[dict[str, Any]], **options: Any) -> Evaluation:
    a, b = write_lines(folder / "truth.jsonl", truth), write_lines(folder / "pred.jsonl", pred)
    return evaluate([a], b, ScoreOptions(**options))


def scored(obj: dict[str, Any], score: float) -> dict[str, Any]:
    return {**obj, "score": score}


def polygon(rng: np.random.Generator) -> list[float]:
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
    radius = rng.uniform(4, 70)
    center = rng.uniform(radius + 1, [WIDTH - radius - 1, HEIGHT - radius - 1])
    xy = center + radius * rng.uniform(0.4, 1.0, (len(angles), 1)) * np.stack([np.cos(angles), np.sin(angles)], 1)
    return [float(value) for value in xy.ravel().round(2)]


def shape(rng: np.random.Generator, polygons: bool) -> dict[str, list[float]]:
    if polygons and rng.random() < 0.6:
        return {"poly": polygon(rng)}
    x, y = rng.uniform(0, [WIDTH - 20, HEIGHT - 20])
    w, h = np.exp(rng.uniform(np.log(3), np.log(150), 2))
    return {"bbox_2d": [round(float(v), 2) for v in (x, y, min(x + w, WIDTH), min(y + h, HEIGHT))]}


def moved(rng: np.random.Generator, obj: dict[str, list[float]]) -> dict[str, list[float]]:
    """Move all points of a shape by a little, and stay inside."""
    ((key, values),) = obj.items()
    xy = np.array(values).reshape(-1, 2) + rng.normal(0, 2.5, 2)
    xy = xy.clip(0, [WIDTH, HEIGHT]).round(2)
    return {key: [float(v) for v in xy.ravel()]}


def is_legal(obj: dict[str, list[float]]) -> bool:
    xy = np.array(next(iter(obj.values()))).reshape(-1, 2)
    return bool((np.ptp(xy, axis=0) > 1.5).all()) and len(np.unique(xy, axis=0)) == len(xy)


def scene(seed: int, polygons: bool, images: int = 12) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records and predictions: hits near and far, wrong categories, twins, misses, inventions, crowds, empty images."""
    rng = np.random.default_rng(seed)
    truth, pred = [], []
    for i in range(images):
        objects, found = [], []
        for _ in range(int(rng.integers(0, 7)) if i % 5 else 0):
            obj, name = shape(rng, polygons), f"c{rng.integers(0, 4)}"
            crowd = {"attributes": {"iscrowd": 1}} if rng.random() < 0.08 else {}
            objects.append({**obj, "desc": name, **crowd})
            for _ in range(int(rng.choice([0, 1, 1, 1, 2]))):
                other = name if rng.random() < 0.8 else f"c{rng.integers(0, 5)}"
                found.append((moved(rng, obj), other))
        found += [(shape(rng, polygons), f"c{rng.integers(0, 4)}") for _ in range(int(rng.integers(0, 3)))]
        rows = [{**obj, "desc": name, "score": round(float(rng.random()), 2)} for obj, name in found if is_legal(obj)]
        size = {"width": WIDTH, "height": HEIGHT}
        truth.append({"images": [f"{i}.jpg"], **size, "objects": objects})
        pred.append({"images": [f"{i}.jpg"], **size, "objects": rows})
    return truth, pred


def reference(truth: list[dict[str, Any]], pred: list[dict[str, Any]], kind: str) -> dict[str, float | None]:
    """What pycocotools says, from the records by a way of its own."""
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def described(obj: dict[str, Any]) -> dict[str, Any]:
        xy = np.array(obj.get("poly") or obj["bbox_2d"]).reshape(-1, 2)
        (x1, y1), (x2, y2) = xy.min(0), xy.max(0)
        if "poly" in obj:
            ring, area = (
                obj["poly"],
                0.5 * abs(np.dot(xy[:, 0], np.roll(xy[:, 1], -1)) - np.dot(xy[:, 1], np.roll(xy[:, 0], -1))),
            )
        else:
            ring, area = [x1, y1, x2, y1, x2, y2, x1, y2], (x2 - x1) * (y2 - y1)
        item = {"category_id": int(obj["desc"][1:]) + 1}
        if kind == "bbox":
            return {**item, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(area)}
        return {**item, "segmentation": mask.frPyObjects([ring], HEIGHT, WIDTH)[0], "area": float(area)}

    annotations, results = [], []
    for i, (record_, answer) in enumerate(zip(truth, pred, strict=True), 1):
        for obj in record_["objects"]:
            crowd = obj.get("attributes", {}).get("iscrowd", 0)
            annotations.append({**described(obj), "id": len(annotations) + 1, "image_id": i, "iscrowd": crowd})
        for obj in answer["objects"]:
            item = described(obj)
            item.pop("area")
            results.append({**item, "image_id": i, "score": obj["score"]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {}, "annotations": annotations, "categories": [{"id": k, "name": f"c{k - 1}"} for k in range(1, 6)],
            "images": [{"id": i, "width": WIDTH, "height": HEIGHT} for i in range(1, len(truth) + 1)],
        }  # fmt: skip
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {key: None if value == -1 else float(value) for key, value in zip(COCO_ORDER, run.stats, strict=True)}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
@pytest.mark.parametrize("seed", range(6))
def test_numbers_are_those_of_pycocotools(tmp_path: Path, seed: int) -> None:
    truth, pred = scene(seed, polygons=seed % 2 == 0)
    found = average_precision(evaluated(tmp_path, truth, pred)).coco
    assert list(found) == (["boxes", "masks"] if seed % 2 == 0 else ["boxes"])
    for name, kind in (("boxes", "bbox"), ("masks", "segm")):
        if name in found:
            assert found[name] == pytest.approx(reference(truth, pred, kind), abs=1e-12)


def test_perfect_predictions(tmp_path: Path) -> None:
    truth, _ = scene(1, polygons=False)
    for each in truth:
        for obj in each["objects"]:
            obj.pop("attributes", None)
    pred = [
        {**each, "objects": [scored(obj, 0.5 + 0.01 * k) for k, obj in enumerate(each["objects"])]} for each in truth
    ]
    found = average_precision(evaluated(tmp_path, truth, pred))
    assert found.coco["boxes"]["AP"] == pytest.approx(1.0)
    assert all(value == {"boxes": pytest.approx(1.0)} for value in found.by_category.values())
    assert set(found.errors["boxes"]["delta_ap"]) == set(ERRORS)
    assert not any(found.errors["boxes"]["counts"].values())
    assert found.dense["map"] == pytest.approx(1.0)


def permuted(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**obj, "desc": {"c0": "c2", "c1": "c0", "c2": "c1"}.get(obj["desc"], obj["desc"])} for obj in objects]


def test_names_of_categories_do_not_matter(tmp_path: Path) -> None:
    truth, pred = scene(3, polygons=False)
    first = average_precision(evaluated(tmp_path, truth, pred))
    again = [[{**each, "objects": permuted(each["objects"])} for each in side] for side in (truth, pred)]
    second = average_precision(evaluated(tmp_path, *again))
    assert second.coco["boxes"] == pytest.approx(first.coco["boxes"])
    assert second.by_category["c2"] == pytest.approx(first.by_category["c0"])


def test_kinds_of_errors(tmp_path: Path) -> None:
    truth = [record("a.jpg", CUP, box(10, 100, 60, 150, "mug"), width=300, height=240)]
    wrong = [
        scored({**CUP, "desc": "mug"}, 0.9),
        scored(box(10, 120, 60, 170, "mug"), 0.8),
        scored(box(200, 9, 250, 59), 0.7),
    ]
    counts = average_precision(evaluated(tmp_path, truth, [{**truth[0], "objects": wrong}])).errors["boxes"]["counts"]
    assert counts == {"Cls": 1, "Loc": 1, "Bkg": 1, "Both": 0, "Dupe": 0, "Miss": 0}


def test_calibration_counts_all_shapes_and_needs_the_category(tmp_path: Path) -> None:
    pred = [scored(CUP, 0.75), scored(line(0, 70, 99, 70), 0.75), scored(line(0, 9, 99, 9, desc="rail"), 0.75)]
    truth = [record("a.jpg", CUP, line(0, 70, 99, 70), line(0, 9, 99, 9))]
    found = average_precision(evaluated(tmp_path, truth, [record("a.jpg", *pred)])).calibration
    (filled,) = [each for each in found["bins"] if each["count"]]
    assert filled == {"low": pytest.approx(0.7), "high": pytest.approx(0.8), "score": 0.75,
                      "right": pytest.approx(2 / 3), "count": 3}  # fmt: skip
    assert found["ece"] == pytest.approx(0.75 - 2 / 3)


def test_dense_captioning_needs_both_place_and_words(tmp_path: Path) -> None:
    truth = [record("a.jpg", box(0, 0, 10, 10, "a red cup"))]
    pred = [record("a.jpg", scored(box(0, 0, 10, 5.5, "a cup"), 0.9))]  # IoU 0.55, token F1 0.8
    dense = average_precision(evaluated(tmp_path, truth, pred)).dense
    right = [[1.0] * 5 + [0.0]] * 3 + [[0.0] * 6] * 2
    assert dense["ap"] == pytest.approx(np.array(right))
    assert dense["map"] == pytest.approx(0.5)
    assert dense["similarity"] == "token F1"


def test_every_object_needs_a_score(tmp_path: Path) -> None:
    truth = [record("a.jpg", CUP), record("b.jpg", CUP)]
    pred = [record("a.jpg", scored(CUP, 0.5)), record("b.jpg", scored(CUP, 0.5), CUP)]
    with pytest.raises(RecordError, match=r"pred\.jsonl:2: each object must have a score for AP"):
        average_precision(evaluated(tmp_path, truth, pred))


def notes_of(folder: Path, truth: list[dict[str, Any]], pred: list[dict[str, Any]]) -> str:
    return "\n".join(average_precision(evaluated(folder, truth, pred)).notes)


def test_what_ap_leaves_out_is_told(tmp_path: Path) -> None:
    truth = [record("a.jpg", CUP, line(0, 0, 9, 9))]
    assert notes_of(tmp_path, [record("a.jpg", CUP)], [record("a.jpg", scored(CUP, 0.5))]) == ""
    equal = [record("a.jpg", scored(CUP, 0.5), scored({**CUP, "desc": "mug"}, 0.5))]
    notes = notes_of(tmp_path, truth, equal)
    assert "all scores are equal" in notes
    assert "1 line of truth and predictions" in notes
    assert "1 prediction of categories that are not in the truth" in notes
    many = [record("a.jpg", *(scored(box(0, 0, 2 + k / 9, 9), k / 200) for k in range(103)))]
    assert "3 predictions beyond 100 of a category in an image" in notes_of(tmp_path, truth, many)


def test_no_prediction_at_all_is_worth_nothing(tmp_path: Path) -> None:
    found = average_precision(evaluated(tmp_path, [record("a.jpg", CUP), record("b.jpg")], [record("a.jpg")]))
    assert found.coco["boxes"]["AP"] == 0.0
    assert (found.dense["map"], found.calibration["ece"]) == (0.0, 0.0)
    nothing = average_precision(evaluated(tmp_path, [record("a.jpg")], [record("a.jpg")]))
    assert (nothing.coco["boxes"]["AP"], nothing.dense["map"], nothing.by_category) == (None, None, {})


def test_categories_follow_the_rule(tmp_path: Path) -> None:
    truth = [record("a.jpg", {**CUP, "desc": "class=cup, color=red"})]
    pred = [record("a.jpg", scored({**CUP, "desc": "class=cup, color=blue"}, 0.5))]
    assert average_precision(evaluated(tmp_path, truth, pred)).coco["boxes"]["AP"] == 0.0
    found = average_precision(evaluated(tmp_path, truth, pred, category=CategoryRule("key", "class")))
    assert found.coco["boxes"]["AP"] == pytest.approx(1.0)


def test_tables_and_json_have_it_all(tmp_path: Path) -> None:
    truth, pred = scene(2, polygons=True)
    report = evaluated(tmp_path, truth, pred)
    found: AveragePrecision = average_precision(report)
    grids = {grid.title.split(",")[0]: grid for grid in ap_grids(found, 2)}
    ap = found.coco["boxes"]["AP"]
    assert grids["average precision"].rows[0][:2] == ("AP", f"{ap:.3f}")
    lowest = grids["lowest AP by category"]
    assert len(lowest.rows) == 2
    assert lowest.notes == (f"{len(found.by_category) - 2} more with a higher AP",)
    assert grids["errors"].rows[0][0] == "wrong category"
    tree = json.loads(json.dumps(evaluation_tree(report, found)))
    assert tree["average_precision"]["coco"]["masks"]["AP50"] == found.coco["masks"]["AP50"]
    assert evaluation_tree(report)["average_precision"] is None


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(MissingPackageError, match=r'Run: pip install .*\[eval\]"'):
        load_hotcoco()
