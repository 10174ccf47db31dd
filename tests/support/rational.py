"""Even-odd regions in exact rational arithmetic: a sweep over slabs, slow and plain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

Point = tuple[Fraction | int, Fraction | int]
Segment = tuple[Point, Point]


def exact_ring(points: Iterable[Sequence[float]]) -> list[Point]:
    """The doubles themselves, without rounding."""
    return [(Fraction(float(x)), Fraction(float(y))) for x, y in points]


def edges_of(ring: Sequence[Point]) -> list[Segment]:
    return list(zip(ring, [*ring[1:], ring[0]], strict=True))


def area_where(rings: Sequence[Sequence[Point]], counts: Callable[[tuple[bool, ...]], bool]) -> Fraction:
    """The area of the places that count, told for each ring whether they are inside it by the even-odd rule.

    Between two neighbouring heights of vertices and crossings no two edges change places, so every strip between two
    edges is a trapezoid.
    """
    # Whole numbers of the smallest unit: every operation on fractions reduces them, which takes most of the time.
    unit = math.lcm(*(value.denominator for ring in rings for point in ring for value in point))
    whole = [[(int(x * unit), int(y * unit)) for x, y in ring] for ring in rings]
    edges = [(edge, k) for k, ring in enumerate(whole) for edge in edges_of(ring) if edge[0][1] != edge[1][1]]
    heights = sorted({y for (p, q), _ in edges for y in (p[1], q[1])} | set(_crossing_heights([e for e, _ in edges])))
    total = Fraction(0)
    for low, high in itertools.pairwise(heights):
        middle = Fraction(low + high) / 2
        active = sorted((_x_at(edge, middle), k) for edge, k in edges if _spans(edge, middle))
        inside = [False] * len(rings)
        for (x, k), (x_next, _) in itertools.pairwise([*active, (Fraction(0), -1)]):
            inside[k] = not inside[k]
            if counts(tuple(inside)):
                total += (x_next - x) * (high - low)
    return total / unit**2


def even_odd_area(points: Iterable[Sequence[float]]) -> Fraction:
    return area_where([exact_ring(points)], lambda inside: inside[0])


def _spans(edge: Segment, y: Fraction) -> bool:
    return min(edge[0][1], edge[1][1]) < y < max(edge[0][1], edge[1][1])


def _x_at(edge: Segment, y: Fraction) -> Fraction:
    (x1, y1), (x2, y2) = edge
    return x1 + Fraction((x2 - x1) * (y - y1), y2 - y1)


def _crossing_heights(edges: Sequence[Segment]) -> Iterable[Fraction]:
    for ((ax, ay), (bx, by)), ((cx, cy), (dx, dy)) in itertools.combinations(edges, 2):
        turn = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
        if turn == 0:
            continue
        along = (cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)
        if 0 < along < turn or turn < along < 0:
            yield ay + Fraction((by - ay) * along, turn)
