"""Merging: a predictor that is perfect on each tile gives, merged, the objects of the image, and each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse, to_canvas, write
from dcap.answers.prediction import Finish, Prediction, parse_prediction
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import RecordError
from dcap.evaluate.lines import line_agreement
from dcap.geometry import (
    Affine,
    Canvas,
    GeometryKind,
    ShapeArray,
    TilePlan,
    Tiling,
    area_or_length,
    polygon_iou,
    transform_and_clip,
)
from dcap.geometry.shapes import rings_without_area
from dcap.infer.tile_merge import merge_tiles
from dcap.records.record import Origin

PLAN = Tiling(1000, 0.2).plan(Canvas(1000, 2600))
"""Three tiles: x 0..1000, 800..1800, 1600..2600."""
SQUARES = Tiling(1000, 0.2).plan(Canvas(1800, 1800))
"""Two rows of two tiles."""


Tiles = tuple[list[dict[str, Any]], ...]
"""Objects that each tile is said to show, in pixels of the image."""


def perfect(
    plan: TilePlan, shapes: ShapeArray, captions: Sequence[str], *, rounded: bool = False, min_coverage: float = 0.0
) -> list[Prediction]:
    """What a model that is never wrong says about each tile; rounded to the grid of answers, if asked for."""
    answers, profile = [], AnswerProfile()
    for window in plan.windows:
        cut = transform_and_clip(shapes, Affine.translation(-window.x, -window.y), window.canvas)
        keep = cut.visible_fraction >= min_coverage
        found, texts = cut.shapes.take(keep), tuple(captions[i] for i in cut.source_index[keep].tolist())
        if rounded:
            parsed = parse(write(found, texts, window.canvas, profile), profile, strict=False)
            found = to_canvas(parsed, window.canvas, profile)
            solid = ~rings_without_area(found.xy, found.offsets, found.kinds)
            found, texts = found.take(solid), tuple(t for t, s in zip(parsed.captions, solid, strict=True) if s)
        answers.append(Prediction("", window.canvas, found, texts, finish="stop"))
    return answers


def told(plan: TilePlan, *tiles: Sequence[dict[str, Any]]) -> list[Prediction]:
    """Predictions as they are given: a list of objects in pixels of the image for each tile."""
    answers = []
    for window, objects in zip(plan.windows, tiles, strict=True):
        shapes = ShapeArray.from_objects(objects)
        xy = shapes.xy - [window.x, window.y]
        shapes = ShapeArray(xy, np.array(shapes.offsets), np.array(shapes.kinds))
        captions = tuple(str(each.get("desc", "cup")) for each in objects)
        scores = tuple(each.get("score") for each in objects)
        answers.append(Prediction("", window.canvas, shapes, captions, scores if any(scores) else ()))
    return answers


def merged(plan: TilePlan, *tiles: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return merge_tiles(plan, told(plan, *tiles)).objects()


def box(*numbers: float, desc: str = "cup", score: float | None = None) -> dict[str, Any]:
    return {"desc": desc, "bbox_2d": list(numbers), "score": score}


def boxes(*numbers: list[float]) -> list[dict[str, Any]]:
    return [{"desc": "cup", "bbox_2d": each} for each in numbers]


def test_a_box_over_seams_is_one_box() -> None:
    tiles: Tiles = [box(500, 100, 1000, 300)], [box(800, 100, 1800, 300)], [box(1600, 100, 2000, 300)]
    assert merged(PLAN, *tiles) == boxes([500, 100, 2000, 300])


def test_neighbours_of_one_name_stay_apart() -> None:
    # In what both tiles show, each of the two has an IoU of 0.8 with the other one.
    tiles: Tiles = (
        [box(850, 100, 950, 200), box(850, 100, 950, 180)],
        [box(850, 100, 950, 180), box(850, 100, 950, 200)],
        [],
    )
    assert merged(PLAN, *tiles) == boxes([850, 100, 950, 200], [850, 100, 950, 180])


def test_other_captions_and_kinds_are_other_objects() -> None:
    ring = {"desc": "cup", "poly": [850, 100, 950, 100, 950, 200, 850, 200]}
    found = merged(PLAN, [box(850, 100, 950, 200)], [box(850, 100, 950, 200, desc="mug"), ring], [])
    assert [each["desc"] for each in found] == ["cup", "mug", "cup"]
    assert "poly" in found[2]


def test_far_predictions_stay_apart() -> None:
    tiles: Tiles = [box(810, 100, 850, 200)], [box(900, 100, 950, 200)], [box(2000, 100, 2100, 200)]
    assert len(merged(PLAN, *tiles)) == 3


def test_the_view_with_most_room_is_taken_of_an_object_that_several_tiles_show_whole() -> None:
    tiles: Tiles = [box(850, 100, 981, 200)], [box(852, 100, 980, 200)], []
    assert merged(PLAN, *tiles) == boxes([852, 100, 980, 200])


def test_a_sliver_beside_its_object_is_no_object() -> None:
    # The second tile sees 4 pixels of the object, and takes them for 12, or says they are beside it.
    assert merged(PLAN, [box(500, 100, 804, 300)], [box(800, 100, 812, 306)], []) == boxes([500, 100, 804, 300])
    assert merged(PLAN, [box(500, 100, 799, 300)], [box(800, 100, 802, 300)], []) == boxes([500, 100, 799, 300])
    tiles: Tiles = [{"line": [100, 500, 799.5, 500]}], [{"line": [800, 500, 804, 501]}], []
    assert merged(PLAN, *tiles) == [{"desc": "cup", "line": [100, 500, 799.5, 500]}]


def test_what_only_one_tile_sees_at_its_border_stays() -> None:
    # Nothing in the first tile is beside it.
    assert merged(PLAN, [box(500, 600, 804, 700)], [box(800, 100, 820, 300)], []) == boxes(
        [500, 600, 804, 700], [800, 100, 820, 300]
    )


def test_two_objects_of_one_tile_are_never_one() -> None:
    # The second tile takes the two for one: it is that of which it shows more.
    tiles: Tiles = [box(820, 100, 880, 200), box(884, 100, 980, 200)], [box(830, 100, 980, 200)], []
    assert merged(PLAN, *tiles) == boxes([820, 100, 880, 200], [830, 100, 980, 200])
    # Three tiles: the third agrees with one of the two objects of the first, the second with the other.
    plan = Tiling(1000, 0.7).plan(Canvas(1000, 1600))
    chain: Tiles = (
        [box(650, 100, 750, 200), box(700, 100, 800, 200)],
        [box(665, 100, 765, 200)],
        [box(690, 100, 790, 200)],
    )
    found = merged(plan, *chain)
    assert len(found) == 2
    assert all(each["bbox_2d"][2] - each["bbox_2d"][0] <= 115 for each in found)


def test_noisy_views_of_a_crowd_give_few_others() -> None:
    """Predictions a few pixels off, some of them missing: nearly each object once."""
    rng = np.random.default_rng(3)
    plan = Tiling(1000, 0.2).plan(Canvas(2600, 2600))
    corners = rng.uniform(0, 2500, (400, 2))
    truth = ShapeArray.from_points(np.stack([corners, corners + rng.uniform(30, 90, (400, 2))], 1), [0] * 400)
    answers = []
    for answer in perfect(plan, truth, ["person"] * 400):
        keep = rng.random(len(answer.shapes)) > 0.05
        shapes = answer.shapes.take(keep)
        xy = (shapes.xy + rng.normal(0, 2.5, shapes.xy.shape)).clip(0, 1000)
        shapes = ShapeArray(xy, np.array(shapes.offsets), np.array(shapes.kinds))
        solid = (np.diff(shapes.bounds().reshape(-1, 2, 2), axis=1)[:, 0] > 1).all(axis=1)
        answers.append(Prediction("", answer.canvas, shapes.take(solid), ("person",) * int(solid.sum())))
    found = merge_tiles(plan, answers)
    best = polygon_iou(truth, found.shapes).max(axis=1)
    assert (best > 0.6).sum() >= 375
    assert len(found.shapes) <= 408


def test_polygons_are_united_exactly() -> None:
    ring = [[100, 100], [1700, 200], [1750, 900], [900, 500], [300, 1700]]
    shapes = ShapeArray.from_points([ring], [GeometryKind.POLYGON])
    found = merge_tiles(SQUARES, perfect(SQUARES, shapes, ["roof"]))
    assert found.captions == ("roof",)
    wanted, got = shapely.Polygon(ring), shapely.Polygon(found.shapes.points(0))
    assert got.symmetric_difference(wanted).area < 0.5


def test_parts_of_a_cut_polygon_find_each_other() -> None:
    # The left tile shows two arms, the right one what joins them.
    ring = [[100, 100], [1500, 100], [1500, 800], [100, 800], [100, 700], [1400, 700], [1400, 200], [100, 200]]
    plan = Tiling(1000, 0.2).plan(Canvas(1000, 1800))
    shapes = ShapeArray.from_points([ring], [GeometryKind.POLYGON])
    answers = perfect(plan, shapes, ["yard"])
    assert [len(answer.shapes) for answer in answers] == [2, 1]
    found = merge_tiles(plan, answers)
    assert len(found.shapes) == 1
    assert area_or_length(found.shapes) == pytest.approx(area_or_length(shapes))


def test_noise_between_two_views_makes_no_holes() -> None:
    # Together the two views enclose a strip of 2 x 3 pixels, and a yard of 100 x 100 that is really there.
    left = [500, 100, 1000, 100, 1000, 200, 902, 200, 902, 203, 1000, 203, 1000, 300, 850, 300, 850, 400, 1000, 400,
            1000, 500, 500, 500]  # fmt: skip
    right = [800, 100, 1300, 100, 1300, 500, 800, 500, 800, 400, 950, 400, 950, 300, 800, 300, 800, 203, 904, 203,
             904, 200, 800, 200]  # fmt: skip
    (found,) = merged(PLAN, [{"poly": left}], [{"poly": right}], [])
    ring = ShapeArray.from_objects([found])
    assert area_or_length(ring)[0] == pytest.approx(800 * 400 - 100 * 100)


def test_lines_are_stitched_to_one_without_a_repeat() -> None:
    line = [[50, 500], [900, 450], [1300, 700], [1700, 100], [2500, 400]]
    shapes = ShapeArray.from_points([line], [GeometryKind.LINE])
    found = merge_tiles(PLAN, perfect(PLAN, shapes, ["road"]))
    assert found.captions == ("road",)
    assert area_or_length(found.shapes) == pytest.approx(area_or_length(shapes))
    points = found.shapes.points(0)
    ends = points[[0, -1]] if points[0, 0] < points[-1, 0] else points[[-1, 0]]
    assert ends.tolist() == [line[0], line[-1]]


def test_a_line_that_comes_back_is_one_line() -> None:
    line = [[100, 100], [1500, 100], [1500, 800], [100, 800]]
    shapes = ShapeArray.from_points([line], [GeometryKind.LINE])
    found = merge_tiles(PLAN, perfect(PLAN, shapes, ["road"]))
    assert len(found.shapes) == 1
    assert line_agreement(found.shapes, shapes, 0.01)[0, 0] == pytest.approx(1.0)


def test_two_lines_side_by_side_stay_two() -> None:
    lines = [[[100, 500], [1700, 500]], [[100, 506], [1700, 506]]]
    shapes = ShapeArray.from_points(lines, [GeometryKind.LINE] * 2)
    found = merge_tiles(PLAN, perfect(PLAN, shapes, ["lane", "lane"]))
    assert len(found.shapes) == 2
    assert np.ptp(found.shapes.points(0)[:, 1]) == np.ptp(found.shapes.points(1)[:, 1]) == 0.0


def test_where_the_middle_of_a_line_is_missing_its_parts_remain() -> None:
    tiles: Tiles = [{"line": [100, 500, 1000, 500]}], [{"line": [800, 500, 1000, 500, 1000, 600]}], []
    (found,) = merged(PLAN, *tiles)
    assert found["line"][:2] == [100, 500]
    gone: Tiles = [{"line": [100, 500, 1000, 500]}], [{"line": [800, 500, 880, 500]}], []
    assert len(merged(PLAN, *gone)) >= 1


def test_scores_are_those_of_the_best_view() -> None:
    tiles: Tiles = [box(500, 100, 1000, 300, score=0.4)], [box(800, 100, 1200, 300, score=0.9)], [box(2000, 1, 2100, 9)]
    found = merge_tiles(PLAN, told(PLAN, *tiles))
    assert found.scores == (0.9, None)
    assert merge_tiles(PLAN, told(PLAN, [box(1, 1, 9, 9)], [], [])).scores == ()


def test_texts_problems_and_the_end_are_kept() -> None:
    empty = [Prediction("", window.canvas, ShapeArray.empty(), ()) for window in PLAN.windows]
    ends: tuple[Finish, ...] = ("stop", "length", "stop")
    answers = [
        Prediction("", a.canvas, a.shapes, (), text=f"answer {k}", problems=("bad",) * (k == 1), finish=finish)
        for k, (a, finish) in enumerate(zip(empty, ends, strict=True))
    ]
    found = merge_tiles(PLAN, answers, "a.png", Origin("x.jsonl", 3))
    assert (found.image, found.canvas, found.source) == ("a.png", PLAN.canvas, Origin("x.jsonl", 3))
    assert found.problems == ("tile 2, 1000x1000 at (800, 0): bad",)
    assert found.finish == "length"
    assert found.text.splitlines()[2:4] == ["tile 2, 1000x1000 at (800, 0):", "answer 1"]
    assert parse_prediction(found.to_line(), "x:1") == found


def test_one_tile_is_the_prediction_itself() -> None:
    plan = Tiling(1000).plan(Canvas(500, 700))
    (answer,) = told(plan, [box(1, 2, 3, 4, score=0.5)])
    found = merge_tiles(plan, [answer], "a.png")
    assert found.objects() == answer.objects()
    assert (found.text, found.image) == (answer.text, "a.png")


def test_a_prediction_for_each_tile_is_needed() -> None:
    with pytest.raises(RecordError, match="answers must be one per tile, 3"):
        merge_tiles(PLAN, told(PLAN, [], [], [])[:2])


def scene(rng: np.random.Generator, canvas: Canvas, count: int) -> tuple[ShapeArray, list[str]]:
    """Objects of all kinds and sizes: from 8 pixels to far more than a tile."""
    points, kinds = [], []
    size = np.array([canvas.width, canvas.height])
    for _ in range(count):
        kind, extent = int(rng.integers(3)), np.exp(rng.uniform(np.log(8), np.log(3000), 2))
        center = rng.uniform(0, size)
        if kind == GeometryKind.BOX:
            xy = np.array([center - extent / 2, center + extent / 2])
        elif kind == GeometryKind.POLYGON:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 30))))
            radii = rng.uniform(0.4, 1.0, len(angles))[:, None]
            xy = center + radii * np.stack([np.cos(angles), np.sin(angles)], 1) * max(extent) / 2
        else:
            steps = rng.normal(0, 1, (int(rng.integers(2, 15)), 2)) + rng.normal(0, 2, 2)
            xy = center + np.cumsum(steps, 0) * extent.max() / len(steps)
        xy = xy.clip(0, size)
        points.append(xy)
        kinds.append(kind)
    shapes = ShapeArray.from_points(points, kinds)
    good = (area_or_length(shapes) > 8) & ((np.diff(shapes.bounds().reshape(-1, 2, 2), axis=1)[:, 0] > 4).all(1))
    chosen = shapes.take(good)
    return chosen, [f"class {n}" for n in rng.integers(0, 12, len(chosen))]


def losses_and_extras(truth: ShapeArray, names: Sequence[str], found: Prediction) -> tuple[int, int, float]:
    """Objects that no prediction matches, predictions that match no object, and the mean quality of matches."""
    lost, matched, qualities = 0, 0, []
    for name, kind in {(name, int(kind)) for name, kind in zip(names, truth.kinds, strict=True)}:
        wanted = truth.take((np.array(names) == name) & (truth.kinds == kind))
        got = found.shapes.take((np.array(found.captions) == name) & (found.shapes.kinds == kind))
        quality = line_agreement(wanted, got, 3.0) if kind == GeometryKind.LINE else polygon_iou(wanted, got)
        best = quality.max(axis=1, initial=0.0)
        lost += int((best < 0.8).sum())
        matched += len(np.unique(quality.argmax(axis=1)[best >= 0.8])) if len(got) else 0
        qualities += best[best >= 0.8].tolist()
    return lost, len(found.shapes) - matched, float(np.mean(qualities))


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(
    ("canvas", "overlap", "count"), [(Canvas(6000, 8000), 0.2, 520), (Canvas(2500, 3000), 0.6, 110)]
)
def test_a_predictor_that_is_perfect_per_tile_is_perfect_merged(
    canvas: Canvas, overlap: float, count: int, rounded: bool
) -> None:
    truth, names = scene(np.random.default_rng(5), canvas, count)
    plan = Tiling(1024, overlap).plan(canvas)
    found = merge_tiles(plan, perfect(plan, truth, names, rounded=rounded))
    lost, extra, quality = losses_and_extras(truth, names, found)
    assert len(truth) >= 0.9 * count
    assert lost + extra <= 0.005 * len(truth)
    assert quality > (0.98 if rounded else 0.999)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_merged_predictions_are_legal_records(seed: int) -> None:
    canvas = Canvas(900, 1300)
    truth, names = scene(np.random.default_rng(seed), canvas, 20)
    plan = Tiling(400, 0.25).plan(canvas)
    found = merge_tiles(plan, perfect(plan, truth, names, rounded=True, min_coverage=0.2))
    assert parse_prediction(found.to_line(), "x:1") == found
