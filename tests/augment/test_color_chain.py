from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap import kernels
from dcap.augment.color import ColorStep, HsvScale, Hue, Image, Levels, Saturation, apply_color
from dcap.core.errors import PluginError
from support.color_steps import STEPS

NOISE = np.random.default_rng(0).integers(0, 256, (37, 48, 3), dtype=np.uint8)


@given(st.lists(STEPS, max_size=6))
def test_a_chain_equals_one_step_at_a_time(steps: list[ColorStep]) -> None:
    image = NOISE
    for step in steps:
        image = step.apply(image)
    assert np.array_equal(apply_color(NOISE, steps), image)


class Mirror:
    """A step of someone else, which returns a view of what it is given."""

    def apply(self, image: Image) -> Image:
        return image[:, ::-1]


@given(st.lists(st.one_of(STEPS, st.just(Mirror())), max_size=6))
def test_foreign_steps_may_come_between(steps: list[ColorStep]) -> None:
    image = NOISE
    for step in steps:
        image = step.apply(image)
    assert np.array_equal(apply_color(NOISE, steps), image)
    assert np.array_equal(apply_color(NOISE.copy(), steps, in_place=True), image)


@pytest.mark.parametrize("between", [[], [Levels(0.9), Hue(40.0), HsvScale(-20.0, 1.2, 0.9)]])
def test_pixel_steps_are_one_pass(between: list[ColorStep], monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    recolor = kernels.recolor
    monkeypatch.setattr(kernels, "recolor", lambda *arrays: (passes.append(len(arrays[1])), recolor(*arrays)))
    apply_color(NOISE, [Levels(1.5), Levels(1.1), *between, Saturation(0.5)])
    assert passes == [2 + max(0, len(between) - 1)]


def test_in_place_takes_no_other_memory() -> None:
    image = NOISE.copy()
    assert apply_color(image, [Levels(1.5), Saturation(0.5)], in_place=True) is image


def test_the_source_is_left_alone() -> None:
    before = NOISE.copy()
    apply_color(NOISE, [Levels(1.5), Saturation(0.5), Levels(0.5)])
    assert np.array_equal(NOISE, before)


@pytest.mark.parametrize(
    ("made", "got"),
    [(NOISE / np.float32(255), "float32"), (NOISE[::2], r"uint8 \("), (NOISE[..., 0], r"uint8 \("), (None, "NoneType")],
)
def test_a_step_that_returns_something_else_is_named(made: Any, got: str) -> None:
    class Other:
        def apply(self, image: Any) -> Any:
            return made

    with pytest.raises(PluginError, match=rf"colour step Other must return uint8 .*, not {got}"):
        apply_color(NOISE, [Other()])
