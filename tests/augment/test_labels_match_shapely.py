"""After any pipeline the labels are what shapely says is left: no more, no less, and with the right share."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from shapely.affinity import affine_transform

from dcap.augment import AugmentResult, Pipeline
from dcap.augment.fit import fit_canvas
from dcap.augment.ops.crop import Crop
from dcap.core.random import generator
from dcap.geometry import Affine, Canvas, ShapeArray
from dcap.geometry.shapes import GeometryKind

CANVAS = Canvas(150, 230)
NUM_PIPELINES = 120
TINY = 1e-6
"""Pixels, square pixels and shares below this are float noise."""

FIT = partial(fit_canvas, min_pixels=30_000, max_pixels=90_000)
OPS: dict[str, dict[str, Any]] = {
    "hflip": {},
    "vflip": {},
    "rotate": {"max_deg": 180},
    "scale": {"lo": 0.5, "hi": 1.6},
    "translate": {"max_dx": 0.3, "max_dy": 0.3},
    "shear": {"max_deg_x": 25, "max_deg_y": 20},
    "resize_by_scale": {"lo": 0.6, "hi": 1.7, "align_multiple": 28},
    "pad_to_multiple": {"multiple": 50},
    "expand_to_fit_affine": {"max_pixels": 60_000},
    "random_crop": {"scale": [0.4, 0.9], "min_coverage": 0.3},
    "roi_crop": {"scale_range": [1.1, 2.5], "min_crop_size": 40, "min_coverage": 0.0, "min_objects": 0},
}

Split = Literal["largest", "all"]


class Part(NamedTuple):
    """A piece of an object: in the frame of the source image, and its share of the object."""

    shape: shapely.Geometry
    share: float


def comb(x: float, y: float, teeth: int) -> npt.NDArray[np.float64]:
    """A ring that most cuts split, into pieces of which no two are alike."""
    left = [14 * k + 0.1 * k * k for k in range(teeth)]
    profile = [(x0 + dx, 40.5 if k % 2 else dy) for k, x0 in enumerate(left) for dx, dy in ((0.3, 2.2), (9.1, 7.4))]
    return np.add([*profile, (14.0 * teeth, 52.0), (-3.5, 50.0)], (x, y))


@cache
def scene(seed: int) -> ShapeArray:
    """Two boxes, two stars, a comb, a zigzag and a straight line, anywhere on the canvas."""
    rng = np.random.default_rng(seed)
    size = np.array([CANVAS.width, CANVAS.height])
    items: list[npt.NDArray[np.float64]] = [np.sort(rng.uniform(0, 1, (2, 2)), axis=0) * size for _ in range(2)]
    for n in (8, 25):
        turns = (np.arange(n) + rng.uniform(-0.3, 0.3, n)) * (2 * np.pi / n)
        radii = rng.uniform(15, 70) * rng.uniform(0.3, 1.0, n)
        items.append(np.stack([np.cos(turns), np.sin(turns)], axis=1) * radii[:, None] + (115, 75))
    items.append(comb(*rng.uniform(5, (90, 95)), teeth=8))
    zigzag = np.stack([np.sort(rng.uniform(0, 230, 14)), rng.uniform(0, 150, 14)], axis=1)
    items += [zigzag, rng.uniform(0, 1, (2, 2)) * size]
    kinds = [GeometryKind.BOX] * 2 + [GeometryKind.POLYGON] * 3 + [GeometryKind.LINE] * 2
    return ShapeArray.from_points([item.clip(0, size) for item in items], kinds)


def geometry(kind: GeometryKind, points: npt.NDArray[np.float64]) -> shapely.Geometry:
    if kind is GeometryKind.BOX:
        return shapely.box(*points.ravel())
    return shapely.LineString(points) if kind is GeometryKind.LINE else shapely.Polygon(points)


def mapped(shape: shapely.Geometry, affine: Affine) -> shapely.Geometry:
    a, b, c, d, e, f = affine.coefficients
    return affine_transform(shape, [a, b, d, e, c, f])


def size_of(shape: shapely.Geometry) -> float:
    return float(shape.area or shape.length)


def pieces(shape: shapely.Geometry, region: shapely.Geometry) -> list[shapely.Geometry]:
    left = shape.intersection(region)
    if shape.area:
        return [part for part in shapely.get_parts(left) if part.area > 0.0]
    lines = [part for part in shapely.get_parts(left) if part.length > 0.0]
    return list(shapely.get_parts(shapely.line_merge(shapely.union_all(lines))))


def outline(plan_region: npt.NDArray[np.float64]) -> shapely.Geometry:
    return shapely.Polygon(plan_region) if len(plan_region) else shapely.Polygon()


def run(pipeline: Pipeline, shapes: ShapeArray, seed: int, *, fitted: bool = False) -> AugmentResult:
    captions = [f"object {i}" for i in range(len(shapes))]
    return pipeline.plan(CANVAS, shapes, generator(seed), captions, FIT if fitted else None)


def cuts(pipeline: Pipeline, shapes: ShapeArray, seed: int) -> list[tuple[Affine, shapely.Geometry, float]]:
    """After each op that cuts: the map so far, what of the source is left, and the share that an object needs.

    The same draws come back when the pipeline stops early, so every stage of it can be looked at by itself.
    """
    out: list[tuple[Affine, shapely.Geometry, float]] = []
    applied = 0
    for count, stage in enumerate(pipeline.stages, start=1):
        result = run(Pipeline(pipeline.stages[:count], pipeline.config), shapes, seed)
        acted, applied = len(result.telemetry.applied) > applied, len(result.telemetry.applied)
        window = isinstance(stage.op, Crop) and acted
        if window or (acted and not stage.keeps_outside) or stage.is_last_expansion:
            least = stage.op.min_coverage if isinstance(stage.op, Crop) else 0.0
            affine = result.plan.affine
            out.append((affine, mapped(outline(result.plan.region), affine.inverse()), least))
    return out


def expected(pipeline: Pipeline, shapes: ShapeArray, seed: int) -> dict[int, list[Part]]:
    """What shapely leaves of each object, cut by cut; objects of which a cut leaves too little are gone."""
    out = {i: [Part(geometry(kind, points), 1.0)] for i, (kind, points) in enumerate(shapes)}
    for affine, region, least in cuts(pipeline, shapes, seed):
        for i, parts in list(out.items()):
            left = []
            for part in parts:
                scale = part.share / size_of(mapped(part.shape, affine))
                found = pieces(part.shape, region)
                left += [Part(piece, scale * size_of(mapped(piece, affine))) for piece in found]
            out[i] = left
            if not left or sum(part.share for part in labelled(left, pipeline)) < least:
                del out[i]
    return {i: labelled(parts, pipeline) for i, parts in out.items()}


def labelled(parts: list[Part], pipeline: Pipeline) -> list[Part]:
    """A rule looks at the parts that would be labels now; the others stay, since a later cut may take those away."""
    largest = pipeline.config.split_policy == "largest"
    return [max(parts, key=lambda part: part.share)] if largest else parts


def check_polygons(got: list[shapely.Geometry], want: list[shapely.Geometry]) -> None:
    """Every returned polygon is one of shapely's, and every one of those is returned."""
    want = [part for part in want if part.area > TINY]
    got = [part for part in got if part.area > TINY]
    assert len(got) == len(want)
    for part in got:
        overlaps = [part.intersection(other).area / part.union(other).area for other in want]
        assert max(overlaps) >= 0.999
    assert shapely.union_all(got).symmetric_difference(shapely.union_all(want)).area <= TINY


def check_lines(got: list[shapely.Geometry], want: list[shapely.Geometry], whole: shapely.Geometry) -> None:
    """Every returned line runs along the mapped one, in its direction, and all of it that is left is there."""
    want = [part for part in want if part.length > TINY]
    got = [part for part in got if part.length > TINY]
    assert len(got) == len(want)
    assert sum(part.length for part in got) == pytest.approx(sum(part.length for part in want), abs=TINY)
    for part in got:
        ends = np.array(part.coords)
        halves = (ends[1:] + ends[:-1]) / 2
        assert shapely.distance(whole, shapely.points([*ends, *halves])).max() < TINY
        along = shapely.line_locate_point(whole, shapely.points(ends))
        assert (np.diff(along) > -TINY).all()
        assert along[-1] - along[0] == pytest.approx(part.length, abs=TINY), "a segment that was not there"


def check(pipeline: Pipeline, shapes: ShapeArray, seed: int, *, fitted: bool) -> AugmentResult:
    result = run(pipeline, shapes, seed, fitted=fitted)
    want = expected(pipeline, shapes, seed)
    source, plan, canvas = result.source_index, result.plan, result.scene.canvas
    assert set(source.tolist()) == {i for i, parts in want.items() if sum(part.share for part in parts) > TINY}
    assert result.scene.captions == tuple(f"object {i}" for i in source)
    seen = outline(plan.region)
    assert seen.difference(shapely.box(0, 0, canvas.width, canvas.height)).area <= TINY
    for i in want:
        kind = GeometryKind(int(shapes.kinds[i]))
        rows = np.flatnonzero(source == i).tolist()
        got = [
            geometry(GeometryKind(int(result.scene.shapes.kinds[row])), result.scene.shapes.points(row)) for row in rows
        ]
        parts = [mapped(part.shape, plan.affine) for part in want[i]]
        whole = mapped(geometry(kind, shapes.points(i)), plan.affine)
        if kind is GeometryKind.LINE:
            check_lines(got, parts, whole)
        else:
            check_polygons(got, parts)
        share = sum(part.share for part in want[i])
        assert result.visible_fraction[rows] == pytest.approx([share] * len(rows), abs=TINY)
        for shape in got:
            assert shape.distance(seen) <= TINY
            assert shape.difference(seen.buffer(TINY)).is_empty, "something invisible is labelled"
        if seen.buffer(-TINY).contains(whole) and len(rows):
            check_untouched(result, rows, kind, shapes.points(i))
    return result


def check_untouched(
    result: AugmentResult, rows: list[int], kind: GeometryKind, points: npt.NDArray[np.float64]
) -> None:
    """What no border touches keeps every vertex, in order."""
    (row,) = rows
    assert result.visible_fraction[row] == 1.0
    got = result.scene.shapes.points(row)
    if kind is GeometryKind.BOX:
        # A box has no first corner: a flip before a turn has it begin at another one.
        corners = result.plan.affine.apply(np.stack([points[[0, 1, 1, 0], 0], points[[0, 0, 1, 1], 1]], axis=1))
        assert len(got) in (2, 4)
        assert shapely.distance(shapely.MultiPoint(corners), shapely.points(got)).max() < TINY
    else:
        assert got == pytest.approx(result.plan.affine.apply(points), abs=TINY)


def random_pipeline(seed: int, split: Split) -> Pipeline:
    rng = np.random.default_rng(seed)
    names = rng.choice(list(OPS), rng.integers(1, 7)).tolist()
    ops = [{"name": name, "params": OPS[name], "prob": float(rng.choice([0.6, 1.0]))} for name in names]
    return Pipeline.from_config({"ops": ops, "split_policy": split})


@pytest.mark.parametrize("split", ["largest", "all"])
def test_random_pipelines_leave_what_shapely_leaves(split: Split) -> None:
    untouched = cut = several = dropped = 0
    for seed in range(NUM_PIPELINES):
        result = check(random_pipeline(seed, split), scene(seed), seed, fitted=seed % 2 == 0)
        untouched += int((result.visible_fraction == 1.0).sum())
        cut += int((result.visible_fraction < 1.0).sum())
        several += len(result.source_index) - len(set(result.source_index.tolist()))
        dropped += len(result.telemetry.dropped)
    assert min(untouched, cut, dropped) > NUM_PIPELINES // 2
    assert (several > NUM_PIPELINES // 2) == (split == "all")
