"""Captions made from geometry, augmented, are the captions made anew from the augmented geometry."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

from dcap.augment import AugmentResult, Pipeline
from dcap.augment.rendering import render
from dcap.core.random import generator
from dcap.demo import SceneOptions, SceneRecords, make_scene, relation_captions
from dcap.demo.relations import name_of
from dcap.records import Record

NUM_SCENES = 400
LEVEL: dict[str, dict[str, Any]] = {
    "hflip": {},
    "vflip": {},
    "scale": {"lo": 0.4, "hi": 1.6},
    "translate": {"max_dx": 0.3, "max_dy": 0.3},
    "resize_by_scale": {"lo": 0.6, "hi": 1.7, "align_multiple": 28},
    "pad_to_multiple": {"multiple": 50},
    "expand_to_fit_affine": {"max_pixels": 60_000},
    "random_crop": {"scale": [0.4, 0.9], "min_coverage": 0.2, "min_objects": 0},
    "roi_crop": {"scale_range": [1.1, 2.5], "min_crop_size": 40, "min_coverage": 0.2, "min_objects": 0},
    "small_object_zoom_paste": {"max_size": 90, "scale": [0.4, 1.1], "overlap_threshold": 0.9},
    "solarize": {},
}
"""Ops that keep upright edges upright."""
TILTED: dict[str, dict[str, Any]] = {"rotate": {"max_deg": 180}, "shear": {"max_deg_x": 25, "max_deg_y": 20}}
OPS = LEVEL | TILTED


@cache
def scenes() -> list[Record]:
    """Boxes, whose centres are those of their bounds, however they are turned."""
    options = SceneOptions(num=NUM_SCENES, level="medium", kinds=("box",), relations="all", width=160, height=128)
    return list(SceneRecords(options))


def is_wide(record: Record, i: int, j: int, axis: int) -> bool:
    """Whether a tilt of 45 degrees, on a canvas that is a little stretched, cannot change the order of two shapes."""
    bounds = record.shapes.bounds()[[i, j]]
    apart = np.abs(np.diff(bounds[:, :2] + bounds[:, 2:], axis=0)[0])
    return bool(apart[axis] > 2.0 * apart[1 - axis])


def checked(record: Record, result: AugmentResult, tilted: bool) -> Counter[bool]:
    """Compare each caption whose two shapes are there, and whole if they may be tilted."""
    names = [name_of(caption) for caption in record.captions]
    anew = relation_captions(result.scene.shapes, result.scene.captions)
    sources, whole = result.source_index.tolist(), (result.visible_fraction == 1.0).tolist()
    counts: Counter[bool] = Counter()
    for k, i in enumerate(sources):
        other = names.index(record.captions[i].rpartition(" the ")[2])
        axis = 0 if " of the " in record.captions[i] else 1
        if other not in sources:
            continue
        if tilted and not (whole[k] and whole[sources.index(other)] and is_wide(record, i, other, axis)):
            continue
        counts[result.scene.captions[k] == anew[k]] += 1
    return counts


def draws(names: list[str], count: int, first: int = 0, **words: str) -> Counter[bool]:
    pipeline = Pipeline.from_config({"ops": [{"name": n, "params": OPS[n]} for n in names], "words": words})
    counts: Counter[bool] = Counter()
    for seed in range(first, first + count):
        record = scenes()[seed % NUM_SCENES]
        result = pipeline.plan(record.canvas, record.shapes, generator(seed), record.captions)
        counts += checked(record, result, bool(TILTED.keys() & set(names)))
    return counts


def mixture(seed: int) -> list[str]:
    """Any number of level ops, and at most one that tilts."""
    rng = np.random.default_rng(seed)
    names: list[str] = rng.choice(list(LEVEL), rng.integers(1, 7)).tolist()
    return [*names, str(rng.choice(list(TILTED)))] if rng.random() < 0.5 else names


@pytest.mark.parametrize("name", OPS)
def test_each_op_keeps_captions_true(name: str) -> None:
    counts = draws([name], 30)
    assert counts[False] == 0
    assert counts[True] > 5


def test_mixtures_of_ops_keep_captions_true() -> None:
    counts = sum((draws(mixture(seed), 1, seed) for seed in range(300)), Counter[bool]())
    assert counts[False] == 0
    assert counts[True] > 100


@pytest.mark.parametrize("name", ["hflip", "vflip"])
def test_without_the_rules_they_are_false(name: str) -> None:
    assert draws([name], 30, mirror="keep")[False] > 30


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OPS, "mixture"])
def test_ten_thousand_draws_keep_captions_true(name: str) -> None:
    if name == "mixture":
        counts = sum((draws(mixture(seed), 1, seed) for seed in range(10_000)), Counter[bool]())
    else:
        counts = draws([name], 10_000)
    assert counts[False] == 0
    assert counts[True] > 1000


def test_named_colours_are_seen_after_colour_ops() -> None:
    ops = [{"name": "color_jitter", "params": {"hue": 0.5, "saturation": 1.0}}, {"name": "hsv", "params": {"hue": 0.5}}]
    options = SceneOptions(kinds=("box",), colors=("red", "green", "blue"), grounds=("plain",), max_objects=2)
    shown = changed = 0
    for seed in range(60):
        image, record = make_scene(options, seed)
        colors = {}
        for captions in (record.captions, ("thing",) * len(record.captions)):
            result = Pipeline.from_config(ops).plan(record.canvas, record.shapes, generator(seed), captions)
            pixels = render(image, result.plan)
            x, y = (record.shapes.points(0).mean(axis=0)).astype(int)
            colors[captions[0]] = int(np.argmax(pixels[y, x]))
        want = ("red", "green", "blue").index(record.captions[0].split()[0])
        shown += colors[record.captions[0]] == want
        changed += colors["thing"] != want
    assert shown == 60
    assert changed > 20
