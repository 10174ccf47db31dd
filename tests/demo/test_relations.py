"""Sides and counts in captions of scenes."""

from __future__ import annotations

import numpy as np
import pytest

from dcap.demo import SceneOptions, SceneRecords, count_summary, relation_captions
from dcap.geometry import Affine, ShapeArray
from dcap.geometry.clipping import transform

BOXES = ShapeArray.from_objects([{"bbox_2d": [0, 0, 4, 4]}, {"bbox_2d": [10, 20, 14, 24]}, {"line": [30, 0, 34, 4]}])
OTHER_SIDE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def test_sides_follow_the_shapes() -> None:
    captions = ["red box right of the blue box", "blue box above the red box", "red line left of the blue box"]
    want = ("red box left of the blue box", "blue box below the red box", "red line right of the blue box")
    assert relation_captions(BOXES, captions) == want
    assert relation_captions(BOXES, want) == want


def test_captions_that_stay_as_they_are() -> None:
    captions = ["red box", "blue box left of the green star", "red line left of the red line"]
    assert relation_captions(BOXES, captions) == tuple(captions)
    twice = ["cup right of the mug", "mug", "mug left of the cup"]
    assert relation_captions(BOXES, twice) == ("cup right of the mug", "mug", "mug right of the cup")
    level = ShapeArray.from_objects([{"bbox_2d": [0, 0, 4, 4]}, {"bbox_2d": [1, 9, 3, 10]}])
    assert relation_captions(level, ["a left of the b", "b above the a"]) == ("a left of the b", "b below the a")
    assert relation_captions(ShapeArray.empty(), ()) == ()


def swapped(caption: str, axis: int) -> str:
    for side in list(OTHER_SIDE)[2 * axis : 2 * axis + 2]:
        if f" {side} the " in caption:
            return caption.replace(side, OTHER_SIDE[side])
    return caption


@pytest.mark.parametrize("relations", ["left_right", "all"])
@pytest.mark.parametrize("level", ["easy", "medium"])
def test_sides_of_scenes_are_true(relations: str, level: str) -> None:
    scenes = SceneRecords(SceneOptions(num=150, level=level, relations=relations))
    found = set()
    for record in scenes:
        assert len(set(record.captions)) == len(record.captions) >= 2
        bounds = record.shapes.bounds()
        names = [caption.split(" ")[:2] for caption in record.captions]
        for i, caption in enumerate(record.captions):
            side = next(side for side in OTHER_SIDE if f" {side} the " in caption)
            found.add(side)
            j = names.index(caption.split(" ")[-2:])
            x1, y1, x2, y2 = bounds[i]
            # By brute force: all of the one is on this side of all of the other.
            assert {
                "left of": x2 < bounds[j, 0], "right of": x1 > bounds[j, 2],
                "above": y2 < bounds[j, 1], "below": y1 > bounds[j, 3],
            }[side]  # fmt: skip
        assert relation_captions(record.shapes, record.captions) == record.captions
        for axis in (0, 1):
            flip = np.diag([-1.0, 1.0, 1.0] if axis == 0 else [1.0, -1.0, 1.0])
            mirrored = transform(record.shapes, Affine.from_matrix(flip))
            want = tuple(swapped(caption, axis) for caption in record.captions)
            assert relation_captions(mirrored, record.captions) == want
    assert found == set(list(OTHER_SIDE)[: 2 if relations == "left_right" else 4])


def test_columns_are_wide_enough() -> None:
    options = SceneOptions(
        20, min_objects=20, max_objects=40, relations="left_right", colors=("red", "blue"), height=64
    )
    for record in SceneRecords(options):
        assert len(record.captions) == 6
        assert (np.ptp(record.shapes.bounds()[:, ::2], axis=1) > 1).all()


@pytest.mark.parametrize("degrees", [-25, 25])
def test_left_and_right_outlast_a_rotation(degrees: float) -> None:
    turn = np.radians(degrees)
    matrix = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    for record in SceneRecords(SceneOptions(num=200, relations="left_right")):
        turned = transform(record.shapes, Affine.from_matrix(np.array(matrix)))
        assert relation_captions(turned, record.captions) == record.captions


def test_a_summary_counts() -> None:
    captions = ["blue line", "red box", "red box left of the blue line", "red box", "cyan star", "cyan star"]
    assert count_summary(captions) == "3 red boxes, 2 cyan stars, 1 blue line"
    assert count_summary(()) == ""
