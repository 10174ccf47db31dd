"""Equal geometry gives equal text: images that are mirrored twice, rings and lines that are drawn in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse, to_answer, to_canvas, write
from dcap.answers.profile import AnswerProfile
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import transform_and_clip
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
@given(scenes(), profiles, st.data())
def test_a_shape_has_one_text_however_it_is_drawn(scene: Scene, profile: AnswerProfile, data: st.DataObject) -> None:
    """Also where it is simplified, and where rounding makes it flat."""
    shapes, captions, canvas = scene
    profile = replace(profile, point_order="canonical")
    drawn = []
    for kind, points in shapes:
        turned = points[::-1] if kind is not GeometryKind.BOX and data.draw(st.booleans()) else points
        start = data.draw(st.integers(0, len(points) - 1)) if kind is GeometryKind.POLYGON else 0
        drawn.append(np.roll(turned, start, axis=0))
    text = write(ShapeArray.from_points(drawn, shapes.kinds), captions, canvas, profile)
    assert text == write(shapes, captions, canvas, profile)


def test_what_is_simplified_does_not_depend_on_the_drawing() -> None:
    rng, canvas = np.random.default_rng(0), Canvas(1000, 1000)
    profile = AnswerProfile(max_polygon_points=8, point_order="canonical")
    for _ in range(20):
        angle, radius = np.sort(rng.uniform(0, 2 * np.pi, 30)), rng.uniform(200, 450, (30, 1))
        ring = 500 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        course = np.cumsum(rng.uniform(-30, 60, (20, 2)), axis=0).clip(0, 1000)
        texts = {
            write(
                ShapeArray.from_points(drawing, [GeometryKind.POLYGON, GeometryKind.LINE]), ["a", "b"], canvas, profile
            )
            for drawing in ([ring, course], [np.roll(ring, 7, axis=0), course], [ring[::-1], course[::-1]])
        }
        assert len(texts) == 1


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
        profile = replace(AnswerProfile(), point_order=direction)
        assert to_answer(shapes, ["a"], canvas, profile).shapes == shapes_of({"line": wanted})


def test_a_default_profile_keeps_directions_and_order() -> None:
    assert (AnswerProfile().point_order, AnswerProfile().object_order, AnswerProfile().prefix) == (
        "record", "reading", None,
    )  # fmt: skip
