"""Line stitching: the parts of one polyline that several tiles show become one polyline again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dcap.geometry.clipping import difference
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray

Floats = npt.NDArray[np.float64]


def stitch_lines(
    lines: ShapeArray, tiles: npt.NDArray[np.int64], rects: Floats, cells: Floats, tolerance: float
) -> ShapeArray:
    """Join the parts of one line.

    Each tile gives the stretch in its own cell, so that no stretch is there twice. Where the cells meet, the ends are
    joined in the middle between them: the nearest first, at most twice the tolerance apart. The direction is that of
    the longest stretch.

    Args:
        lines: N parts, image frame.
        tiles: int64 (N,): tile of each part.
        rects: float64 (T, 4): windows of all tiles, which reach over the image.
        cells: float64 (T, 4): cells of all tiles, see `dcap.geometry.TilePlan.cell`, which reach as far.
        tolerance: Pixels by which tiles may differ about the line.

    Returns:
        The line. Where its middle is missing, the lines that remain, without those shorter than the tolerance.
    """
    pieces: list[Floats] = []
    members = np.unique(tiles).tolist()
    for k in members:
        part = lines.take(tiles == k)
        pieces += [points for _, points in difference(part, _claims(k, members, rects, cells)).shapes]
    if not pieces:  # a line along the border of cells may count as covered by both
        return lines.take([int(area_or_length(lines).argmax())])
    chains = _chains(pieces, 2 * tolerance)
    joined = ShapeArray.from_points(chains, [GeometryKind.LINE] * len(chains))
    lengths = area_or_length(joined)
    return joined.take((lengths > tolerance) | (lengths == lengths.max()))


def _claims(k: int, members: Sequence[int], rects: Floats, cells: Floats) -> ShapeArray:
    """Return the areas of which tile `k` must not give anything, as boxes.

    They are the cells of the other members, and in cells of no member the windows of the members before it.
    """
    others = [j for j in members if j != k]
    free = np.delete(np.arange(len(cells)), members)
    claimed = [cells[others]]
    for j in (j for j in others if j < k):
        low, high = np.maximum(cells[free, :2], rects[j, :2]), np.minimum(cells[free, 2:], rects[j, 2:])
        claimed.append(np.hstack([low, high])[(low < high).all(axis=1)])
    boxes = np.concatenate(claimed).reshape(-1, 2, 2)
    return ShapeArray.from_points(boxes, [GeometryKind.BOX] * len(boxes))


def _chains(pieces: Sequence[Floats], reach: float) -> list[Floats]:
    """Return polylines of which the pieces are the stretches, in their order along each."""
    partner = _joints(np.array([end for points in pieces for end in (points[0], points[-1])]), reach)
    chains: list[Floats] = []
    seen: set[int] = set()
    for first in (end for end in range(2 * len(pieces)) if end not in partner):
        if first // 2 in seen:
            continue
        end: int | None = first
        points: list[Floats] = []
        longest = (-1.0, True)
        while end is not None:
            piece, is_forward = pieces[end // 2], end % 2 == 0
            seen.add(end // 2)
            longest = max(longest, (float(np.linalg.norm(np.diff(piece, axis=0), axis=1).sum()), is_forward))
            ahead = list(piece if is_forward else piece[::-1])
            if points:
                points[-1] = (points[-1] + ahead[0]) / 2
            points += ahead[1:] if points else ahead
            end = partner.get(end ^ 1)
        chains.append(np.array(points if longest[1] else points[::-1]))
    return chains


def _joints(ends: Floats, reach: float) -> dict[int, int]:
    """Return for each joined end the other one.

    Args:
        ends: float64 (2N, 2): first and last point of each piece.
        reach: Largest distance of two ends that are joined.
    """
    chain = np.arange(len(ends)) // 2
    gaps = np.linalg.norm(ends[:, None] - ends, axis=-1)
    first, second = np.nonzero(np.triu(gaps <= reach, 1))
    partner: dict[int, int] = {}
    for n in np.argsort(gaps[first, second], kind="stable").tolist():
        a, b = int(first[n]), int(second[n])
        if a not in partner and b not in partner and chain[a] != chain[b]:  # a line is never closed to a ring
            partner[a], partner[b] = b, a
            chain[chain == chain[b]] = chain[a]
    return partner
