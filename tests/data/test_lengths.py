from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import RecordError
from dcap.data.lengths import EpochLengths
from support.dataset_cases import make_dataset, photo, records


@pytest.mark.parametrize("num_workers", [0, 1])
def test_lengths_are_those_of_the_samples_whoever_plans_them(micro_folder: Path, num_workers: int) -> None:
    dataset = make_dataset(micro_folder, num_workers=num_workers)
    found = EpochLengths(dataset, 3)
    sizes, samples = found.all(chunk=1), [dataset[(3, i)] for i in range(len(dataset))]
    assert sizes.tokens.tolist() == [len(sample.input_ids) for sample in samples]
    assert sizes.image_tokens.tolist() == [sample.mm_token_type_ids.sum() for sample in samples]
    pairs = zip(sizes.tokens.tolist(), sizes.image_tokens.tolist(), strict=True)
    assert [found.of(i) for i in range(len(dataset))] == list(pairs)


GEOMETRIC = [
    *({"name": name, "prob": 0.5} for name in ("hflip", "vflip")),
    {"name": "rotate", "prob": 0.5, "params": {"max_deg": 30}},
    {"name": "scale", "prob": 0.5, "params": {"lo": 0.7, "hi": 1.3}},
    {"name": "shear", "prob": 0.5, "params": {"max_deg_x": 10, "max_deg_y": 5}},
    {"name": "translate", "prob": 0.5, "params": {"max_dx": 0.2, "max_dy": 0.1}},
    *({"name": name, "prob": 0.4} for name in ("random_crop", "roi_crop", "small_object_zoom_paste")),
    {"name": "resize_by_scale", "prob": 0.5, "params": {"lo": 0.5, "hi": 1.0}},
    {"name": "expand_to_fit_affine", "prob": 0.5, "params": {"max_pixels": 100_000}},
    {"name": "pad_to_multiple", "prob": 0.5},
]


@pytest.mark.parametrize("mode", ["dense", "summary", "mixed"])
@pytest.mark.parametrize("answer", [{}, {"format": "qwen", "emit_norm": "none", "max_polygon_points": 6}])
@pytest.mark.parametrize("overlong", ["drop", "drop_objects"])
def test_lengths_are_those_of_the_texts_after_any_op(
    micro_folder: Path, mode: str, answer: dict[str, Any], overlong: str
) -> None:
    settings = {
        "mode": mode,
        "answer": {"max_pixels": 90_000, **answer},
        "overlong": overlong,
        "global_max_length": 1200,
    }
    dataset = make_dataset(micro_folder, {"ops": GEOMETRIC, "split_policy": "all"}, **settings)
    planner = dataset.planners[0]
    for key in itertools.product(range(12), range(len(dataset))):
        planned = dataset.plan(*key)
        text = planner.answer_text(planned)
        assert planned.length == len(planner.prompt_ids(planned)) + len(planner.encoder.answer_ids(text))


def test_a_step_of_the_curriculum_counts(micro_folder: Path) -> None:
    ops = [{"name": "resize_by_scale", "params": {"lo": 1.0, "hi": 1.0, "align_multiple": 32}}]
    phases = [{"until_step": 10, "ops": {"resize_by_scale": {"lo": 0.3, "hi": 0.3}}}]
    dataset = make_dataset(micro_folder, {"ops": ops, "curriculum": phases}, answer={"min_pixels": 4096})
    found = EpochLengths(dataset, 0)
    assert found.of(0) == found.of(0, TrainingStep(0)) > found.of(0, TrainingStep(5)) > found.of(0, TrainingStep(10))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_was_left_out_and_simplified_is_told_once(
    micro_folder: Path,
    tmp_path: Path,
    num_workers: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wide = photo(tmp_path, "b.png", width=120, height=80)
    path = records(tmp_path, *[photo(tmp_path), wide] * 3, photo(tmp_path) | {"objects": []})
    settings = {"train": path, "overlong": "drop", "global_max_length": 680, "num_workers": num_workers}
    dataset = make_dataset(micro_folder, {}, **settings)
    with caplog.at_level(logging.INFO, "dcap"):
        found = EpochLengths(dataset, 0)
        assert (found.all(chunk=2).tokens == 0).tolist() == [True] * 6 + [False]
        found.of(0)
        found.report()
    assert [r.message for r in caplog.records if "left out" in r.message] == [
        "train epoch 0: 6 samples left out, too long"
    ]


def test_an_error_of_a_worker_arrives_as_it_was(micro_folder: Path, tmp_path: Path) -> None:
    path = records(tmp_path, *[photo(tmp_path)] * 4)
    dataset = make_dataset(micro_folder, {}, train=path, global_max_length=680, num_workers=1)
    with pytest.raises(RecordError, match=r"^r.jsonl:1: sample must have at most 680 tokens"):
        EpochLengths(dataset, 0).all(chunk=1)


def test_no_sample_no_length(micro_folder: Path, tmp_path: Path) -> None:
    dataset = make_dataset(micro_folder, {}, train=records(tmp_path))
    assert np.array_equal(EpochLengths(dataset, 0).all().tokens, np.empty(0, np.int64))
