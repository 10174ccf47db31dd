"""Labels as others make them, against exact ones on the same pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shapely import Polygon

from dcap.augment.pipeline import Pipeline
from dcap.augment.plan import AugmentResult
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, GeometryKind, ShapeArray
from other_labels import OtherLabels, Relabel, as_by_hand, as_in_the_file

CANVAS = Canvas(100, 100)
SHAPES = ShapeArray.from_objects(
    [
        {"bbox_2d": [10, 10, 30, 40]},
        {"poly": [40, 40, 90, 50, 60, 60, 55, 95]},
        {"line": [0, 60, 45, 70, 45, 90, 0, 95]},
        {"poly": [70, 5, 95, 5, 80, 30]},
    ]
)
NAMES = ("left box", "red arrow", "wire", "sign")
OPS: list[dict[str, Any]] = [
    {"name": "hflip", "prob": 0.5},
    {"name": "rotate", "prob": 0.5, "params": {"max_deg": 20}},
    {"name": "random_crop", "params": {"scale": [0.3, 0.7]}},
]


def both(ops: list[dict[str, Any]], relabel: Relabel, seed: int) -> tuple[AugmentResult, AugmentResult]:
    """The exact result and the one with other labels, of one draw."""
    exact = Pipeline.from_config(ops).plan(CANVAS, SHAPES, generator(seed), NAMES)
    other = replace(OtherLabels.from_config(ops), relabel=relabel)
    return exact, other.plan(CANVAS, SHAPES, generator(seed), NAMES)


def window(*bounds: float) -> AugmentResult:
    """What a crop leaves: its labels are made anew from the plan."""
    x1, y1, x2, y2 = bounds
    exact = Pipeline().plan(CANVAS, SHAPES, generator(0), NAMES)
    canvas = Canvas(round(y2 - y1), round(x2 - x1))
    plan = replace(exact.plan, affine=Affine.translation(-x1, -y1), canvas=canvas)
    return replace(exact, plan=plan, scene=replace(exact.scene, canvas=canvas, shapes=ShapeArray.empty(), captions=()))


@pytest.mark.parametrize("relabel", [as_by_hand, as_in_the_file])
def test_pixels_are_the_same_and_no_label_leaves(relabel: Relabel) -> None:
    for seed in range(50):
        exact, other = both(OPS, relabel, seed)
        assert exact.plan.to_json() == replace(other.plan, words=exact.plan.words).to_json()
        assert (len(other.scene.shapes), other.scene.captions) == (4, NAMES)
        bounds = other.scene.shapes.bounds()
        assert (bounds >= 0).all()
        assert (bounds <= [other.scene.canvas.width, other.scene.canvas.height] * 2).all()


@pytest.mark.parametrize("relabel", [as_by_hand, as_in_the_file])
def test_an_image_as_it_is_has_its_labels(relabel: Relabel) -> None:
    exact, other = both([], relabel, 0)
    assert other.scene.shapes == exact.scene.shapes


def test_a_mirrored_label_by_hand_is_one_pixel_off() -> None:
    exact, other = both([{"name": "hflip"}], as_by_hand, 0)
    np.testing.assert_allclose(other.scene.shapes.xy, np.maximum(exact.scene.shapes.xy - [1, 0], 0))


def test_a_polygon_cut_by_hand_becomes_a_rectangle() -> None:
    made = as_by_hand(SHAPES, window(0, 0, 70, 100))
    kind, ring = list(made)[1]
    left = Polygon(SHAPES.points(1)).intersection(Polygon([(0, 0), (70, 0), (70, 100), (0, 100)]))
    assert (kind, len(ring)) == (GeometryKind.POLYGON, 4)
    assert Polygon(ring).intersection(left).area > 0.95 * left.area  # its corner beyond the border is moved to it
    assert Polygon(ring).area > 1.5 * left.area


def test_what_is_outside_by_hand_is_on_the_border() -> None:
    made = as_by_hand(SHAPES, window(0, 40, 100, 100))
    np.testing.assert_array_equal(made.points(3)[:, 1], 0)  # the sign, above the window
    np.testing.assert_array_equal(made.points(0), [[10, 0], [30, 0]])


def test_a_line_cut_by_hand_runs_along_the_border() -> None:
    """It leaves the window on the right, and comes back: exactly, two parts."""
    made = as_by_hand(SHAPES, window(0, 50, 40, 100))
    np.testing.assert_array_equal(made.points(2), [[0, 10], [40, 20], [40, 40], [0, 45]])


def test_labels_of_the_file_do_not_move() -> None:
    _, other = both(OPS, as_in_the_file, 3)
    canvas = other.scene.canvas
    np.testing.assert_allclose(other.scene.shapes.xy, SHAPES.xy * [canvas.width / 100, canvas.height / 100])
