from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.kernels import plain
from support.kernel_calls import assert_same_bits

MOST = 2**31 - 1
LEAST = (2, 3, 2)
Points = list[list[int]]
Shape = tuple[int, Points]
on_every_backend = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Shape], list[int], tuple[int, int]]:
    """Shapes that mostly meet themselves, in any order, on grids up to the largest."""
    span = draw(st.sampled_from([(1, 1), (2, 3), (5, 4), (1000, 1000), (MOST, MOST)]))
    side = [st.integers(0, end) | st.sampled_from([0, end // 2, end]) for end in span]
    shapes = []
    for kind in draw(st.lists(st.integers(0, 2), max_size=4)):
        count = 2 if kind == 0 else draw(st.integers(LEAST[kind], 12))
        points = draw(st.lists(st.tuples(*side).map(list), min_size=count, max_size=count))
        shapes.append((kind, np.sort(points, axis=0).tolist() if kind == 0 else points))
    return shapes, draw(st.permutations(range(len(shapes)))), span


def arrays_of(shapes: list[Shape]) -> tuple[Any, ...]:
    xy = np.array([point for _, points in shapes for point in points], np.int64).reshape(-1, 2)
    offsets = np.cumsum([0, *(len(points) for _, points in shapes)])
    return xy, offsets, np.array([kind for kind, _ in shapes], np.uint8)


def canonicalize(backend: ModuleType, shapes: list[Shape], order: list[int], span: tuple[int, int]) -> tuple[Any, Any]:
    xy, offsets, kinds = arrays_of(shapes)
    out, ends = np.full_like(xy, -1), np.empty(len(order) + 1, np.int64)
    n = backend.canonicalize(xy, offsets, kinds, np.array(order, np.int64), span, out, ends)
    assert (out[n:] == -1).all() or n < len(xy)
    return out[:n], ends


Case = tuple[list[Shape], list[int], tuple[int, int]]


@given(case=cases())
@on_every_backend
def test_written_shapes_are_legal_and_stay_as_they_are(untwinned: ModuleType, case: Case) -> None:
    shapes, order, span = case
    out, ends = canonicalize(untwinned, shapes, order, span)
    written = [(shapes[i][0], out[a:b].tolist()) for i, (a, b) in zip(order, itertools.pairwise(ends), strict=True)]
    for kind, points in written:
        assert len({(x, y) for x, y in points}) >= LEAST[kind]
        assert all(a != b for a, b in itertools.pairwise([*points, points[0]] if kind == 1 else points))
        assert kind != 0 or (points[0][0] < points[1][0] and points[0][1] < points[1][1])
        assert kind != 1 or (points[0][1], points[0][0]) == min((y, x) for x, y in points)
    again, _ = canonicalize(untwinned, written, list(range(len(order))), span)
    assert np.array_equal(again, out)


@given(case=cases())
@on_every_backend
def test_backends_agree(core: ModuleType, case: Case) -> None:
    assert_same_bits(*(canonicalize(backend, *case) for backend in (core, plain)))


@pytest.mark.parametrize("times", [2, 8, 9])
def test_a_ring_that_meets_its_start(untwinned: ModuleType, times: int) -> None:
    """Up to 8 times it begins where it reads smallest, after that where it is met first."""
    ring = [point for k in range(times, 0, -1) for point in ([3, 0], [2 + k, 4], [1 + k, 5])]
    out, _ = canonicalize(untwinned, [(1, ring)], [0], (20, 20))
    turned, _ = canonicalize(untwinned, [(1, ring[3:] + ring[:3])], [0], (20, 20))
    smallest = [*ring[-3:], *ring[:-3]]
    assert out.tolist() == (smallest if times <= 8 else ring)
    assert np.array_equal(out, turned) == (times <= 8)


def test_the_direction_of_a_ring_whose_area_overflows(untwinned: ModuleType) -> None:
    square = [[0, 0], [MOST, 0], [MOST, MOST], [0, MOST]] * 40
    for ring in (square, square[::-1]):
        out, _ = canonicalize(untwinned, [(1, ring)], [0], (MOST, MOST))
        assert out.tolist() == square


def test_wrong_input_is_refused(untwinned: ModuleType) -> None:
    good = [(0, [[1, 2], [3, 4]]), (1, [[0, 0], [4, 0], [4, 4]])]
    assert len(canonicalize(untwinned, good, [1, 0], (4, 4))[0]) == 5
    for shapes, order, span in (
        (good, [0, 2], (4, 4)), (good, [0, -1], (4, 4)), (good, [1, 1], (4, 4)), (good, [0, 1], (3, 4)),
        (good, [0, 1], (4, 0)), (good, [0, 1], (4, MOST + 1)), ([(0, [[-1, 2], [3, 4]])], [0], (4, 4)),
    ):  # fmt: skip
        with pytest.raises(GeometryError, match="output arrays must have"):
            canonicalize(untwinned, shapes, order, span)
    for shapes in ([(1, [[1, 1], [2, 2]])], [(3, [[1, 1], [2, 2]])], [(0, [[1, 1]])]):
        with pytest.raises(GeometryError, match="shapes must have"):
            canonicalize(untwinned, shapes, [0], (4, 4))


def test_wrong_dtypes_and_read_only_outputs_are_refused(untwinned: ModuleType) -> None:
    arrays = (
        *arrays_of([(0, [[1, 2], [3, 4]])]),
        np.zeros(1, np.int64),
        (4, 4),
        np.zeros((2, 2), np.int64),
        np.zeros(2, np.int64),
    )
    for k in (0, 1, 2, 3, 5, 6):
        for bad in (arrays[k].astype(np.float32), None):
            with pytest.raises(TypeError):
                untwinned.canonicalize(*arrays[:k], bad, *arrays[k + 1 :])
        if k > 4:
            frozen = arrays[k].copy()
            frozen.flags.writeable = False
            with pytest.raises(ValueError, match="not writeable"):
                untwinned.canonicalize(*arrays[:k], frozen, *arrays[k + 1 :])
