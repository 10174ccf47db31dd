from __future__ import annotations

import colorsys
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from support.kernel_calls import assert_same_bits

U8 = npt.NDArray[np.uint8]
REVERSED = np.arange(256, dtype=np.uint8)[::-1].copy()
SHUFFLED = np.random.default_rng(4).permutation(256).astype(np.uint8)
# Every fifth level of each channel with both ends, and its neighbours: 140 000 colours.
LEVELS = np.unique(np.clip(np.arange(0, 256, 5), 0, 255)).astype(np.uint8)
GRID = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
FACTORS = [0.0, 0.3, 0.8, 1.0, 1.25, 2.0, 300.0, 1e30]
TURNS = [0.0, 0.05, 1.0, 2.5, 3.0, 5.95, 6.0]


class Step(NamedTuple):
    kind: int
    numbers: tuple[float, float, float] = (0.0, 0.0, 0.0)
    table: U8 = REVERSED


def table(entries: U8) -> Step:
    return Step(0, table=entries)


def saturation(factor: float) -> Step:
    return Step(1, (factor, np.nan, np.nan))


def hsv(turn: float, saturation: float, value: float) -> Step:
    return Step(2, (turn, saturation, value))


STEPS = st.one_of(
    st.sampled_from([table(REVERSED), table(SHUFFLED)]),
    st.builds(saturation, st.one_of(st.sampled_from(FACTORS), st.floats(0, 3, width=32))),
    st.builds(hsv, st.floats(0, 6, width=32), st.floats(0, 3, width=32), st.floats(0, 3, width=32)),
)


def arrays(steps: Sequence[Step]) -> tuple[U8, U8, npt.NDArray[np.float32]]:
    kinds = np.array([step.kind for step in steps], np.uint8)
    tables = np.array([step.table for step in steps], np.uint8).reshape(-1, 256)
    return kinds, tables, np.array([step.numbers for step in steps], np.float32).reshape(-1, 3)


def recolor(backend: ModuleType, image: U8, *steps: Step) -> U8:
    out = np.full_like(image, 77)
    backend.recolor(image, *arrays(steps), out)
    return out


def noise(*shape: int) -> U8:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def furthest(got: U8, want: npt.NDArray[np.float64]) -> float:
    """From what is exact, in levels; 0.5 is the best that whole numbers can be."""
    return float(np.abs(got - want).max())


@pytest.mark.parametrize("entries", [REVERSED, SHUFFLED])
def test_a_table_is_looked_up(backend: ModuleType, entries: U8) -> None:
    image = np.concatenate([GRID, noise(77, 3)])
    assert np.array_equal(recolor(backend, image, table(entries)), entries[image])


@pytest.mark.parametrize("factor", FACTORS[:-1])
def test_saturation_blends_with_grey(backend: ModuleType, factor: float) -> None:
    grey = (GRID @ np.array([0.299, 0.587, 0.114]))[:, None]
    want = np.clip(grey + factor * (GRID - grey), 0, 255)
    assert furthest(recolor(backend, GRID, saturation(factor)), want) <= 0.51


def test_saturation_ends(backend: ModuleType) -> None:
    assert np.array_equal(recolor(backend, GRID, saturation(1.0)), GRID)
    assert np.ptp(recolor(backend, GRID, saturation(0.0)), axis=1).max() == 0
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for factor in FACTORS[:-1]:
        assert np.array_equal(recolor(backend, greys, saturation(factor)), greys)


@pytest.mark.parametrize("turn", TURNS)
def test_hsv_equals_the_standard_library(backend: ModuleType, turn: float) -> None:
    some = np.concatenate([GRID[:: len(GRID) // 1500], noise(500, 3), np.eye(3, dtype=np.uint8)[[0, 1, 2]] * 255])
    parts = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in (some / 255).tolist()])
    for more in FACTORS:
        for light in (0.0, 0.7, 1.0, 1.9, 1e30):
            changed = zip((parts[:, 0] + turn / 6) % 1, np.minimum(parts[:, 1:] * [more, light], 1), strict=True)
            want = np.array([colorsys.hsv_to_rgb(hue, *rest) for hue, rest in changed]) * 255
            assert furthest(recolor(backend, some, hsv(turn, more, light)), want) <= 0.51


def test_hsv_keeps_what_it_should(backend: ModuleType) -> None:
    assert np.array_equal(recolor(backend, GRID, hsv(0.0, 1.0, 1.0)), GRID)
    assert np.array_equal(recolor(backend, GRID, hsv(2.0, 1.0, 1.0)), GRID[:, [2, 0, 1]])
    turned = recolor(backend, GRID, hsv(1.3, 1.0, 1.0))
    assert np.array_equal(turned.max(axis=1), GRID.max(axis=1))
    assert np.array_equal(turned.min(axis=1), GRID.min(axis=1))


@given(st.lists(STEPS, max_size=5), st.integers(0, 600))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_in_one_pass_equal_one_pass_each(backend: ModuleType, steps: list[Step], pixels: int) -> None:
    image = noise(pixels, 3)
    want = image
    for step in steps:
        want = recolor(backend, want, step)
    assert np.array_equal(recolor(backend, image, *steps), want)


@given(st.lists(STEPS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_twins_agree(twins: tuple[ModuleType, ModuleType], steps: list[Step]) -> None:
    first, second = (recolor(backend, GRID, *steps) for backend in twins)
    assert_same_bits((first,), (second,))


def test_an_image_may_be_changed_in_place(backend: ModuleType) -> None:
    steps = [hsv(0.4, 1.2, 0.9), table(SHUFFLED), saturation(1.3)]
    for pixels in (1, 255, 256, 257, 1000):
        image = noise(pixels, 3)
        want = recolor(backend, image, *steps)
        backend.recolor(image, *arrays(steps), image)
        assert np.array_equal(image, want)


def test_nothing_is_written_beside_the_output(backend: ModuleType) -> None:
    memory = np.full(3 * 300 + 40, 9, np.uint8)
    image = noise(300, 3)
    for start in (0, 7, 33):
        memory[:] = 9
        backend.recolor(image, *arrays([saturation(2.0)]), memory[start : start + image.size])
        assert (memory[:start] == 9).all()
        assert (memory[start + image.size :] == 9).all()


@pytest.mark.parametrize(
    "step",
    [
        Step(3),
        Step(255),
        saturation(-0.1),
        saturation(np.nan),
        saturation(np.inf),
        hsv(-0.1, 1, 1),
        hsv(6.1, 1, 1),
        hsv(np.nan, 1, 1),
        hsv(0, -1, 1),
        hsv(0, 1, np.inf),
    ],
)
def test_a_step_that_is_none_is_refused(backend: ModuleType, step: Step) -> None:
    with pytest.raises(GeometryError, match="colour steps must have finite numbers"):
        recolor(backend, noise(4, 3), saturation(1.0), step)


def test_other_lengths_are_refused(backend: ModuleType) -> None:
    image, (kinds, tables, numbers) = noise(4, 3), arrays([saturation(1.0), table(REVERSED)])
    for call in (
        (image, kinds, tables[:1], numbers, image),
        (image, kinds, tables, numbers[:1], image),
        (image, kinds[:1], tables, numbers, image),
        (image, kinds, tables, numbers, np.zeros(9, np.uint8)),
        (image.reshape(-1)[:10], kinds, tables, numbers, image.reshape(-1)[:10]),
    ):
        with pytest.raises(GeometryError, match="lengths"):
            backend.recolor(*call)


def test_wrong_dtypes_and_read_only_outputs_are_refused(backend: ModuleType) -> None:
    image, (kinds, tables, numbers) = noise(4, 3), arrays([saturation(1.0)])
    for call in (
        (image.astype(np.int16), kinds, tables, numbers, image),
        (image, kinds.astype(np.int64), tables, numbers, image),
        (image, kinds, tables, numbers.astype(np.float64), image),
        (image, kinds, tables, numbers, image[:, ::-1]),
    ):
        with pytest.raises(TypeError):
            backend.recolor(*call)
    frozen = image.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        backend.recolor(image, kinds, tables, numbers, frozen)
