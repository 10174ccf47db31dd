"""Equal geometry gives equal text: images that are mirrored twice, rings and lines that are drawn in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse, to_answer, to_canvas, write
from dcap.answers.formats import ANSWER_FORMATS
from dcap.answers.profile import AnswerProfile, ObjectOrder
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import transform_and_clip
from dcap.geometry.grid import to_grid
from dcap.geometry.shapes import GeometryKind, ShapeArray
from support.answer_cases import profiles, scenes, shapes_of

Scene = tuple[ShapeArray, list[str], Canvas]
Points = npt.NDArray[np.float64]
Flip = Callable[[Canvas], Affine]
FLIPS: dict[str, Flip] = {"hflip": Affine.hflip, "vflip": Affine.vflip}


def mirrored(shapes: ShapeArray, canvas: Canvas, flip: Flip) -> ShapeArray:
    """As augmentation does it."""
    return transform_and_clip(shapes, flip(canvas), canvas)[0]


def on_pixel_parts(shapes: ShapeArray) -> ShapeArray:
    """The same shapes on eighths of a pixel, where mirroring has no rounding."""
    return ShapeArray.trusted(np.rint(shapes.xy * 8) / 8, shapes.offsets, shapes.kinds)


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
@settings(max_examples=60)
@given(scene=scenes(), profile=profiles)
def test_mirrored_twice_an_image_has_the_same_text(scene: Scene, profile: AnswerProfile, flip: Flip) -> None:
    shapes, captions, canvas = scene
    shapes = on_pixel_parts(shapes)
    there = mirrored(shapes, canvas, flip)
    assume(len(there) == len(shapes))  # a shape without area or length leaves the image
    back = mirrored(there, canvas, flip)
    assert write(back, captions, canvas, profile) == write(shapes, captions, canvas, profile)


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
@settings(max_examples=60)
@given(scene=scenes(), profile=profiles)
def test_mirrored_twice_a_text_is_the_same(scene: Scene, profile: AnswerProfile, flip: Flip) -> None:
    profile = replace(profile, max_polygon_points=None)
    shapes, captions, canvas = scene
    corners = to_answer(shapes, captions, canvas, profile).shapes.bounds()
    if profile.object_order == "reading":  # which keeps the order of the record where corners are equal
        for corner in corners[:, [0, 1]], corners[:, [2, 1]], corners[:, [0, 3]]:
            assume(len(np.unique(corner, axis=0)) == len(corner))

    def again(text: str, change: Flip | None) -> str:
        read = parse(text, profile)
        found = to_canvas(read, canvas, profile)
        if change is not None:
            found = ShapeArray.trusted(change(canvas).apply(found.xy), found.offsets, found.kinds)
            found = ShapeArray.from_points([_ordered(*each) for each in found], found.kinds)
        return write(found, read.captions, canvas, profile)

    text = again(write(shapes, captions, canvas, profile), None)
    assert again(again(text, flip), flip) == text


def _ordered(kind: GeometryKind, points: Points) -> Points:
    return np.sort(points, axis=0) if kind is GeometryKind.BOX else points


@settings(max_examples=60)
@given(scenes(), st.sampled_from(sorted(ANSWER_FORMATS)), st.sampled_from(get_args(ObjectOrder)), st.data())
def test_a_ring_or_line_has_one_text_however_it_is_drawn(
    scene: Scene, name: str, order: ObjectOrder, data: st.DataObject
) -> None:
    shapes, captions, canvas = scene
    profile = AnswerProfile(format=name, object_order=order, line_direction="canonical")
    grid = ShapeArray.trusted(to_grid(shapes.xy, canvas, "norm1000") * 1.0, shapes.offsets, shapes.kinds)
    drawn = []
    for (kind, points), (_, on_grid) in zip(shapes, grid, strict=True):
        # A ring that rounding made flat is widened from its first point on.
        assume(kind is not GeometryKind.POLYGON or _doubled_area(on_grid) != 0)
        turned = points[::-1] if kind is not GeometryKind.BOX and data.draw(st.booleans()) else points
        start = data.draw(st.integers(0, len(points) - 1)) if kind is GeometryKind.POLYGON else 0
        drawn.append(np.roll(turned, start, axis=0))
    text = write(ShapeArray.from_points(drawn, shapes.kinds), captions, canvas, profile)
    assert text == write(shapes, captions, canvas, profile)


def _doubled_area(ring: Points) -> float:
    after = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * after[:, 1] - after[:, 0] * ring[:, 1]).sum())


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ([5, 9, 7, 1], [7, 1, 5, 9]),  # the upper end first
        ([7, 1, 5, 9], [7, 1, 5, 9]),
        ([9, 4, 5, 5, 2, 4], [2, 4, 5, 5, 9, 4]),  # of two equally high ends the left one
        ([3, 3, 9, 9, 8, 4, 3, 3], [3, 3, 8, 4, 9, 9, 3, 3]),  # closed: the second point decides
        ([3, 3, 9, 9, 3, 3], [3, 3, 9, 9, 3, 3]),
    ],
)
def test_the_direction_of_a_line(line: list[int], written: list[int]) -> None:
    shapes, canvas = shapes_of({"line": line}), Canvas(1000, 1000)
    for direction, wanted in (("record", line), ("canonical", written)):
        profile = replace(AnswerProfile(), line_direction=direction)
        assert to_answer(shapes, ["a"], canvas, profile).shapes == shapes_of({"line": wanted})


def test_a_default_profile_keeps_directions_and_order() -> None:
    assert (AnswerProfile().line_direction, AnswerProfile().object_order, AnswerProfile().prefix) == (
        "record", "reading", None,
    )  # fmt: skip
