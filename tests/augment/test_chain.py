from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from color_steps import STEPS
from dcap.augment.chain import apply_color, apply_table, apply_up_to_table
from dcap.augment.color import ColorStep, Levels, Saturation, TableStep

NOISE = np.random.default_rng(0).integers(0, 256, (37, 48, 3), dtype=np.uint8)


@given(st.lists(STEPS, max_size=6))
def test_a_chain_equals_one_step_at_a_time(steps: list[ColorStep]) -> None:
    image = NOISE
    for step in steps:
        image = step.apply(image)
    assert np.array_equal(apply_color(NOISE, steps), image)


@given(st.lists(STEPS, max_size=4))
def test_the_tables_at_the_end_are_left_to_the_caller(steps: list[ColorStep]) -> None:
    image, table = apply_up_to_table(NOISE, steps)
    assert (table is not None) == (bool(steps) and isinstance(steps[-1], TableStep))
    assert np.array_equal(apply_table(image, table), apply_color(NOISE, steps))


def test_the_source_is_left_alone() -> None:
    before = NOISE.copy()
    apply_color(NOISE, [Levels(1.5), Saturation(0.5), Levels(0.5)])
    assert np.array_equal(NOISE, before)
