"""Tile merge: the predictions about the tiles of an image become one prediction about the image.

Two predictions of different tiles are the same object when both tiles saw the same of it: restricted to what both tiles
show, they agree. No torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.answers.prediction import Dropped, Prediction
from dcap.core.errors import RecordError
from dcap.evaluate.lines import covered_lengths, line_agreement
from dcap.geometry.affine import Affine
from dcap.geometry.clipping import Rect, clip, difference, transform
from dcap.geometry.measures import area_or_length, polygon_iou
from dcap.geometry.shapes import MIN_POINTS, GeometryKind, ShapeArray, rings_without_area
from dcap.geometry.tiling import TilePlan
from dcap.infer.line_stitch import stitch_lines
from dcap.records.record import Origin

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Link = tuple[float, int, int]
"""Two objects that are one, after how well they agree."""

AGREEMENT = 0.5
"""Least agreement of two predictions about one object."""
TOLERANCE = 0.01
"""Distance at which two predictions about one border count as equal, as a share of the longest side of a tile."""
_FINE = 8
"""Lines side by side are told apart at this part of the tolerance."""


@dataclass(frozen=True, eq=False, slots=True)
class _Parts:
    """All objects of all tiles, in pixels of the image.

    Args:
        plan: The T tiles.
        rects: float64 (T, 4): windows of the tiles, which reach a pixel over the image.
        cells: float64 (T, 4): see `TilePlan.cell`; they reach as far.
        shapes: N shapes, tile by tile.
        captions: N texts.
        scores: N scores.
        tile: int64 (N,): tile of each.
        label: int64 (N,): equal for objects of equal caption and kind.
        bounds: float64 (N, 4).
        tolerance: Pixels.
    """

    plan: TilePlan
    rects: Floats
    cells: Floats
    shapes: ShapeArray
    captions: tuple[str, ...]
    scores: tuple[float | None, ...]
    tile: Indices
    label: Indices
    bounds: Floats
    tolerance: float

    @classmethod
    def of(cls, plan: TilePlan, answers: Sequence[Prediction]) -> _Parts:
        """Move the objects of all tiles into the frame of the image."""
        windows = plan.windows
        shapes = ShapeArray.concatenate(
            [transform(a.shapes, Affine.translation(w.x, w.y)) for a, w in zip(answers, windows, strict=True)]
        )
        captions = tuple(itertools.chain.from_iterable(answer.captions for answer in answers))
        labels: dict[tuple[str, int], int] = {}
        # Moved out at the border of the image, so that no shape runs along a side.
        inner = np.array([plan.inner_sides(k) for k in range(len(plan))])
        out = np.where(inner, 0.0, [-1.0, -1.0, 1.0, 1.0])
        pairs = zip(captions, shapes.kinds.tolist(), strict=True)
        return cls(
            plan=plan,
            rects=np.array([window.rect for window in windows]) + out,
            cells=np.array([plan.cell(k) for k in range(len(plan))]) + out,
            shapes=shapes,
            captions=captions,
            scores=tuple(itertools.chain.from_iterable(a.scores or (None,) * len(a.shapes) for a in answers)),
            tile=np.repeat(np.arange(len(answers)), [len(answer.shapes) for answer in answers]),
            label=np.array([labels.setdefault(pair, len(labels)) for pair in pairs], np.int64),
            bounds=shapes.bounds(),
            tolerance=TOLERANCE * max(max(window.width, window.height) for window in windows),
        )

    def is_within(self, inner: Floats, outer: Floats) -> bool:
        """Return whether bounds (4,) are within others, or reach over them by the tolerance at most."""
        return bool((inner[:2] >= outer[:2] - self.tolerance).all() and (inner[2:] <= outer[2:] + self.tolerance).all())

    def room(self, i: int) -> float:
        """Return the distance of object `i` from the nearest border of its tile inside the image, pixels."""
        k = int(self.tile[i])
        inner = list(self.plan.inner_sides(k))
        return float(np.abs(self.rects[k] - self.bounds[i])[inner].min(initial=np.inf))


def merge_tiles(
    plan: TilePlan, answers: Sequence[Prediction], image: str = "", source: Origin | None = None
) -> Prediction:
    """Return one prediction about an image from those about its tiles.

    Predictions of two tiles are one object when their captions and kinds are equal and, restricted exactly to what both
    tiles show, they agree: by IoU for boxes and polygons, by the shares of their lengths that run along each other for
    lines. Within a pair of tiles each has one partner, the one that agrees best. Chains of partners are one object.
    What a border cut off is left out where the other tile has the object that it is of. Objects of tiles without a
    common part stay apart.

    If one tile shows all of an object, that prediction is taken, of several the one farthest from a border. Else boxes
    become their bounds, polygons their exact union, and lines are stitched in the middle of the overlap. The score is
    the largest of the parts: that of the tile that shows the object best.

    Args:
        plan: The tiles.
        answers: One prediction per tile, in pixels of the tile.
        image: Path of the image.
        source: Record that names the image.

    Returns:
        Objects in pixels of the image. `text` holds the answers of all tiles, each under a line that names its window.
        A problem names its tile. `finish` is ``length`` if an answer was too long.

    Raises:
        RecordError: There is not one prediction per tile, or one is about another extent than its tile.
    """
    if [answer.canvas for answer in answers] != [window.canvas for window in plan.windows]:
        raise RecordError(f"answers must be one per tile, {len(plan)}, of its extent, not {len(answers)} others")
    whole = len(plan) == 1
    merged = _objects(_Parts.of(plan, answers)) if not whole else answers[0]
    names = [f"tile {k + 1}, {window}" for k, window in enumerate(plan.windows)]
    pairs = list(zip(names, answers, strict=True))
    finishes = {answer.finish for answer in answers}
    return replace(
        merged,
        image=image,
        canvas=plan.canvas,
        text=answers[0].text if whole else "\n".join(f"{name}:\n{answer.text}" for name, answer in pairs),
        problems=tuple(p if whole else f"{name}: {p}" for name, answer in pairs for p in answer.problems),
        finish="length" if "length" in finishes else answers[0].finish,
        source=source,
        dropped=sum((answer.dropped for answer in answers), Dropped()),
    )


def _objects(parts: _Parts) -> Prediction:
    """Return the objects of the whole image; what else belongs to a prediction is not set."""
    links, absorbed = _links(parts)
    shapes: list[ShapeArray] = []
    captions: list[str] = []
    scores: list[float | None] = []
    for group in _groups(parts, links):
        left = [i for i in group if i not in absorbed]
        if not left:
            continue
        found = _clean(_united(parts, left), parts.plan)
        known = [score for i in left if (score := parts.scores[i]) is not None]
        shapes.append(found)
        captions += [parts.captions[left[0]]] * len(found)
        scores += [max(known, default=None)] * len(found)
    return Prediction(
        image="",
        canvas=parts.plan.canvas,
        shapes=ShapeArray.concatenate(shapes),
        captions=tuple(captions),
        scores=tuple(scores) if any(score is not None for score in scores) else (),
    )


def _links(parts: _Parts) -> tuple[list[Link], set[int]]:
    """Return the pairs of one object, and the objects that are only a cut off part of another one."""
    links: list[Link] = []
    absorbed: set[int] = set()
    for a, b, shared in _neighbours(parts):
        near = parts.bounds[a][:, None] + np.array([-1, -1, 1, 1]) * parts.tolerance
        same = (parts.label[a][:, None] == parts.label[b]) & _touch(near, parts.bounds[b])
        a, b = a[same.any(axis=1)], b[same.any(axis=0)]
        found = _partners(parts, a, b, shared) if len(a) else []
        links += found
        known = {i for link in found for i in link[1:]}
        for ends, others in ((a, b), (b, a)):
            for i in ends.tolist():
                if i not in known and _is_cut_off(parts, i, [j for j in others.tolist() if j not in absorbed]):
                    absorbed.add(i)
    return links, absorbed


def _neighbours(parts: _Parts) -> Iterator[tuple[Indices, Indices, Rect]]:
    """Yield, for each two tiles with a common part, their objects there or beside it, and that part."""
    starts = np.searchsorted(parts.tile, np.arange(len(parts.rects) + 1))
    used = np.flatnonzero(np.diff(starts))
    for n, k in enumerate(used.tolist()):
        later = used[n + 1 :]
        low, high = np.split(parts.rects[later], 2, axis=1)
        low, high = np.maximum(low, parts.rects[k, :2]), np.minimum(high, parts.rects[k, 2:])
        for m in np.flatnonzero((low < high).all(axis=1)).tolist():
            near = np.concatenate([low[m] - parts.tolerance, high[m] + parts.tolerance])
            of_tiles = [np.arange(starts[t], starts[t + 1]) for t in (k, later[m])]
            first, second = (own[_touch(parts.bounds[own], near)] for own in of_tiles)
            x1, y1, x2, y2 = np.concatenate([low[m], high[m]]).tolist()
            yield first, second, (x1, y1, x2, y2)


def _touch(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    """Return whether rectangles (..., 4) touch each other."""
    return np.asarray(((a[..., :2] <= b[..., 2:]) & (a[..., 2:] >= b[..., :2])).all(axis=-1))


def _partners(parts: _Parts, a: Indices, b: Indices, shared: Rect) -> list[Link]:
    """Return which objects of two tiles are the same, given the part that both tiles show.

    What a tile shows of an object there may be several pieces. Each piece has one partner at most, the best first.
    """
    left, right = clip(parts.shapes.take(a), shared), clip(parts.shapes.take(b), shared)
    agreement = _agreement(left.shapes, right.shapes, parts.tolerance)
    owners, others = a[left.source_index], b[right.source_index]
    agreement[parts.label[owners][:, None] != parts.label[others]] = 0.0
    rows, columns = np.nonzero(agreement >= AGREEMENT)
    order = np.argsort(-agreement[rows, columns], kind="stable")
    free = [np.ones(count, np.bool_) for count in agreement.shape]
    found: list[Link] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free[0][row] and free[1][column]:
            free[0][row] = free[1][column] = False
            found.append((float(agreement[row, column]), int(owners[row]), int(others[column])))
    return found


def _agreement(a: ShapeArray, b: ShapeArray, tolerance: float) -> Floats:
    """Return how well each shape agrees with each other one, float64 (len(a), len(b)) within 0..1."""
    out = polygon_iou(a, b)
    lines = [np.flatnonzero(shapes.kinds == GeometryKind.LINE) for shapes in (a, b)]
    if not all(map(len, lines)):
        return out
    first, second = a.take(lines[0]), b.take(lines[1])
    agreement = line_agreement(first, second, tolerance)
    good = agreement >= AGREEMENT
    if (good.sum(axis=0) > 1).any() or (good.sum(axis=1) > 1).any():
        # Lines side by side agree with each other too. A finer measure tells them apart.
        fine = (agreement + line_agreement(first, second, tolerance / _FINE)) / 2
        agreement = np.where(good, np.maximum(fine, AGREEMENT), 0.0)
    out[np.ix_(*lines)] = agreement
    return out


def _is_cut_off(parts: _Parts, i: int, others: Sequence[int]) -> bool:
    """Return whether object `i` is a part, cut off by the border of its tile, of what another tile shows whole.

    Args:
        parts: All objects.
        i: An object without a partner among `others`.
        others: Objects of the other tile.
    """
    if not others or parts.room(i) > parts.tolerance:
        return False
    bounds, rect = parts.bounds[i], parts.rects[parts.tile[others[0]]]
    if (bounds[:2] < rect[:2]).any() or (bounds[2:] > rect[2:]).any():
        return False
    return any(
        parts.label[i] == parts.label[j] and parts.is_within(bounds, parts.bounds[j]) and _shows(parts, j, i)
        for j in others
    )


def _shows(parts: _Parts, j: int, i: int) -> bool:
    """Return whether object `j` covers most of object `i`, or is beside it where that is a sliver."""
    part, other = parts.shapes.take([i]), parts.shapes.take([j])
    if part.kinds[0] == GeometryKind.LINE:
        return bool(covered_lengths(part, other, parts.tolerance)[0] >= AGREEMENT * area_or_length(part)[0])
    low, high = np.split(parts.bounds[i], 2)
    left = difference(part, other).visible_fraction
    return bool((high - low).min() <= 2 * parts.tolerance or not len(left) or left[0] <= 1.0 - AGREEMENT)


def _groups(parts: _Parts, links: Sequence[Link]) -> list[list[int]]:
    """Return the chains of linked objects, in the order of their first ones. The best links come first.

    A tile shows an object once, in several pieces only if its border cuts it. So a link that would put two objects of
    one tile together is left out if one of them is whole.
    """
    groups = {i: [i] for i in range(len(parts.shapes))}
    root = list(groups)
    for _, *ends in sorted(links, key=lambda link: -link[0]):
        first, second = sorted(root[i] for i in ends)
        if first != second and not _clash(parts, groups[first], groups[second]):
            for i in groups[second]:
                root[i] = first
            groups[first] += groups.pop(second)
    return [sorted(group) for _, group in sorted(groups.items())]


def _clash(parts: _Parts, a: Sequence[int], b: Sequence[int]) -> bool:
    """Return whether two groups have objects of one tile that cannot be pieces of one object."""
    tiles = set(parts.tile[a].tolist()).intersection(parts.tile[b].tolist())
    if not tiles:
        return False
    pieces = [i for i in (*a, *b) if parts.tile[i] in tiles]
    return bool(parts.shapes.kinds[pieces[0]] == GeometryKind.BOX) or any(
        parts.room(i) > parts.tolerance for i in pieces
    )


def _united(parts: _Parts, group: list[int]) -> ShapeArray:
    """Return one object, or where its middle is missing several, from what some tiles show of it."""
    shapes, bounds = parts.shapes.take(group), parts.bounds[group]
    reach = np.concatenate([bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)])
    whole = [i for i in group if parts.is_within(reach, parts.bounds[i])]
    if whole:
        return parts.shapes.take([max(whole, key=parts.room)])
    if shapes.kinds[0] == GeometryKind.BOX:
        return ShapeArray.from_points([reach.reshape(2, 2)], [GeometryKind.BOX])
    if shapes.kinds[0] == GeometryKind.POLYGON:
        return _polygon_union(shapes, reach, parts.tolerance)
    return stitch_lines(shapes, parts.tile[group], parts.rects, parts.cells, parts.tolerance)


def _polygon_union(polygons: ShapeArray, reach: Floats, tolerance: float) -> ShapeArray:
    """Return the exact union of polygons, as what the areas outside of all of them leave.

    Holes and islands no larger than a square of the tolerance are noise; they are filled and left out.

    Args:
        polygons: Rings that overlap.
        reach: Their bounds, float64 (4,).
        tolerance: Pixels.
    """
    x1, y1, x2, y2 = (reach + np.array([-1, -1, 1, 1])).tolist()
    frame = ShapeArray.from_points([[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]], [GeometryKind.POLYGON])
    outside = difference(frame, polygons).shapes
    inner = (outside.bounds()[:, :2] > [x1, y1]).all(axis=1)
    outside = outside.take(~inner | (area_or_length(outside) > tolerance**2))
    inside = difference(frame, outside).shapes
    areas = area_or_length(inside)
    return inside.take((areas > tolerance**2) | (areas == areas.max(initial=0.0)))


def _clean(shapes: ShapeArray, plan: TilePlan) -> ShapeArray:
    """Round to the precision of predictions, and leave out what that makes no shape."""
    size = [float(plan.canvas.width), float(plan.canvas.height)]
    xy, offsets = kernels.without_repeats(shapes.xy.round(4).clip(0.0, size), shapes.offsets, shapes.kinds)
    good = np.diff(offsets) >= np.array(MIN_POINTS)[shapes.kinds]
    good &= ~rings_without_area(xy, offsets, shapes.kinds)
    return ShapeArray.trusted(xy, offsets, np.array(shapes.kinds)).take(good)
