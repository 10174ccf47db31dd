"""Spikes and holes of what a cut leaves, seen through differences."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
import shapely

from dcap.geometry import ShapeArray
from support.kernel_calls import area_or_length, difference
from support.oracle import even_odd

Ring = list[list[float]]


def left(backend: ModuleType, ring: Ring, *covers: Ring) -> list[Ring]:
    cut = difference(backend, ShapeArray.from_points([ring], [1]), ShapeArray.from_points(covers, [1] * len(covers)))
    return [cut[0][a:b].tolist() for a, b in itertools.pairwise(cut[1])]


def square(x: float, y: float, size: float) -> Ring:
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size]]


def test_a_seam_takes_the_shortest_way(backend: ModuleType) -> None:
    [part] = left(backend, square(0, 0, 10), square(1, 4, 2))
    seams = [{tuple(p), tuple(q)} for p, q in itertools.pairwise([*part, part[0]])]
    walked_twice = [seam for k, seam in enumerate(seams) if seam in seams[:k]]
    assert walked_twice in ([{(0.0, 4.0), (1.0, 4.0)}], [{(0.0, 6.0), (1.0, 6.0)}])


def test_many_holes_join_one_outline(backend: ModuleType) -> None:
    holes = [square(10 * i + 2, 10 * j + 3, 4) for i in range(5) for j in range(4)]
    [part] = left(backend, square(0, 0, 60), *holes)
    assert even_odd(np.array(part)).area == pytest.approx(3600 - 20 * 16)
    assert area_or_length(backend, ShapeArray.from_points([part], [1]))[0] == pytest.approx(3600 - 20 * 16)


def test_a_hole_belongs_to_the_part_around_it(backend: ModuleType) -> None:
    parts = left(backend, [[0, 0], [30, 0], [30, 10], [0, 10]], square(10, -1, 12), square(2, 2, 3), square(24, 4, 2))
    assert sorted(even_odd(np.array(part)).area for part in parts) == pytest.approx([80 - 4, 100 - 9])


def test_an_island_in_a_hole_is_a_part(backend: ModuleType) -> None:
    frame = [*square(1, 1, 8), [1, 1], *square(3, 3, 4)[::-1], [7, 3], [3, 3]]
    expected = shapely.box(0, 0, 10, 10) - even_odd(np.array(frame))
    parts = left(backend, square(0, 0, 10), frame)
    assert sorted(even_odd(np.array(part)).area for part in parts) == pytest.approx(
        sorted(piece.area for piece in shapely.get_parts(expected))
    )


def test_common_edges_leave_no_spikes(backend: ModuleType) -> None:
    """A hole that touches the outline along an edge is a notch; a cover along an edge leaves nothing flat."""
    rng = np.random.default_rng(50)
    for _ in range(60):
        x, y, w, h = (float(v) for v in rng.integers(0, 4, 4) + np.array([0, 0, 1, 1]))
        for part in left(backend, square(0, 0, 6), [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]):
            points = np.array(part)
            before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
            inner = x > 0 and y > 0 and x + w < 6 and y + h < 6
            turns_back = (before * after).sum(axis=1) < 0
            assert not turns_back.any() or inner


def test_parts_that_touch_in_a_point_keep_their_region(backend: ModuleType) -> None:
    """Whether they are one ring or two is open."""
    parts = left(backend, square(0, 0, 4), square(0, 0, 2), square(2, 2, 2))
    region = shapely.union_all([even_odd(np.array(part)) for part in parts])
    assert region.equals(shapely.box(2, 0, 4, 2) | shapely.box(0, 2, 2, 4))
