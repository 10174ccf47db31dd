"""Rendered scenes: the same for one seed and index, whatever else; labels that agree with the pixels."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.demo import SceneOptions, SceneRecords, count_summary, make_scene
from dcap.demo.scene_layout import LEAST_SHOWN, SceneLayout, lay_out
from dcap.demo.scene_painting import paint
from dcap.demo.scene_shapes import SceneShape, stroke
from dcap.geometry import Canvas, ShapeArray
from dcap.geometry.shapes import GeometryKind
from dcap.records.files.opening import open_records, open_source
from dcap.records.images import decode_image
from dcap.records.record import image_source, to_dict
from support.painting import Cover, center, cover, finer, iou

LEVELS = ("easy", "medium", "hard")
ZOOM = 4


@pytest.mark.parametrize("level", LEVELS)
def test_a_scene_depends_on_seed_and_index_alone(level: str) -> None:
    image, record = make_scene(SceneOptions(seed=4, level=level), 7)
    many = SceneRecords(SceneOptions(num=10**7, seed=4, level=level))
    many[3], many.open_image(9)
    again = pickle.loads(pickle.dumps(many))
    assert (again.pixels(7) == image).all()
    assert to_dict(again[7]) == to_dict(record)
    source = image_source(record)
    assert (decode_image(source, record.canvas) == image).all()
    others = [make_scene(SceneOptions(seed=seed, level=level), index) for seed, index in ((4, 8), (5, 7))]
    assert all(to_dict(other)["objects"] != to_dict(record)["objects"] for _, other in others)
    with pytest.raises(IndexError, match="index must be from -7 to below 7"):
        make_scene(SceneOptions(num=7), 7)


def test_records_are_exact() -> None:
    scenes = SceneRecords(SceneOptions(num=30, level="hard"))
    for i, record in enumerate(scenes):
        layout = layout_of(scenes, i)
        assert record.shapes == ShapeArray.concatenate(layout.visible)
        assert record.captions == tuple(shape.name for shape in layout.shapes)
        assert record.clipped == ()
        assert record.metadata["visible_fractions"] == layout.visible_fraction
    assert any(x != round(x, 6) for x in record.shapes.xy.ravel().tolist())


def layout_of(scenes: SceneRecords, i: int) -> SceneLayout:
    return scenes._laid_out(i)[0]


def alpha(scenes: SceneRecords, i: int, k: int) -> Cover:
    """How much of shape `k` shows in each pixel: how the scene differs from the one without it."""
    layout, ground = scenes._laid_out(i)
    look = scenes.options.look
    shapes, canvas = layout.shapes, Canvas(look.height, look.width)

    def painted(some: list[SceneShape]) -> Any:
        return paint(canvas, some, ground, generator(scenes.options.seed, i, 1)).astype(float)

    whole = painted(shapes)
    assert (whole == scenes.pixels(i)).all()
    without = painted([*shapes[:k], *shapes[k + 1 :]])
    reach = np.array(shapes[k].rgb) - without
    # Where another shape of exactly this colour is, nothing would show.
    return np.asarray(((whole - without) * reach).sum(axis=2) / np.maximum((reach**2).sum(axis=2), 1.0))


def width_of(shape: SceneShape) -> float:
    """Of a stroke: its ring begins and ends at the two corners of its first end."""
    return float(np.hypot(*(shape.ring[0] - shape.ring[-1])))


def ring_of(shapes: ShapeArray, k: int, shape: SceneShape) -> Any:
    points = shapes.points(k)
    if shapes.kinds[k] == GeometryKind.BOX:
        return np.stack([points[[0, 1, 1, 0], 0], points[[0, 0, 1, 1], 1]], axis=1)
    return stroke(points, width_of(shape)) if shapes.kinds[k] == GeometryKind.LINE else points


@pytest.mark.parametrize("kind", ["box", "triangle", "polygon", "star", "arrow", "line"])
@pytest.mark.parametrize("level", ["easy", "hard"])
def test_pixels_agree_with_the_labels(kind: str, level: str) -> None:
    scenes = SceneRecords(SceneOptions(num=5, seed=2, level=level, kinds=(kind,), width=120, height=96))
    for i in range(len(scenes)):
        record, layout = scenes[i], layout_of(scenes, i)
        for k, shape in enumerate(layout.shapes):
            ring = ring_of(record.shapes, k, shape)
            seen, want = alpha(scenes, i, k), cover(record.canvas, ring)
            cut = any(shapely.Polygon(shape.ring).intersects(shapely.Polygon(o.ring)) for o in layout.shapes[k + 1 :])
            # Pixels where two edges meet blend three colours; and a stroke is cut along an edge, not at a right angle.
            near, least = ((2.5, 0.75) if kind == "line" else (0.5, 0.88)) if cut else (0.15, 0.94)
            assert np.hypot(*(center(seen) - center(want))) < near
            fine = cover(Canvas(record.canvas.height * ZOOM, record.canvas.width * ZOOM), ring * ZOOM, 1)
            assert iou(finer(seen, ZOOM), fine) > least - 0.2 * (want.sum() < 150)


@given(st.sampled_from(LEVELS), st.integers(0, 2**40), st.sampled_from(["none", "left_right", "all"]))
def test_shapes_are_inside_and_apart(level: str, seed: int, relations: str) -> None:
    look = SceneOptions(level=level, relations=relations).look
    layout = lay_out(look, generator(seed))
    assert 1 <= len(layout.shapes) <= look.max_objects
    bounds = np.array(layout.bounds)
    assert (bounds[:, :2] > 0).all()
    assert (bounds[:, 2:] < (look.width, look.height)).all()
    if not look.occlusion:
        assert layout.visible_fraction == [1.0] * len(layout.shapes)
        for i, a in enumerate(bounds):
            for b in bounds[i + 1 :]:
                assert max(*(b[:2] - a[2:]), *(a[:2] - b[2:])) > 0.99 * look.gap * min(look.width, look.height)


def test_what_is_hidden_is_no_part_of_the_label() -> None:
    scenes = SceneRecords(SceneOptions(num=60, level="hard"))
    num_hidden = 0
    for i in range(len(scenes)):
        layout = layout_of(scenes, i)
        painted = [shapely.Polygon(shape.ring) for shape in layout.shapes]
        for k, shape in enumerate(layout.shapes):
            above = shapely.union_all(painted[k + 1 :])
            line = shape.geometry == GeometryKind.LINE
            whole = shapely.LineString(shape.points) if line else painted[k]
            want = whole.difference(above)
            points = layout.visible[k].points(0)
            if layout.visible[k].kinds[0] == GeometryKind.BOX:
                got = shapely.box(*points.ravel())
            else:
                got = shapely.LineString(points) if line else shapely.Polygon(points)
            size = (lambda g: g.length) if line else (lambda g: g.area)
            assert size(got) == pytest.approx(size(want), rel=1e-9)
            assert got.hausdorff_distance(want) < 1e-6
            share = layout.visible_fraction[k]
            assert share == pytest.approx(size(want) / size(whole), rel=1e-9)
            assert share >= LEAST_SHOWN
            assert got.is_valid
            num_hidden += share < 1
            for other in range(k + 1, len(painted)):
                if painted[k].intersection(painted[other]).area > 1e-9:
                    assert layout.shapes[other].color != shape.color
    assert num_hidden > 40


def test_options_choose_what_there_is() -> None:
    options = SceneOptions(
        40, level="hard", width=200, height=96, min_objects=2, max_objects=3, kinds=("star", "box"), colors=("pink",),
        grounds=("plain",), occlusion=False, summary=True,
    )  # fmt: skip
    counts = set()
    for record in SceneRecords(options):
        assert record.canvas == Canvas(96, 200)
        assert set(record.captions) <= {"pink star", "pink box"}
        assert record.summary == count_summary(record.captions)
        counts.add(len(record.captions))
    assert counts == {2, 3}
    one = SceneOptions(max_objects=1).look
    assert (one.min_objects, one.max_objects) == (1, 1)
    assert SceneOptions(min_objects=5).look.max_objects == 5


def test_a_name_gives_the_options_back() -> None:
    options = SceneOptions(12, 3, "medium", kinds=("box", "star"), occlusion=True, summary=True, width=64)
    assert SceneOptions().name == "builtin:scenes"
    name = "builtin:scenes?num=12&seed=3&level=medium&width=64&kinds=box,star&occlusion=true&summary=true"
    assert options.name == name
    source = open_source(name)
    assert isinstance(source, SceneRecords)
    assert source.options == options
    (first, *_), again = open_records(name), SceneRecords(options)[0]
    assert to_dict(first) == to_dict(again)
    assert str(first.origin) == str(again.origin) == f"{name}:1"
    assert msgspec.json.decode(source.line(0))["images"] == ["scene-3-0000000.bmp"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num": 0}, "num must be within 1..10000000, not 0"),
        ({"num": 10**12}, "num must be within"),
        ({"seed": -1}, "seed must be within 0"),
        ({"width": 8}, "width must be within 48..4096, not 8"),
        ({"height": 10**6}, "height must be within"),
        ({"max_objects": 41}, "max_objects must be within 1..40, not 41"),
        ({"min_objects": 3, "max_objects": 2}, "min_objects must be within 1..2, not 3"),
        ({"least_radius": 0.3}, "least_radius and largest_radius must be within 0.07..0.45, .* not 0.3 and 0.24"),
        ({"largest_radius": 0.5}, "not 0.12 and 0.5"),
        ({"least_radius": float("nan")}, "least_radius must be finite"),
        ({"kinds": ()}, "kinds must be one or more different names, not none"),
        ({"colors": ("red", "red")}, "colors must be one or more different names, not red,red"),
        ({"kinds": ("circle",)}, r'kinds\[0\] must be one of "box", .* not "circle"'),
        ({"level": "harder"}, 'level must be one of "single", "easy", "medium", "hard", not "harder"'),
        ({"relations": "all", "occlusion": True}, "occlusion must be false with relations"),
        ({"relations": "all", "max_objects": 1}, "relations must have two names and two shapes"),
        ({"relations": "left_right", "kinds": ("box",), "colors": ("red",)}, "relations must have two names"),
    ],
)
def test_options_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SceneOptions(**change)


def test_shapes_are_as_large_as_asked() -> None:
    scenes = SceneRecords(SceneOptions(num=40, max_objects=1, least_radius=0.4, largest_radius=0.4, kinds=("box",)))
    sizes = np.concatenate([np.ptp(scenes[i].shapes.xy, axis=0) for i in range(40)]) / 128
    assert 0.4 - 1e-9 <= sizes.min() < 0.5 < 0.7 < sizes.max() <= 0.8 + 1e-9


def test_fields_may_be_changed_one_by_one() -> None:
    hard = SceneOptions(level="hard")
    assert hard.look.occlusion
    assert not replace(hard, relations="all").look.occlusion
    assert not replace(hard, occlusion=False).look.occlusion
