"""The single cut, seen through clipping with one side of the rectangle only."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest

from dcap.geometry import ShapeArray
from support.kernel_calls import clip_convex, clip_rect

FAR = 1e6


def below(y: float) -> tuple[float, float, float, float]:
    return (-FAR, -FAR, FAR, y)


def parts(clipped: tuple[np.ndarray, ...]) -> list[list[list[float]]]:
    xy, offsets = clipped[0], clipped[1]
    return [xy[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def cut(backend: ModuleType, ring: list[list[float]], y: float) -> list[list[list[float]]]:
    return parts(clip_rect(backend, ShapeArray.from_points([ring], [1]), below(y)))


def test_a_vertex_on_the_line(backend: ModuleType) -> None:
    assert cut(backend, [[0, 0], [5, 10], [10, 0]], 10.0) == [[[0, 0], [5, 10], [10, 0]]]
    two = cut(backend, [[0, 0], [4, 8], [8, 0], [8, 20], [0, 20]], 8.0)
    assert sorted(sorted(part) for part in two) == [[[0, 0], [0, 8], [4, 8]], [[4, 8], [8, 0], [8, 8]]]


def test_an_edge_along_the_line(backend: ModuleType) -> None:
    step = [[0, 0], [10, 0], [10, 5], [6, 5], [6, 9], [0, 9]]
    [part] = cut(backend, step, 5.0)
    assert sorted(part) == [[0, 0], [0, 5], [10, 0], [10, 5]] or sorted(map(tuple, part)) == [
        (0, 0), (0, 5), (6, 5), (10, 0), (10, 5),
    ]  # fmt: skip


def test_the_meeting_point_lies_on_the_line_to_the_bit(backend: ModuleType) -> None:
    rng = np.random.default_rng(8)
    for ring in rng.uniform(0, 100, (50, 3, 2)):
        for part in cut(backend, ring.tolist(), 33.3):
            assert all(y <= 33.3 for _, y in part)


def test_an_edge_cut_from_both_sides_gives_one_point(backend: ModuleType) -> None:
    left, right = [[0.0, 0.0], [7.1, 30.3], [-9.0, 5.0]], [[0.0, 0.0], [7.1, 30.3], [20.0, 5.0]]
    points = [{tuple(p) for part in cut(backend, ring, 17.7) for p in part} for ring in (left, right)]
    assert len(points[0] & points[1]) == 2


def test_a_thorn_beyond_the_line_vanishes(backend: ModuleType) -> None:
    [part] = cut(backend, [[0, 0], [8, 0], [8, 8], [4, 8], [4, 12], [4, 8], [0, 8]], 8.0)
    assert all(y <= 8 for _, y in part)
    assert len({tuple(p) for p in part}) == len(part)


def test_a_retraced_bridge_splits_cleanly(backend: ModuleType) -> None:
    """A ring around a hole, as annotation tools write it: the seam runs to and fro."""
    keyhole = [[0, 0], [9, 0], [9, 9], [0, 9], [0, 0], [3, 3], [3, 6], [6, 6], [6, 3], [3, 3]]
    clipped = clip_rect(backend, ShapeArray.from_points([keyhole], [1]), below(5.0))
    assert clipped[4] == pytest.approx([39 / 72] * len(clipped[4]), abs=1e-12)


def test_a_tilted_line_through_many_teeth(backend: ModuleType) -> None:
    teeth = 50
    comb = [p for k in range(teeth) for p in ([2 * k, 0], [2 * k, 30], [2 * k + 1, 30], [2 * k + 1, 0])]
    ring = ShapeArray.from_points([[*comb, [2 * teeth, -5], [0, -5]]], [1])
    region = np.array([[-1.0, 1.0], [200.0, 11.0], [200.0, 100.0], [-1.0, 100.0]])
    assert len(clip_convex(backend, ring, region)[4]) == teeth


def test_a_line_next_to_a_vertex_keeps_the_order_of_its_edges(backend: ModuleType) -> None:
    """Seen from the far ends both edges would round to the vertex's place, in any order."""
    clipped = clip_rect(backend, ShapeArray.from_points([[[0, 1e-9], [1, 0], [1, 1]]], [1]), (1e-38, 0.0, 1.0, 1.0))
    assert [sorted(part) for part in parts(clipped)] == [[[1e-38, 1e-9], [1, 0], [1, 1]]]


def test_a_spike_that_rounding_flattens_vanishes(backend: ModuleType) -> None:
    spike, triangle = [[50, -9], [55, 2e-20], [60, -9]], [[70, -9], [75, 30], [80, -9]]
    [part] = parts(clip_rect(backend, ShapeArray.from_points([spike + triangle], [1]), (-FAR, 0.0, FAR, FAR)))
    assert len(part) == 3
    assert [75, 30] in part
