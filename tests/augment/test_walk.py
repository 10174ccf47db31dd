"""Parts stay until the last cut, and copies hide exactly what is below them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import shapely
from shapely.affinity import affine_transform

from dcap.augment import AugmentResult, Pipeline
from dcap.augment.policy import Copy, DropRules, Patch, Warp
from dcap.augment.texts import Texts
from dcap.augment.walk import Walk
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray, area_or_length
from dcap.geometry.shapes import GeometryKind

CANVAS = Canvas(120, 160)
ARCH = ShapeArray.from_objects([{"poly": [0, 50, 0, 0, 90, 0, 90, 50, 80, 50, 80, 10, 40, 10, 40, 50]}])
"""A wide left leg of 40 x 40, a narrow right one of 10 x 40, joined at the top by a bar of 10."""
SMALL = ShapeArray.from_objects(
    [
        {"bbox_2d": [12, 20, 30, 41]},
        {"poly": [60, 40, 150, 30, 140, 110, 100, 70, 70, 112]},
        {"poly": [20, 70, 44, 62, 36, 90, 28, 80]},
        {"line": [5, 100, 70, 60, 155, 91]},
    ]
)
SIMILAR: list[dict[str, Any]] = [
    {"name": "rotate", "params": {"max_deg": 180}, "prob": 0.5},
    {"name": "translate", "params": {"max_dx": 0.3, "max_dy": 0.3}, "prob": 0.5},
    {"name": "scale", "params": {"lo": 0.7, "hi": 1.5}, "prob": 0.5},
    {"name": "random_crop", "params": {"scale": [0.4, 0.9], "min_coverage": 0.0, "min_objects": 0}, "prob": 0.5},
]
"""Maps under which the share of a line's length is the same everywhere."""
PASTE = {"name": "small_object_zoom_paste", "params": {"overlap_threshold": 0.9, "max_size": 40, "scale": [1.5, 4.0],
                                                       "min_coverage": 0.2, "context": 0.5}}  # fmt: skip


def start(shapes: ShapeArray, split: Literal["largest", "all"] = "largest") -> Walk:
    return Walk.start(CANVAS, shapes, Texts(tuple(f"object {i}" for i in range(len(shapes)))), "polygon", split)


def moved(walk: Walk, dx: float, dy: float, **rules: Any) -> Walk:
    after = walk.warped(Warp(Affine.translation(dx, dy), CANVAS, "", DropRules(**rules)), "translate", cut=True)
    assert isinstance(after, Walk)
    return after


def test_the_part_that_is_the_largest_in_the_end_is_the_label() -> None:
    legs = moved(start(ARCH), 0, -20)
    assert legs.shapes == ShapeArray.from_objects([{"poly": [40, 0, 40, 30, 0, 30, 0, 0]}])
    end = moved(legs, -70, 0).labelled()
    assert sorted(map(tuple, end.shapes.points(0).tolist())) == [(10, 0), (10, 30), (20, 0), (20, 30)]
    assert end.captions == ("object 0",)
    assert end.visible_fraction == pytest.approx([10 * 30 / area_or_length(ARCH)[0]])
    assert not end.dropped


def test_what_no_part_shows_is_outside() -> None:
    assert moved(moved(start(ARCH), 0, -20), -100, 0).dropped == {0: "outside the canvas after translate"}


def test_a_rule_looks_at_the_part_that_would_be_the_label() -> None:
    legs = moved(start(ARCH), 0, -20)
    assert moved(legs, -70, 0, min_coverage=0.1).captions == ("object 0",)
    assert moved(legs, -70, 0, min_coverage=0.2).dropped == {0: "10% visible after translate, less than 20%"}


def test_equal_parts_leave_the_first() -> None:
    comb = [
        10.1, 0, 10.1, 9, 40.3, 9, 40.3, 60, 60.3, 60, 60.3, 9, 80.2, 9,
        80.2, 60, 100.2, 60, 100.2, 9, 110, 9, 110, 0,
    ]  # fmt: skip
    table = ShapeArray.from_objects([{"poly": comb}])
    for shift in np.linspace(10, 50, 41).tolist():
        parts = moved(start(table, "all"), 0, -shift).shapes
        assert moved(start(table), 0, -shift).labelled().shapes == parts.take([0])


def test_an_object_of_which_copies_hide_all_that_is_left_is_gone() -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [0, 0, 10, 10]}, {"bbox_2d": [100, 0, 140, 20]}])
    over = Patch((0.0, 0.0, 10.0, 20.0), Affine.translation(130, 0))
    pasted = start(shapes).copied(Copy((over,), ""), "paste")
    assert pasted.visible_fraction == pytest.approx([1.0, 0.75, 1.0])
    assert pasted.shapes.to_objects()[1] == {"bbox_2d": [100, 0, 140, 20]}, "a label is not cut by what is over it"
    hidden = moved(pasted, -132, 0)
    assert hidden.dropped[1] == "hidden by copies after translate"
    assert hidden.captions == ("object 0",)
    shown = moved(pasted, -120, 0)
    assert shown.visible_fraction == pytest.approx([10 / 40, 1.0])


def test_a_line_partly_under_a_copy_does_not_forbid_what_cuts_nothing() -> None:
    """Its share is measured again in each frame, with other float noise."""
    shapes = ShapeArray.from_objects([{"line": [10, 20, 77, 31, 98, 70]}, {"bbox_2d": [0, 0, 7, 7]}])
    pasted = start(shapes).copied(Copy((Patch((0.0, 0.0, 7.0, 7.0), Affine.translation(50, 24)),), ""), "paste")
    assert 0.5 < pasted.visible_fraction[0] < 1.0
    rules = DropRules(skip_if_line=True)
    for k in range(100):
        turn = Affine.translation(80, 60) @ Affine.rotation(3.6 * k) @ Affine.scaling(0.4, 0.4)
        assert isinstance(pasted.warped(Warp(turn, CANVAS, "", rules), "turn", cut=True), Walk)


def test_a_copy_of_a_copy_is_hidden_as_the_copy_is() -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [0, 0, 10, 10]}, {"bbox_2d": [20, 0, 40, 10]}])
    # The box over a quarter of the other one; then both, and the copy over them, once more below.
    first = start(shapes).copied(Copy((Patch((0.0, 0.0, 10.0, 10.0), Affine.translation(35, 0)),), ""), "paste")
    second = first.copied(Copy((Patch((20.0, 0.0, 60.0, 10.0), Affine.translation(0, 50)),), ""), "paste")
    assert second.source_index.tolist() == [0, 1, 0, 1, 0]
    assert second.visible_fraction == pytest.approx([1.0, 0.75, 1.0, 0.75, 1.0])
    assert second.is_copy.tolist() == [False, False, True, True, True]
    # And a copy over both of them.
    third = second.copied(Copy((Patch((0.0, 0.0, 10.0, 10.0), Affine.translation(30, 50)),), ""), "paste")
    assert third.visible_fraction == pytest.approx([1.0, 0.75, 1.0, 0.5, 0.5, 1.0])


def ring(points: Any) -> shapely.Geometry:
    return shapely.Polygon(points) if len(points) else shapely.Polygon()


def share(shape: shapely.Geometry, affine: Affine, seen: shapely.Geometry) -> float:
    a, b, c, d, e, f = affine.coefficients
    whole = affine_transform(shape, [a, b, d, e, c, f])
    left = whole.intersection(seen)
    return float(left.area / whole.area) if whole.area else float(left.length / whole.length)


def geometry(i: int) -> shapely.Geometry:
    points = SMALL.points(i)
    if SMALL.kinds[i] == GeometryKind.BOX:
        return shapely.box(*points.ravel())
    return shapely.LineString(points) if SMALL.kinds[i] == GeometryKind.LINE else shapely.Polygon(points)


def random_result(seed: int, **params: Any) -> AugmentResult:
    rng = np.random.default_rng(seed)
    before, after = (rng.permutation(np.array(SIMILAR, object)).tolist() for _ in range(2))
    paste = {**PASTE, "params": {**PASTE["params"], **params}}  # type: ignore[dict-item]
    pipeline = Pipeline.from_config({"ops": [*before[:1], paste, *after], "split_policy": "all"})
    return pipeline.plan(CANVAS, SMALL, generator(seed), ("a", "b", "c", "d"))


def test_shares_under_copies_are_those_of_shapely() -> None:
    hidden = 0
    for seed in range(150):
        result = random_result(seed, max_targets=3)
        seen = ring(result.plan.region)
        free = seen.difference(shapely.union_all([ring(paste.region) for paste in result.plan.pastes]))
        for i in range(len(SMALL)):
            rows = (result.source_index == i) & ~result.is_copy
            want = share(geometry(i), result.plan.affine, free)
            if rows.any():
                assert result.visible_fraction[rows] == pytest.approx(np.full(rows.sum(), want), abs=1e-9)
            else:
                assert want < 1e-9
            hidden += want < share(geometry(i), result.plan.affine, seen) - 1e-6
    assert hidden > 100


def test_shares_of_a_copy_are_those_of_shapely() -> None:
    cut = 0
    for seed in range(150):
        result = random_result(seed, max_targets=1)
        if not result.plan.pastes:
            assert not result.is_copy.any()
            continue
        (paste,) = result.plan.pastes
        for i in set(result.source_index[result.is_copy].tolist()):
            rows = (result.source_index == i) & result.is_copy
            want = share(geometry(i), paste.affine, ring(paste.region))
            assert result.visible_fraction[rows] == pytest.approx(np.full(rows.sum(), want), abs=1e-9)
            cut += want < 1.0
    assert cut > 50
