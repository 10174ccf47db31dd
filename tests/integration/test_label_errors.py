"""Wrong labels have the highest losses: rendered scenes, of whose labels 5 % are made wrong on purpose."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dcap.answers.profile import load_profile
from dcap.audit.suspects import find_suspects
from dcap.core.config import build, to_tree
from dcap.core.random import generator
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.sample_losses import epoch_files
from dcap.demo.models import BUILTIN_SCENES_MICRO, resolve_model
from dcap.demo.scenes import SceneOptions
from dcap.geometry.shapes import ShapeArray
from dcap.records.preprocess import PREPROCESSORS
from dcap.records.record import Record
from dcap.train.config import RunConfig
from dcap.train.loop import train

COLORS = ("red", "yellow", "green", "blue")
SCENES = SceneOptions(
    num=300, seed=77, kinds=("box",), colors=COLORS, grounds=("dark",), max_objects=1, least_radius=0.14,
    largest_radius=0.38,
)  # fmt: skip
"""New to a model that knows such scenes: a loss tells of what a model has learnt."""
WRONG, LISTED = 0.05, 0.10
"""Share of the labels that are wrong, and of those that are looked at."""
MOVED = 0.6
"""How far a wrong box is moved, as a share of its size."""


def wrong_objects(record: Record) -> npt.NDArray[np.bool_]:
    """Which objects of a scene get a wrong label, bool (N,)."""
    found: npt.NDArray[np.bool_] = generator(1, record.origin.line).random(len(record.captions)) < WRONG
    return found


def with_another_color(caption: str, rng: np.random.Generator) -> str:
    color, _, kind = caption.partition(" ")
    return f"{rng.choice([other for other in COLORS if other != color])} {kind}"


def moved(points: npt.NDArray[np.float64], side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Move a box along one axis, inside of the image."""
    axis, step = int(rng.integers(2)), np.zeros(2)
    low, high = points.min(axis=0)[axis], points.max(axis=0)[axis]
    distance = MOVED * (high - low)
    step[axis] = distance if side - high >= low else -distance
    return np.clip(points + step, 0, side)


@PREPROCESSORS.register("mislabel_on_purpose")
@dataclass(frozen=True)
class Mislabel:
    """Gives half of the wrong objects another colour word, and moves the boxes of the others."""

    def __call__(self, record: Record) -> Record:
        captions, points = list(record.captions), [points for _, points in record.shapes]
        for k in np.flatnonzero(wrong_objects(record)).tolist():
            rng = generator(2, record.origin.line, k)
            if rng.random() < 0.5:
                captions[k] = with_another_color(captions[k], rng)
            else:
                points[k] = moved(points[k], record.canvas.width, rng)
        return replace(record, captions=tuple(captions), shapes=ShapeArray.from_points(points, record.shapes.kinds))


def run_config(output: Path) -> RunConfig:
    answer = to_tree(load_profile(resolve_model(BUILTIN_SCENES_MICRO)).answer)
    tree: dict[str, Any] = {
        "model": {"name_or_path": BUILTIN_SCENES_MICRO, "dtype": "float32"},
        "data": {
            "train": SCENES.name, "preprocessors": [{"name": "mislabel_on_purpose"}], "global_max_length": 1024,
            "num_workers": 0, "check_images": False, "answer": answer,
        },
        "training": {
            "output_dir": str(output), "num_epochs": 1, "effective_batch_size": 1, "learning_rate": 1e-4,
            "save_steps": 100_000, "log_steps": 50, "trackers": [],
        },
    }  # fmt: skip
    return build(RunConfig, tree)


def test_labels_are_made_wrong_as_told() -> None:
    records = DenseCaptionDataset({"train": SCENES.name}, "train", None).records
    count = wrong = 0
    for record in (records[i] for i in range(len(records))):
        made, bad = Mislabel()(record), wrong_objects(record)
        other_words = np.array([a != b for a, b in zip(record.captions, made.captions, strict=True)])
        other_places = np.array([(a[1] != b[1]).any() for a, b in zip(record.shapes, made.shapes, strict=True)])
        assert ((other_words ^ other_places) == bad).all()
        count, wrong = count + len(bad), wrong + int(bad.sum())
    assert wrong / count == pytest.approx(WRONG, abs=0.025)


def test_most_wrong_labels_are_among_the_worst_tenth(tmp_path: Path) -> None:
    """By the losses of a training of one epoch: each label is judged before the model can learn it by heart."""
    config = run_config(tmp_path / "run")
    train(config)
    dataset = DenseCaptionDataset(config.data, "train", None)
    wrong = {(i, int(k) + 1) for i in range(len(dataset)) for k in np.flatnonzero(wrong_objects(dataset.records[i]))}
    files = list(epoch_files(tmp_path / "run").items())
    total = sum(len(dataset.records[i].captions) for i in range(len(dataset)))
    listed = find_suspects(dataset, files, math.ceil(LISTED * total), "config.yaml").objects
    found = {(suspect.index, suspect.number) for suspect in listed} & wrong
    assert len(found) >= 0.8 * len(wrong), f"{len(found)} of {len(wrong)} among the worst {len(listed)} of {total}"
