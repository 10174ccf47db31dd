"""The twin of the predicates, asked directly; through areas, `test_marks` asks both backends."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dcap.kernels._numba.predicates import crosses_before, orientation

Points = npt.NDArray[np.float64]
Edge = tuple[int, int]


def turn(points: Points, i: int, j: int, k: int) -> int:
    return int(orientation(*points[i], i, *points[j], j, *points[k], k))


def cross(points: Points, e: Edge, f: Edge) -> bool:
    return turn(points, *e, f[0]) != turn(points, *e, f[1]) and turn(points, *f, e[0]) != turn(points, *f, e[1])


def before(points: Points, e: Edge, f: Edge, g: Edge) -> bool:
    index = np.array([*e, *f, *g])
    return bool(crosses_before(points[index], index))


def way(points: Points, e: Edge, f: Edge) -> Fraction | None:
    """How far along e it meets f, exactly; None for parallel edges."""
    (px, py), (qx, qy), (rx, ry), (sx, sy) = (map(Fraction, points[k].tolist()) for k in (*e, *f))
    at_p = (sx - rx) * (py - ry) - (sy - ry) * (px - rx)
    at_q = (sx - rx) * (qy - ry) - (sy - ry) * (qx - rx)
    return None if at_p == at_q else at_p / (at_p - at_q)


def edges_that_cross(points: Points, e: Edge) -> list[Edge]:
    chain = [(k, k + 1) for k in range(2, len(points) - 1)]
    return [f for f in chain if cross(points, e, f)]


def test_the_order_is_that_of_rational_arithmetic() -> None:
    """Points of few values and points a few bits apart: most edges nearly coincide, and many exactly."""
    rng = np.random.default_rng(40)
    decided = 0
    for case in range(60):
        points = rng.integers(0, 4, (12, 2)).astype(float)
        points += rng.integers(-2, 3, points.shape) * 2.0**-50 if case % 2 else 0.0
        e = (0, 1)
        for f, g in itertools.combinations(edges_that_cross(points, e), 2):
            first, second = way(points, e, f), way(points, e, g)
            assert before(points, e, f, g) != before(points, e, g, f)
            if first is not None and second is not None and first != second:
                assert before(points, e, f, g) == (first < second)
                decided += 1
    assert decided > 100


def test_ties_are_broken_as_in_one_drawing() -> None:
    """Along one edge the order is transitive; and of three edges that cross, all three tell the same triangle."""
    rng = np.random.default_rng(41)
    chains = triangles = 0
    for _ in range(60):
        points = rng.integers(0, 3, (14, 2)).astype(float)
        e = (0, 1)
        found = edges_that_cross(points, e)
        for f, g, h in itertools.permutations(found[:5], 3):
            if before(points, e, f, g) and before(points, e, g, h):
                assert before(points, e, f, h)
                chains += 1
        for f, g in itertools.combinations(found, 2):
            if f[1] == g[0] or not cross(points, f, g):
                continue
            # e meets f before g exactly when that crossing is on p's side of g, which f tells too.
            starts_at_p_side = turn(points, *g, f[0]) == turn(points, *g, e[0])
            assert before(points, e, f, g) == (before(points, f, e, g) == starts_at_p_side)
            triangles += 1
    assert chains > 100
    assert triangles > 50


def test_whole_numbers_and_others_have_one_order() -> None:
    """Whole numbers near each other are decided in integers; halves, and numbers far apart, are not."""
    rng = np.random.default_rng(42)
    ties = 0
    for case in range(60):
        most = (3, 8192, 8200)[case % 3]
        points = rng.integers(0, most, (14, 2)).astype(float)
        points[rng.permutation(14)[:7]] = points[0]
        e = (0, 1)
        for f, g in itertools.permutations(edges_that_cross(points, e)[:6], 2):
            wanted = before(points, e, f, g)
            assert before(points + 1000.0, e, f, g) == wanted
            assert before(points / 2 + 0.25, e, f, g) == wanted
            ties += way(points, e, f) == way(points, e, g)
    assert ties > 100


def test_a_turn_is_exact_where_differences_are_and_where_they_are_not() -> None:
    rng = np.random.default_rng(43)
    straight = 0
    for case in range(400):
        a, b = rng.integers(-50, 50, (2, 2)) / (1.0, 3.0)[case % 2]
        points = np.array([a, b, a + (b - a) * rng.integers(-3, 4)])
        points[2] += rng.integers(-1, 2, 2) * 2.0 ** -rng.integers(20, 50)
        (ax, ay), (bx, by), (cx, cy) = (map(Fraction, point.tolist()) for point in points)
        exact = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        straight += exact == 0
        if exact != 0:
            assert turn(points, 0, 1, 2) == (1 if exact > 0 else -1)
        assert turn(points, 0, 1, 2) == turn(points[[1, 2, 0]], 0, 1, 2) or exact == 0
    assert 20 < straight < 380
