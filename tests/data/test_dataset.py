from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.answers.codec import parse, to_canvas
from dcap.augment import OPS
from dcap.augment.policy import View, Warp
from dcap.core.errors import ConfigError, RecordError, TrainingError
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.lengths import sample_sizes
from dcap.data.sample import SampleKey
from dcap.geometry import Affine
from dcap.records.preprocess import PREPROCESSORS
from support.dataset_cases import data_config, make_dataset, photo, records
from support.epoch_cases import loader_of


@pytest.fixture(scope="module")
def dataset(micro_folder: Path) -> DenseCaptionDataset:
    return make_dataset(micro_folder)


def arrays(sample: Any) -> list[np.ndarray[Any, Any]]:
    return [sample.input_ids, sample.labels, sample.position_ids, sample.pixel_values, sample.scene.image]


def test_an_item_depends_on_seed_epoch_and_index_alone(dataset: DenseCaptionDataset) -> None:
    first = [dataset[SampleKey(3, i)] for i in range(4)]
    again = pickle.loads(pickle.dumps(dataset))
    for i in (2, 0, 3, 1):
        other = again[SampleKey(3, i)]
        assert all(np.array_equal(a, b) for a, b in zip(arrays(first[i]), arrays(other), strict=True))
    assert any(not np.array_equal(dataset[SampleKey(4, i)].input_ids, first[i].input_ids) for i in range(4))
    assert dataset[0].answer == dataset[(0, 0)].answer == dataset[SampleKey(0, 0)].answer


def test_an_index_is_any_whole_number_that_has_a_record(dataset: DenseCaptionDataset) -> None:
    one: Any = np.int64(1)
    assert dataset[one].answer == dataset[1].answer
    for index in (-1, len(dataset)):
        with pytest.raises(IndexError, match=rf"^index must be below {len(dataset)}, .*, not {index}$"):
            dataset[index]


def test_planned_length_is_the_encoded_length(dataset: DenseCaptionDataset) -> None:
    for epoch in range(5):
        lengths = sample_sizes(dataset, epoch).tokens
        for i in range(len(dataset)):
            assert lengths[i] == len(dataset[(epoch, i)].input_ids) == dataset[(epoch, i)].planned_length


@pytest.mark.parametrize("prompt", ["List.", "\nList.", " \n\n List.\n"])
def test_planned_length_holds_for_any_prompt(micro_folder: Path, prompt: str) -> None:
    dataset = make_dataset(micro_folder, {}, answer={"prompts": {"dense": prompt}})
    assert dataset[0].planned_length == len(dataset[0].input_ids)


def test_an_image_too_narrow_for_the_model_is_named(micro_folder: Path, tmp_path: Path) -> None:
    narrow = {**photo(tmp_path), "width": 900, "height": 4, "objects": []}
    Image.fromarray(np.zeros((4, 900, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(RecordError, match=r"r.jsonl:1: width, height must have an aspect ratio of at most 200"):
        make_dataset(micro_folder, {}, train=records(tmp_path, narrow))


def test_a_crop_too_narrow_for_the_model_is_named(micro_folder: Path, tmp_path: Path) -> None:
    narrow = {**photo(tmp_path), "width": 900, "height": 6, "objects": []}
    Image.fromarray(np.zeros((6, 900, 3), np.uint8)).save(tmp_path / "a.png")
    crop = {"name": "random_crop", "params": {"scale": [0.2, 0.2], "aspect_ratio": [5, 5], "min_objects": 0}}
    dataset = make_dataset(micro_folder, {"ops": [crop]}, train=records(tmp_path, narrow))
    with pytest.raises(RecordError, match=r"r.jsonl:1: width, height must have an aspect ratio of at most 200"):
        sample_sizes(dataset, 0)


def test_sixteen_bit_images_are_decoded_as_the_config_says(micro_folder: Path, tmp_path: Path) -> None:
    item = photo(tmp_path)
    Image.fromarray(np.linspace(0, 4095, 120 * 80).reshape(80, 120).astype(np.uint16)).save(tmp_path / "a.png")
    brightest = {}
    for rule in ("full", "minmax", "percentile"):
        dataset = make_dataset(micro_folder, {}, train=records(tmp_path, item), sixteen_bit=rule)
        pixels = dataset[0].pixel_values
        assert pixels is not None
        brightest[rule] = float(pixels.max())
        assert dataset.profile.sixteen_bit == rule
    assert brightest["full"] < -0.8
    assert brightest["minmax"] > 0.9
    assert brightest["percentile"] > 0.9


@pytest.mark.parametrize(("policy", "count"), [("largest", 1), ("all", 2)])
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_split_policy_holds_for_records_too(
    micro_folder: Path, tmp_path: Path, policy: str, count: int, split: Any
) -> None:
    road = {"desc": "road", "line": [10, 10, 10, -5, 30, -5, 30, 20]}
    file = records(tmp_path, {**photo(tmp_path), "objects": [road]})
    dataset = make_dataset(micro_folder, {"split_policy": policy}, split=split, **{split: file})
    assert dataset.plan(0, 0).result.scene.captions == ("road",) * count


def test_labels_are_the_answer_and_its_end(dataset: DenseCaptionDataset) -> None:
    tokenizer: Any = dataset.planners[0].encoder.tokenizer
    sample = dataset[(0, 1)]
    supervised = sample.labels != IGNORE_INDEX
    assert tokenizer.decode(sample.labels[supervised]) == sample.answer + "<|im_end|>"
    assert np.array_equal(sample.labels[supervised], sample.input_ids[supervised])
    start = int(np.argmax(supervised))
    assert supervised[start:].all()
    assert tokenizer.decode(sample.input_ids[:start]).endswith("<|im_start|>assistant\n")


def test_the_answer_says_where_the_shapes_are(dataset: DenseCaptionDataset) -> None:
    profile = dataset.profile.answer
    for i in range(len(dataset)):
        sample = dataset[(1, i)]
        parsed = parse(sample.answer, profile, strict=True)
        assert sorted(parsed.captions) == sorted(sample.scene.captions)
        back = to_canvas(parsed, sample.scene.canvas, profile)
        grid = max(sample.scene.canvas.width, sample.scene.canvas.height) / 1000
        left = list(zip(sample.scene.captions, sample.scene.shapes.bounds(), strict=True))
        for caption, got in zip(parsed.captions, back.bounds(), strict=True):
            distance = [np.abs(got - want).max() if name == caption else np.inf for name, want in left]
            assert min(distance) <= grid, "each caption stands beside its own shape"
            left.pop(int(np.argmin(distance)))


def test_ops_that_end_on_another_grid_are_told_once(micro_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ops = {"ops": [{"name": "pad_to_multiple", "params": {"multiple": 28}}]}
    for split in ("train", "val"):
        make_dataset(micro_folder, ops, split=split).pipeline.log_canvas_fit()
    assert caplog.text.count("pad_to_multiple leaves sides that are multiples of 28") == 1


def test_validation_is_never_augmented(micro_folder: Path) -> None:
    sample = make_dataset(micro_folder, split="val")[(7, 0)]
    assert sample.augmented.plan.interpolation == "model"
    assert sample.augmented.telemetry.applied == ()


@pytest.mark.parametrize("mode", ["summary", "dense"])
def test_words_are_turned_before_tokens_are_counted(micro_folder: Path, tmp_path: Path, mode: str) -> None:
    objects = [{"desc": "the leftmost cup, UPPER left", "bbox_2d": [5, 5, 60, 60]}]
    train = records(tmp_path, {**photo(tmp_path), "summary": "The upper-left cup is leftmost.", "objects": objects})
    ops = {"ops": [{"name": "hflip", "prob": 0.5}, {"name": "vflip", "prob": 0.5}]}
    dataset = make_dataset(micro_folder, ops, train=train, mode=mode)
    answers = set()
    for epoch in range(20):
        sample = dataset[SampleKey(epoch, 0)]
        assert sample.planned_length == len(sample.input_ids)
        a, e = sample.augmented.plan.affine.a, sample.augmented.plan.affine.e
        side, height = "left" if a > 0 else "right", "upper" if e > 0 else "lower"
        summary = f"The {height}-{side} cup is {side}most."
        told = summary if mode == "summary" else f"the {side}most cup, {height.upper()} {side}"
        assert told in sample.answer
        answers.add(sample.answer)
    assert len(answers) == 4


@pytest.mark.parametrize("mode", ["summary", "mixed"])
def test_modes(micro_folder: Path, mode: str) -> None:
    dataset = make_dataset(micro_folder, mode=mode, summary_ratio=0.5)
    modes = [dataset.plan(epoch, i).mode for epoch in range(8) for i in range(4)]
    assert set(modes) == ({"summary"} if mode == "summary" else {"summary", "dense"})
    planned = next(dataset.plan(e, 0) for e in range(20) if dataset.plan(e, 0).mode == "summary")
    assert dataset.planner_of(0).answer_text(planned) == dataset.records[0].summary


def test_summary_mode_needs_summaries(micro_folder: Path, tmp_path: Path) -> None:
    dataset = make_dataset(micro_folder, train=records(tmp_path, photo(tmp_path)), mode="summary")
    with pytest.raises(RecordError, match=r"r.jsonl:1: summary must be given in summary mode"):
        sample_sizes(dataset, 0)


def test_what_cannot_be_planned_is_left_out_when_asked_for(micro_folder: Path, tmp_path: Path) -> None:
    path = records(tmp_path, photo(tmp_path), photo(tmp_path, "b.png", summary="noise"))
    dataset = make_dataset(micro_folder, train=path, mode="summary", on_bad_record="skip")
    lengths = sample_sizes(dataset, 0).tokens
    assert lengths[0] == 0
    assert lengths[1] > 0


def test_simplification_is_reported(micro_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    caplog.set_level(logging.INFO, "dcap")
    answer = {"max_polygon_points": 6, "max_pixels": 90_000}
    dataset = make_dataset(micro_folder, {}, answer=answer)
    sample_sizes(dataset, 0)
    kept = np.concatenate([dataset.plan(0, i).kept_iou for i in range(len(dataset))])
    of_simplified = kept[kept < 1.0]
    assert len(of_simplified) < len(kept), "boxes are kept as they are, and do not count"
    told = f"{len(of_simplified)} shapes simplified; IoU kept: mean {of_simplified.mean():.3f}"
    assert f"{told}, least {kept.min():.3f}" in caplog.text


def test_an_image_without_objects_is_trained_on(micro_folder: Path, tmp_path: Path) -> None:
    dataset = make_dataset(micro_folder, train=records(tmp_path, photo(tmp_path, objects=[])))
    assert dataset[0].answer == "{}"
    assert dataset[0].num_supervised == 3
    batch = next(iter(loader_of(dataset)))
    assert (batch["labels"] != IGNORE_INDEX).sum() == 3


def test_overlong_policies(micro_folder: Path, tmp_path: Path) -> None:
    path = records(tmp_path, photo(tmp_path))
    short = {"train": path, "global_max_length": 860}
    full = sample_sizes(make_dataset(micro_folder, {}, train=path), 0).tokens[0]
    assert full > 860
    with pytest.raises(RecordError, match=rf"r.jsonl:1: sample must have at most 860 tokens, not {full}"):
        sample_sizes(make_dataset(micro_folder, {}, **short), 0)
    dropping = make_dataset(micro_folder, {}, overlong="drop", **short)
    assert sample_sizes(dropping, 0).tokens.tolist() == [0]
    with pytest.raises(TrainingError, match="at least one sample must be left"):
        plan_epoch(dropping, 0)
    fewer = make_dataset(micro_folder, {}, overlong="drop_objects", **short)
    sample = fewer[0]
    assert 800 < len(sample.input_ids) <= 860
    kept = len(sample.scene.captions)
    assert 0 < kept < 20
    assert sample.scene.captions == tuple(f"thing {i}" for i in range(kept))
    assert len(sample.augmented.telemetry.dropped) == 20 - kept


def test_preprocessors_run_first_and_drops_are_counted(micro_folder: Path) -> None:
    name = "only_cats_test"
    if name not in PREPROCESSORS:
        PREPROCESSORS.register(
            name, lambda: lambda r: replace(r, summary="seen") if "cat" in " ".join(r.captions) else None
        )
    dataset = make_dataset(micro_folder, preprocessors=[{"name": name}], mode="summary")
    assert len(dataset) == 1
    assert dataset.records.dropped == {name: 3}
    assert dataset[0].answer == "seen"


def test_an_unknown_split_is_a_config_error(dataset: DenseCaptionDataset) -> None:
    split: Any = "test"
    with pytest.raises(ConfigError, match=r"^split must be train or val, not 'test'$"):
        DenseCaptionDataset(dataset.data, split)


def test_without_a_tokenizer_samples_are_planned_and_not_made(dataset: DenseCaptionDataset) -> None:
    bare = DenseCaptionDataset(dataset.data, tokenizer=None)
    assert bare.plan(0, 0).length == 0
    for make in (lambda: bare[0], lambda: plan_epoch(bare, 0)):
        with pytest.raises(ConfigError, match=r"^tokenizer must be given to make samples and rows, not None\."):
            make()


@pytest.mark.parametrize("name", ["rows_per_step", "batch_size"])
def test_rules_of_an_epoch_need_at_least_one_of_each(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} must be at least 1, not 0$"):
        EpochRules(**{name: 0})


def test_a_split_without_files_is_a_config_error(micro_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.val must name at least one file of records"):
        make_dataset(micro_folder, val=[], split="val")


@OPS.register("squash")
@dataclass(frozen=True)
class Squash:
    """Maps everything to a line, as no op should."""

    def sample(self, view: View, rng: np.random.Generator) -> Warp:
        return Warp(Affine.scaling(1.0, 0.0), view.canvas, "flat")


def test_an_image_that_cannot_be_warped_is_named(micro_folder: Path) -> None:
    dataset = make_dataset(micro_folder, {"ops": [{"name": "squash"}]})
    with pytest.raises(RecordError, match=r"^train.jsonl:1: affine must be invertible"):
        dataset[0]


def test_it_is_made_without_a_run() -> None:
    data = data_config()
    plain, turned = DenseCaptionDataset(data), DenseCaptionDataset(data, augmentation=[{"name": "hflip"}], seed=3)
    assert plain[0].input_ids.tolist() == DenseCaptionDataset(data, "train", "builtin:tiny")[0].input_ids.tolist()
    assert "hflip" in turned[0].augmented.plan.describe() or "left and right" in turned[0].augmented.plan.describe()
    assert "no augmentation" in plain[0].augmented.plan.describe()


def test_a_dict_is_as_good_as_a_config() -> None:
    records = DenseCaptionDataset({"train": "builtin:photos/train.jsonl"}, tokenizer=None)
    assert len(records) == len(DenseCaptionDataset(DataConfig(train=("builtin:photos/train.jsonl",)), tokenizer=None))
    with pytest.raises(ConfigError, match=r"data\.trian is not a field"):
        DenseCaptionDataset({"trian": "builtin:photos/train.jsonl"})
