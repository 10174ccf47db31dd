"""How much of a polyline runs along another one: exact lengths within a pixel tolerance.

Owns the buffer measure of road extraction; needs no rasterising and no sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.geometry.shapes import ShapeArray

Floats = npt.NDArray[np.float64]

MAX_PAIRS = 1 << 20
"""Pairs of segments that are measured at once, a bound on memory."""


def line_lengths(lines: ShapeArray) -> Floats:
    """Return the length of each polyline in pixels, float64 (N,)."""
    start, end, owner = _segments(lines)
    return _sum_by_line(np.linalg.norm(end - start, axis=1), owner, len(lines))


def covered_lengths(lines: ShapeArray, others: ShapeArray, tolerance_px: float, max_pairs: int = MAX_PAIRS) -> Floats:
    """Return the length of each line within `tolerance_px` of at least one of `others`.

    Exact: the points within a distance of a segment form a capsule, a convex set, so each segment meets it in one
    interval; the intervals of all segments of `others` are united.

    Args:
        lines: N polylines, pixel-edge coordinates.
        others: M polylines of the same frame.
        tolerance_px: Distance in pixels, above 0.
        max_pairs: Pairs of segments to measure at once; the result does not depend on it.

    Returns:
        Lengths in pixels, float64 (N,), within 0..`line_lengths`.

    Source: Wiedemann, Heipke, Mayer, Jamet, "Empirical evaluation of automatically extracted road axes", 1998: the
    share of the reference within the buffer is its completeness, the share of the extraction its correctness.
    """
    _, _, other_owner = _segments(others)
    return _covered(lines, others, [np.arange(len(other_owner))], tolerance_px, max_pairs)[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class Alongside:
    """How much of the lines of two sides runs along lines of the other."""

    agreement: Floats
    """As `line_agreement`, float64 (N, M)."""
    covered_a: Floats
    """As `covered_lengths` of the first side, float64 (N,)."""
    covered_b: Floats
    """As `covered_lengths` of the second side, float64 (M,)."""


def run_alongside(a: ShapeArray, b: ShapeArray, tolerance_px: float, max_pairs: int = MAX_PAIRS) -> Alongside:
    """Return `line_agreement` and both `covered_lengths` at the price of one of them; arguments are those of both."""
    if not len(a) or not len(b):
        return Alongside(np.zeros((len(a), len(b))), np.zeros(len(a)), np.zeros(len(b)))
    shares, covered_a = _shares(a, b, tolerance_px, max_pairs)
    others, covered_b = _shares(b, a, tolerance_px, max_pairs)
    total = shares + others.T
    agreement = np.divide(2.0 * shares * others.T, total, out=np.zeros_like(total), where=total > 0.0)
    return Alongside(agreement, covered_a, covered_b)


def line_agreement(a: ShapeArray, b: ShapeArray, tolerance_px: float, max_pairs: int = MAX_PAIRS) -> Floats:
    """Return for each pair of lines the harmonic mean of the two shares that run along the other.

    It is 1 for equal lines and 0 for lines that are nowhere within the tolerance. It is low if either line is a short
    piece of the other.

    Args:
        a: N polylines, pixel-edge coordinates.
        b: M polylines of the same frame.
        tolerance_px: Distance in pixels, above 0.
        max_pairs: Pairs of segments to measure at once; the result does not depend on it.

    Returns:
        float64 (N, M), within 0..1.
    """
    return run_alongside(a, b, tolerance_px, max_pairs).agreement


def _shares(lines: ShapeArray, others: ShapeArray, tolerance_px: float, max_pairs: int) -> tuple[Floats, Floats]:
    """Return the share of each line along each other one, (N, M), and its length along any of them, (N,)."""
    _, _, owner = _segments(others)
    whole = np.arange(len(owner))
    groups = np.split(whole, np.searchsorted(owner, np.arange(1, len(others))))[: len(others)]
    covered = _covered(lines, others, [whole, *groups], tolerance_px, max_pairs)
    lengths = np.maximum(line_lengths(lines), np.finfo(np.float64).tiny)
    return np.minimum(covered[:, 1:] / lengths[:, None], 1.0), covered[:, 0]


def _covered(
    lines: ShapeArray,
    others: ShapeArray,
    groups: Sequence[npt.NDArray[np.int64]],
    tolerance_px: float,
    max_pairs: int,
) -> Floats:
    """Return the length of each line that each group of segments of `others` covers, (N, number of groups)."""
    start, end, owner = _segments(lines)
    other_start, other_end, _ = _segments(others)
    out = np.zeros((len(lines), len(groups)))
    lengths = np.linalg.norm(end - start, axis=1)
    rows = max(1, max_pairs // max(1, len(other_start)))
    for i in range(0, len(start), rows):
        part = slice(i, i + rows)
        low, high = _intervals(start[part], end[part], other_start, other_end, tolerance_px)
        for k, group in enumerate(groups):
            np.add.at(out[:, k], owner[part], _union(low[:, group], high[:, group]) * lengths[part])
    return out


def _sum_by_line(values: Floats, owner: npt.NDArray[np.int64], num_lines: int) -> Floats:
    out = np.zeros(num_lines)
    np.add.at(out, owner, values)
    return out


def _segments(lines: ShapeArray) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Return start (S, 2), end (S, 2) and owner (S,) of every segment."""
    owner = np.repeat(np.arange(len(lines)), np.diff(lines.offsets))
    inside = owner[1:] == owner[:-1]
    return lines.xy[:-1][inside], lines.xy[1:][inside], owner[:-1][inside]


def _intervals(a: Floats, b: Floats, c: Floats, e: Floats, radius: float) -> tuple[Floats, Floats]:
    """Return where a + t (b - a), t in 0..1, is within `radius` of the segment c..e; (S, T) each, 0, 0 if nowhere.

    A capsule is a rectangle and two discs; it is convex, so the hull of their three intervals is the interval.
    """
    along = (b - a)[:, None, :]
    axis = e - c
    length = np.linalg.norm(axis, axis=1)
    unit = np.where(length[:, None] > 0.0, axis / np.maximum(length, 1e-300)[:, None], [1.0, 0.0])
    offset = a[:, None, :] - c[None, :, :]
    low, high = _slab((offset * unit).sum(-1), (along * unit).sum(-1), 0.0, length)
    across = (-1.0, 1.0) * unit[:, ::-1]
    low2, high2 = _slab((offset * across).sum(-1), (along * across).sum(-1), -radius, radius)
    low, high = np.maximum(low, low2), np.minimum(high, high2)
    low, high = np.where(low <= high, low, np.inf), np.where(low <= high, high, -np.inf)
    for center in (c, e):
        disc_low, disc_high = _disc(a[:, None, :] - center[None, :, :], along, radius)
        low, high = np.minimum(low, disc_low), np.maximum(high, disc_high)
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    some = low < high
    return np.where(some, low, 0.0), np.where(some, high, 0.0)


def _slab(at_zero: Floats, slope: Floats, least: float, most: Floats | float) -> tuple[Floats, Floats]:
    flat = slope == 0.0
    safe = np.where(flat, 1.0, slope)
    first, second = (least - at_zero) / safe, (most - at_zero) / safe
    inside = (at_zero >= least) & (at_zero <= most)
    low = np.where(flat, np.where(inside, -np.inf, np.inf), np.minimum(first, second))
    high = np.where(flat, np.where(inside, np.inf, -np.inf), np.maximum(first, second))
    return low, high


def _disc(offset: Floats, along: Floats, radius: float) -> tuple[Floats, Floats]:
    square = (along * along).sum(-1)
    half = (offset * along).sum(-1)
    root = half * half - square * ((offset * offset).sum(-1) - radius * radius)
    some = (root >= 0.0) & (square > 0.0)
    safe, root = np.where(some, square, 1.0), np.sqrt(np.where(some, root, 0.0))
    return np.where(some, (-half - root) / safe, np.inf), np.where(some, (-half + root) / safe, -np.inf)


def _union(low: Floats, high: Floats) -> Floats:
    """Return the total length of the union of the intervals of each row, (S,)."""
    if not low.shape[1]:
        return np.zeros(len(low))
    order = np.argsort(low, axis=1)
    low, high = np.take_along_axis(low, order, 1), np.take_along_axis(high, order, 1)
    reach = np.maximum.accumulate(high, axis=1)
    before = np.hstack([np.zeros((len(low), 1)), reach[:, :-1]])
    total: Floats = np.maximum(0.0, high - np.maximum(low, before)).sum(axis=1)
    return total
