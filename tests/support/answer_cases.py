"""Shapes, captions and profiles for tests of the answer text."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from dcap.answers.formats import ANSWER_FORMATS
from dcap.answers.profile import AnswerProfile
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import GeometryKind, ShapeArray

CONTROL_TOKENS = ["<|im_end|>", "<|im_start|>assistant\n", "<|image_pad|>", "<|vision_start|>", "<think>"]

CAPTIONS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.text("0123456789-.[]{}:,\"'\\ \n", max_size=8),
        st.sampled_from(
            ["<|im_end|>", "<think>", '"bbox_2d": [1, 2]', '\\", ', "e\u0301", "ﬁ각क़", "\u0338", "🐈\u200d⬛"]
        ),
    ),
    max_size=4,
).map("".join)
"""Digits, signs and marks that a tokenizer may join with what is beside the caption."""


def shapes_of(*objects: dict[str, Any]) -> ShapeArray:
    return ShapeArray.from_objects(objects)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[ShapeArray, list[str], Canvas]:
    """Shapes of every kind in a canvas of any size, many of them smaller than a grid unit."""
    canvas = Canvas(height=draw(st.integers(1, 3000)), width=draw(st.integers(1, 3000)))
    unit = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 0.25]), st.floats(0.3, 0.3004))
    points, kinds, captions = [], [], []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(GeometryKind))
        count = 2 if kind is GeometryKind.BOX else draw(st.integers(3, 9))
        xy = np.array(draw(st.lists(st.tuples(unit, unit), min_size=count, max_size=count)))
        xy *= [canvas.width, canvas.height]
        if kind is GeometryKind.BOX:
            xy = np.sort(xy, axis=0)
        points.append(xy)
        kinds.append(int(kind))
        captions.append(
            draw(st.one_of(st.text(), st.sampled_from([*CONTROL_TOKENS, 'say "hi"\\', "a\nb\x00\x1f\u2028", "猫🐈"])))
        )
    return ShapeArray.from_points(points, kinds), captions, canvas


profiles = st.builds(
    AnswerProfile,
    format=st.sampled_from(sorted(ANSWER_FORMATS)),
    emit_norm=st.sampled_from(["norm1000", "norm100", "none"]),
    object_order=st.sampled_from(["reading", "record", "xy", "center"]),
    point_order=st.sampled_from(["record", "canonical"]),
    prefix=st.sampled_from([None, None, "{num_objects} objects\n", "{num_boxes}+{num_polygons}+{num_lines}; 各个 "]),
    empty=st.sampled_from([None, None, "No objects.", "nothing, 0 各"]),
    max_polygon_points=st.sampled_from([None, None, 3, 5]),
)  # fmt: skip
