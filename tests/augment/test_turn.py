"""A turn says where left, right, top and bottom of the source are in the end."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment.turn import NO_TURN, Direction, Turn, is_clear
from dcap.geometry import Affine, Canvas

CANVAS = Canvas(90, 160)
STEP = {Direction.LEFT: (-1, 0), Direction.RIGHT: (1, 0), Direction.TOP: (0, -1), Direction.BOTTOM: (0, 1)}
SQUARE = [Affine.rotation(90.0 * k) @ mirror for k in range(4) for mirror in (Affine.identity(), Affine.hflip(CANVAS))]
"""The eight maps that lay a square on itself."""


@pytest.mark.parametrize("affine", SQUARE)
def test_each_side_goes_where_the_map_takes_it(affine: Affine) -> None:
    turn = Turn.of(affine)
    for side, step in STEP.items():
        moved = affine.matrix[:2, :2] @ step
        assert STEP[turn[side]] == tuple(moved.tolist())
    assert turn.is_mirror == (affine.determinant < 0)
    assert is_clear(affine)


def test_the_eight_turns_are_a_group() -> None:
    assert len({Turn.of(affine) for affine in SQUARE}) == 8
    for first, second in product(SQUARE, repeat=2):
        assert Turn.of(second @ first) == Turn.of(second) @ Turn.of(first)


@given(st.floats(-44.9, 44.9), st.sampled_from(SQUARE), st.lists(st.floats(0.05, 20.0), min_size=4, max_size=4))
def test_small_turns_and_scalings_change_nothing(angle: float, affine: Affine, scales: list[float]) -> None:
    before, after = Affine.scaling(*scales[:2]), Affine.scaling(*scales[2:])
    assert Turn.of(after @ Affine.rotation(angle) @ affine @ before) == Turn.of(affine)


@pytest.mark.parametrize(
    ("angle", "clear"),
    [(0, True), (30, True), (45, True), (46, False), (89, False), (90, True), (91, False), (135, False), (180, True),
     (181, False), (269.9, False), (270, True), (300, False), (330, True)],
)  # fmt: skip
def test_a_large_turn_must_be_a_quarter(angle: float, clear: bool) -> None:
    assert is_clear(Affine.rotation(angle, (31.0, 77.0))) is clear
    assert is_clear(Affine.rotation(-angle)) is clear


def test_a_tilted_mirror_image_is_clear_and_a_tilted_quarter_is_not() -> None:
    for flip in (Affine.hflip(CANVAS), Affine.vflip(CANVAS)):
        assert is_clear(Affine.rotation(20) @ flip)
        assert not is_clear(Affine.rotation(70) @ flip)
    assert Turn.of(Affine(1, math.tan(math.radians(60)), 0, 0, 1, 0)) == NO_TURN
    assert np.isclose(Affine.rotation(45).a, Affine.rotation(45).d)
